"""Any scan over time in NumPy, of any dtype, complex too.  Knows programs and no scan; slow on purpose, the oracle of the core.

Letters: T time, B batch, H channels, N entries.  An array over H is (.., H), over N (.., N), over both (.., N, H), over 1 (..); inputs
have (T, B) before it, states (B,), parameters nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra.graph import Node, needed
from ..algebra.ops import OPS
from .scan import Scan

Array = NDArray[Any]
EXTRA = {"1": (-1, -2), "H": (-2,), "N": (-1,), "NH": ()}
"""Where an array gets axes of length 1, so that all are (.., N, H)."""


def wide(a: Array, axis: str) -> Array:
    return np.expand_dims(a, EXTRA[axis])


def narrow(a: Any, axis: str, B: int, N: int, H: int) -> Array:
    """(B, N or 1, H or 1) -> (B, ...) over the axis; what is the same along it is repeated."""
    shape = (B, N if "N" in axis else 1, H if "H" in axis else 1)
    return np.squeeze(np.broadcast_to(a, shape), EXTRA[axis])


def evaluate(nodes: list[Node], env: dict[Node, Any], zero: Array) -> None:
    """Fill `env` with the nodes, in order; `zero` (B, N, H)."""
    for n in nodes:
        if n in env:
            continue
        if n.op == "const":
            env[n] = n.attr
        elif n.op == "total":
            env[n] = env[n.args[0]].sum(-2 if n.attr == "N" else -1, keepdims=True)
        elif n.op == "spread":
            env[n] = env[n.args[0]] + zero[:, : None if "N" in n.axis else 1, : None if "H" in n.axis else 1]
        else:
            env[n] = OPS[n.op].of(*(env[a] for a in n.args))


class Reference:
    """A scan with the arrays of one run."""

    def __init__(self, scan: Scan, inputs: Mapping[str, Array], params: Mapping[str, Array]) -> None:
        self.scan = scan
        self.inputs = {k: wide(inputs[k], axis) for k, axis in scan.inputs.items()}
        self.params = {k: wide(params[k], axis) for k, axis in scan.params.items()}
        self.T, self.B = next(iter(inputs.values())).shape[:2]

    def sizes(self, states: Mapping[str, Array]) -> tuple[int, int, int]:
        """B, N, H; an axis that nothing has is of length 1."""
        lengths: dict[str, int] = {}
        for arrays, axes in ((self.inputs, self.scan.inputs), (self.params, self.scan.params), (states, self.scan.states)):
            lengths |= {letter: arrays[k].shape["NH".index(letter) - 2] for k, axis in axes.items() for letter in axis if letter != "1"}
        return self.B, lengths.get("N", 1), lengths["H"]

    def forward(self, start: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """-> the output (T, B, H), and states over time, (T + 1, B, ...), by calling the page itself with arrays."""
        over = {s: [wide(start[s], axis)] for s, axis in self.scan.states.items()}
        sizes = self.sizes({s: v[0] for s, v in over.items()})
        outs = []
        for t in range(self.T):
            now = {s: v[-1] for s, v in over.items()}
            out, new = self.scan.signature({**{k: a[t] for k, a in self.inputs.items()}, **self.params, **now})
            outs.append(narrow(out, "H", *sizes))
            for s, v in new.items():
                over[s].append(v)
        axes = self.scan.states
        return np.array(outs), {s: np.array([narrow(a, axes[s], *sizes) for a in v]) for s, v in over.items()}

    def backward(self, over: Mapping[str, Array], dout: Array, dlast: Mapping[str, Array]) -> dict[str, Array]:
        """By the derived program, from the states over time: gradients of every input, parameter and start state, by name.

        dout (T, B, H); dlast: of the states after the last step.
        """
        scan, d = self.scan, self.scan.backward
        roots = {**d.inputs, **d.params, **d.states}
        order = needed(roots.values())
        axes = {**scan.inputs, **scan.params, **scan.states}
        carry = {s: wide(dlast[s], axis) for s, axis in scan.states.items()}
        sizes = B, N, H = self.sizes(carry)
        zero = np.zeros((B, N, H), dout.dtype)
        grads: dict[str, Any] = {k: [] for k in scan.inputs} | dict.fromkeys(scan.params, 0.0)
        for t in reversed(range(self.T)):
            env: dict[Node, Any] = {scan.program.inputs[k]: a[t] for k, a in self.inputs.items()}
            env |= {scan.program.params[k]: a for k, a in self.params.items()}
            env |= {scan.program.states[s]: wide(over[s][t], axis) for s, axis in scan.states.items()}
            env |= {d.seeds[s]: carry[s] for s in scan.states} | {d.seed: wide(dout[t], "H")}
            evaluate(order, env, zero)
            step = {k: narrow(env[n], axes[k], *sizes) for k, n in roots.items()}
            carry = {s: wide(step[s], axis) for s, axis in scan.states.items()}
            for k in scan.inputs:
                grads[k].append(step[k])
            for k in scan.params:
                grads[k] = grads[k] + step[k].sum(0)
        return {k: np.array(v[::-1]) if k in scan.inputs else v for k, v in grads.items()} | {
            s: narrow(carry[s], axis, *sizes) for s, axis in scan.states.items()
        }
