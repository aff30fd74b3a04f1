"""Any cell over time in NumPy, of any dtype, complex too.  Knows programs and no cell; slow on purpose, the oracle of the core.

Letters: T time, B batch, N units of an axis.  x (T, B, I); a state (B, N), over time (T + 1, B, N), its slot 0 the start.
Weights are a mapping with the keys of `Cell.shapes`; a missing bias is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra.graph import Node, needed
from ..algebra.ops import OPS
from ..algebra.program import Program
from .cell import Cell

Array = NDArray[Any]


def matrices(p: Program, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The stacked families taken apart: "W.i" (blocks, out / blocks, into / blocks), "W.i+" (out,); parameters as they are."""
    out = {name: weights[name] for name in p.params}
    for family, gates in p.families.items():
        stacked, bias = weights[family], weights.get(family + "+")
        each = len(stacked) // len(gates)
        for k, gate in enumerate(gates):
            rows = slice(k * each, (k + 1) * each)
            # The block count of a dense family is 1; of K heads it follows from the shape, (out, into / K).
            blocks = 1 if p.weights[f"{family}.{gate}"].blocks == "1" else each // stacked.shape[1]
            out[f"{family}.{gate}"] = stacked[rows].reshape(blocks, each // blocks, -1)
            if bias is not None:
                out[f"{family}.{gate}+"] = bias[rows]
    return out


def affine(w: Array, bias: Array | None, a: Array, transposed: bool = False) -> Array:
    """One product over the last axis, w (K, N / K, M / K); transposed: its adjoint, which has no bias."""
    k, n, m = w.shape
    blocks = a.reshape(*a.shape[:-1], k, n if transposed else m)
    y: Array = np.einsum("...kn,knm->...km" if transposed else "...km,knm->...kn", blocks, w, optimize=True)
    y = y.reshape(*a.shape[:-1], -1)
    return y if transposed or bias is None else y + bias


def step(cell: Cell, weights: Mapping[str, Array], x: Array, states: Mapping[str, Array]) -> dict[str, Array]:
    """One step by calling the page itself with arrays: x (B, I), states (B, N) -> new states."""
    w = matrices(cell.program, weights)
    return cell.signature(lambda name, a: affine(w[name], w.get(name + "+"), a), lambda name, _: w[name], x, states)


def evaluate(nodes: list[Node], env: dict[Node, Array], w: Mapping[str, Array]) -> None:
    """Fill `env` with the nodes, in order."""
    for n in nodes:
        if n in env:
            continue
        if n.op == "const":
            env[n] = n.attr
        elif n.op == "param":
            env[n] = w[n.attr]
        elif n.op == "product":
            name, transposed = n.attr
            env[n] = affine(w[name], w.get(name + "+"), env[n.args[0]], transposed)
        else:
            env[n] = OPS[n.op].of(*(env[a] for a in n.args))


def forward(
    cell: Cell, weights: Mapping[str, Array], x: Array, start: Mapping[str, Array], given: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """-> states over time, (T + 1, B, N); `given`: the further inputs over time, (T, B, N), or the same at every step, (B, N)."""
    p = cell.program
    w = matrices(p, weights)
    over = {s: [start[s]] for s in p.states}
    for t, xt in enumerate(x):
        env = {p.x: xt} | {n: over[s][-1] for s, n in p.states.items()} | _given(p, given, t)
        evaluate(p.nodes, env, w)
        for s, n in p.outs.items():
            over[s].append(env[n])
    return {s: np.array(v) for s, v in over.items()}


def _given(p: Program, given: Mapping[str, Array] | None, t: int) -> dict[Node, Array]:
    """The further inputs of a step."""
    over = {n: (given or {})[name] for name, n in p.given.items()}
    return {n: a[t] if a.ndim == 3 else a for n, a in over.items()}


def backward(
    cell: Cell,
    weights: Mapping[str, Array],
    x: Array,
    over: Mapping[str, Array],
    dover: Mapping[str, Array],
    given: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """BPTT by the derived program (Werbos 1990).

    `dover`: gradient of each state over time, (T, B, N), from outside the recurrence.  Returns the gradients of every
    weight and parameter, of "x" (T, B, I) and of each start state, by name.
    """
    p, d = cell.program, cell.backward
    w = matrices(p, weights)
    grads = {k: np.zeros_like(v) for k, v in weights.items()}
    parts = matrices(p, grads)  # views: what is added to a gate's part is added to its family
    dx = np.zeros_like(x)
    carry = {s: np.zeros_like(over[s][0]) for s in p.states}
    ends = [*d.states.values(), *([d.x] if d.x is not None else []), *d.params.values()]
    order = [n for n in p.graph.nodes.values() if n.op != "grad"]
    wanted = set(needed([*ends, *(v for pairs in d.weights.values() for use in pairs for v in use)]))
    order = [n for n in order if n in wanted]
    for t in reversed(range(len(x))):
        env = {p.x: x[t]} | {n: over[s][t] for s, n in p.states.items()} | {d.seeds[s]: carry[s] + dover[s][t] for s in p.states}
        env |= _given(p, given, t)
        evaluate(order, env, w)
        rows = np.zeros_like(x[t, :, :1])  # a gradient may be one number for all rows
        carry = {s: env[n] + np.zeros_like(carry[s]) for s, n in d.states.items()}
        if d.x is not None:
            dx[t] = env[d.x]
        for name, g in d.params.items():
            v = env[g] + rows
            parts[name] += v.sum(0) if p.params[name] != "1" else v.sum()
        for name, pairs in d.weights.items():
            k, n, m = w[name].shape
            for g, a in pairs:
                parts[name] += np.einsum("bkn,bkm->knm", env[g].reshape(-1, k, n), env[a].reshape(-1, k, m))
                if name + "+" in parts:
                    parts[name + "+"] += env[g].sum(0)
    return grads | {"x": dx} | carry
