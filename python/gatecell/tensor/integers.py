"""Integer layers on the C++ core: the same bits as their Python definition, at the speed of the CPU.

Not here: what the integers mean (docs/arithmetic.md, algebra/integer.py), the definition itself (deploy/integer.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..algebra.integer import inside
from ..algebra.model import IntegerLayer, IntegerModel
from ..algebra.points import OPS, points
from ..algebra.table import table
from . import engine

Array = NDArray[Any]
PLACES = ("input", "state", "temp", "acc", "param")
INT8 = (-128, 127)


class CoreLayer:
    """An integer layer, ready to run: `run` takes and gives what the definition does."""

    def __init__(self, layer: IntegerLayer, interpret: bool = False) -> None:
        """`interpret`: use no compiled step."""
        p = layer.program
        vectors = list(p.vectors)
        self.states = [k for k, v in p.vectors.items() if v.kind == "state"]
        sizes = {k: layer.sizes[v.axis] if v.axis != "1" else 1 for k, v in p.vectors.items()}
        arrays: list[Array] = []

        def array(a: Array) -> int:
            arrays.append(np.ascontiguousarray(a, np.int32).reshape(-1))
            return len(arrays) - 1

        def form(arg: str, view: bool) -> int:
            return 1 if view else 2 if inside((p.vectors[arg].lo, p.vectors[arg].hi), INT8) else 0

        operands = list(dict.fromkeys((s.arg, s.view) for a, _ in p.accumulators for s in a.sources))
        code = [len(vectors)]
        for k, v in p.vectors.items():
            values = layer.params.get(k)
            code += [PLACES.index(v.kind), sizes[k], -1 if values is None else array(values)]
        code += [vectors.index(p.output), len(operands), *(n for arg, view in operands for n in (vectors.index(arg), form(arg, view)))]
        code.append(len(p.loops))
        for loop in p.loops:
            code += [layer.sizes[loop.axis], len(loop.accumulators)]
            for a in loop.accumulators:
                code += [vectors.index(a.name), a.sh, array(layer.m[a.name]), array(layer.b[a.name]), len(a.sources)]
                for s in a.sources:
                    code += [operands.index((s.arg, s.view)), s.shift, array(layer.matrix(s.weight))]
            code.append(len(loop.points))
            for i in points(p, loop):
                registers, immediates = (*i.args, 0, 0, 0)[:3], (*i.n, 0, 0)[:2]
                if i.op == "const" and i.name in layer.params:
                    immediates = (int(layer.params[i.name][0]), 0)
                moves = i.op in ("read", "write")
                code += [OPS.index(i.op), *registers, *immediates, vectors.index(i.name) if moves else -1, i.width]
        self.sizes = {s: sizes[s] for s in self.states}
        self._core = _core.Integer(code, arrays, table().astype(np.int32), interpret)

    @property
    def steps(self) -> tuple[int, int]:
        """How many of the step's loops run compiled, and how many there are."""
        return self._core.steps

    def stepper(self, x: Array, y: Array) -> tuple[object, dict[str, tuple[Array, Array]]]:
        """A step from x (B, I) to y (B, N), int16, for callers of the core's C functions: a capsule of a gatecell_integer_stepper, which
        keeps these arrays, and its states, {name: two slots (B, N)}."""
        lent, slots = self._core.stepper(x, y)
        return lent, dict(zip(self.states, slots, strict=True))

    def start(self, batch: int) -> dict[str, Array]:
        """Zero states, {name: (B, N)} int16."""
        return {s: np.zeros((batch, n), np.int16) for s, n in self.sizes.items()}

    def run(self, x: Array, states: Mapping[str, Array]) -> Array:
        """x (T, B, I) integers within int16, states {name: (B, N)} int16, changed in place -> output (T, B, N) int16."""
        y: Array = self._core.run(np.ascontiguousarray(x, np.int16), [states[s] for s in self.states], engine.get_num_threads())
        return y


class CoreModel:
    """An integer model's layers, one after the other over whole stretches of time."""

    def __init__(self, model: IntegerModel) -> None:
        self.model = model
        self.layers = [CoreLayer(layer) for layer in model.layers]

    def start(self, batch: int) -> list[dict[str, Array]]:
        """Fresh states of every layer."""
        return [layer.start(batch) for layer in self.layers]

    def quantize(self, x: Array) -> tuple[Array, bool]:
        """x (..., I) float32 -> what the first layer reads, int16, and whether there was a NaN."""
        m = self.model
        return _core.quantize(x, m.offset, m.scale, 2 ** (m.input_bits - 1) - 1)

    def dequantize(self, y: Array) -> Array:
        """The last layer's output (..., O) -> float32."""
        return _core.dequantize(y, np.exp2(-self.model.fraction.astype(np.float64)).astype(np.float32))

    def run(self, x: Array, states: list[dict[str, Array]]) -> Array:
        """x (T, B, I) integers -> (T, B, O) int16; `states` are changed in place."""
        for layer, state in zip(self.layers, states, strict=True):
            x = layer.run(x, state)
        return x
