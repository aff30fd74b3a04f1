"""The Python definition of an integer model: what docs/arithmetic.md says, in NumPy, over sequences and step by step.

Not here: how the integers were chosen (quantizer.py).  Values are int64 inside; with `check` every one is compared with
its proven interval.  Letters: T time, B batch, I input, O output, N units of an axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..algebra.integer import INT32, OPERATIONS, Accumulator, Instr, inside, view8
from ..algebra.model import IntegerLayer, IntegerModel
from ..tensor.dtypes import Array


def requantize(acc: Array, m: Array, sh: int) -> Array:
    """floor((acc m + 2^(15+sh)) / 2^(16+sh)), saturated to int16; acc within int32, m in 1..32767."""
    pre: Array = np.clip((acc * m + (1 << (15 + sh))) >> (16 + sh), -32768, 32767)
    return pre


class Step:
    """One layer, ready to run; states are (B, N) int64 arrays by name."""

    def __init__(self, layer: IntegerLayer, check: bool = False) -> None:
        self.layer, self.check = layer, check
        self.states = layer.program.of_kind("state")
        self.params = {k: v.astype(np.int64) for k, v in layer.params.items()}
        # float64 products are exact: every partial sum is an integer below 2^31.
        self.matrices = {s.weight: layer.matrix(s.weight).astype(np.float64).T for a, _ in layer.program.accumulators for s in a.sources}
        self.m = {k: v.astype(np.int64) for k, v in layer.m.items()}
        self.b = {k: v.astype(np.int64) for k, v in layer.b.items()}

    def start(self, batch: int) -> dict[str, Array]:
        return {s: np.zeros((batch, self.layer.sizes[v.axis]), np.int64) for s, v in self.states.items()}

    def __call__(self, x: Array, states: dict[str, Array]) -> dict[str, Array]:
        """x (B, I) int64 -> the new states."""
        env = {"x": x, **states, **self.params}
        new: dict[str, Array] = {}
        views: dict[str, Array] = {}
        for loop in self.layer.program.loops:
            for a in loop.accumulators:
                env[a.name] = self._accumulate(a, env, views)
            registers: list[Any] = []
            for i in loop.points:
                registers.append(self._run(i, registers, env, new))
        return new

    def _accumulate(self, a: Accumulator, env: dict[str, Array], views: dict[str, Array]) -> Array:
        acc: Array = self.b[a.name]
        for s in a.sources:
            if s.view and s.arg not in views:
                views[s.arg] = view8(env[s.arg])
            v = views[s.arg] if s.view else env[s.arg]
            acc = acc + ((v.astype(np.float64) @ self.matrices[s.weight]).astype(np.int64) << s.shift)
        if self.check:
            assert inside((int(acc.min()), int(acc.max())), INT32), a.name
        return requantize(acc, self.m[a.name], a.sh)

    def _run(self, i: Instr, registers: list[Any], env: dict[str, Array], new: dict[str, Array]) -> Any:
        if i.op == "read":
            v = env[i.name]
        elif i.op == "const":
            return i.n[0]
        elif i.op == "write":
            v = registers[i.args[0]]
            if i.name in self.states:
                new[i.name] = v
            else:
                env[i.name] = v
        else:
            v = OPERATIONS[i.op].of(*(registers[r] for r in i.args), *i.n)
        if self.check:
            assert inside((int(np.min(v)), int(np.max(v))), (i.lo, i.hi)), i
        return v


class Runner:
    """A model's steps and states, for streaming; `batch` sequences at once."""

    def __init__(self, model: IntegerModel, batch: int = 1, check: bool = False) -> None:
        self.model, self.batch = model, batch
        self.steps = [Step(layer, check) for layer in model.layers]
        self.states: list[dict[str, Array]] = []
        self.reset()

    def reset(self) -> None:
        self.states = [s.start(self.batch) for s in self.steps]

    def step(self, x: Array) -> Array:
        """(B, I) integers -> (B, O) int64."""
        h = x.astype(np.int64)
        for k, s in enumerate(self.steps):
            self.states[k] = s(h, self.states[k])
            h = self.states[k][s.layer.program.output]
        return h

    def run(self, x: Array) -> Array:
        """(T, B, I) integers -> (T, B, O) int16, from the present states."""
        out = np.empty((*x.shape[:2], self.model.outputs), np.int16)
        for t in range(len(x)):
            out[t] = self.step(x[t])
        return out
