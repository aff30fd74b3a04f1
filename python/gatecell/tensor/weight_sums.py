"""Gradients of weights: sums over time and batch, in one order however a sequence is cut.  Not here: what is summed (bptt.py).

Letters: T time, B batch, N units of an axis, G gates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .. import _core
from ..cells import Cell
from . import engine
from .engine import Array, Layer, Placed

CHAIN = 32
"""Rows of a partial sum: cpp/src/product.inl's CHAIN."""


@dataclass(frozen=True)
class Product:
    """Uses of a family's weights that share an argument."""

    family: int
    turn: int
    """A weight's second use has a sum of its own: in one sum, parts would come in another order than the whole."""
    argument: str
    gradients: list[str]
    gates: list[int]
    """Which of the family's gates each gradient is of."""


@cache
def products(cell: Cell) -> list[Product]:
    """What a cell's weight gradients are made of."""
    families, turns = list(cell.program.families.items()), Counter[str]()
    out: dict[tuple[int, int, str], Product] = {}
    for use in engine.kernel(cell).plans.uses:
        family, gate = use.weight.split(".")
        f = next(k for k, (name, _) in enumerate(families) if name == family)
        key = f, turns[use.weight], use.argument
        p = out.setdefault(key, Product(*key, [], []))
        p.gradients.append(use.gradient)
        p.gates.append(families[f][1].index(gate))
        turns[use.weight] += 1
    return list(out.values())


class WeightSums:
    """Sums of outer products, and plain sums for biases and parameters, from the last step that ran to the first.

    `add` goes on where the last call ended.  A sequence gives the same bits in parts as it gives whole, as long as every part but the last
    has a multiple of CHAIN rows, T B of them; rows with lengths of their own are summed in another order where they are cut.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer, self._products, dtype = layer, products(layer.cell), layer.dtype
        owed = dict.fromkeys([*((f, 0) for f in range(len(layer.families))), *((p.family, p.turn) for p in self._products)])
        self._sums: dict[tuple[int, int], tuple[Array, Array | None]] = {}
        for key in owed:
            matrix, bias = layer.families[key[0]]
            self._sums[key] = np.zeros(matrix.shape, dtype), None if bias is None else np.zeros(len(bias), dtype)
        arrays = layer.kernel.back.plan.arrays
        self._parameters = {name: np.zeros(layer.units(arrays[a].axis), dtype) for name, a in layer.kernel.plans.sums.items()}

    def add(self, T: int, B: int, arrays: Mapping[str, Placed], lengths: Array | None) -> None:
        """`arrays` by the way back's names, as it ran them."""
        late, threads = arrays[self.layer.cell.states[0]].step > 0, engine.get_num_threads()  # time is turned round here
        gates, of = list(self.layer.cell.program.families.values()), self.layer.kernel.plans.sums
        for p in self._products:
            matrix, bias = self._sums[p.family, p.turn]
            n = len(matrix) // len(gates[p.family])
            gradients = [arrays[g].flipped(T).core() for g in p.gradients]
            out = [matrix[g * n : g * n + n] for g in p.gates]
            sums = [None if bias is None else bias[g * n : g * n + n] for g in p.gates]
            argument = arrays[p.argument].flipped(T).core()
            _core.outer(T, B, gradients, n, argument, matrix.shape[1], out, sums, threads, lengths, late)
        for name, total in self._parameters.items():  # as a bias: beside products with nothing
            n, zero = len(total), (np.zeros(1, total.dtype), 0, 0, 0, 0)
            gradient, nothing = arrays[of[name]].flipped(T).core(), np.zeros((n, 1), total.dtype)
            _core.outer(T, B, [gradient], n, zero, 1, [nothing], [total], threads, lengths, late)

    def result(self) -> dict[str, Array]:
        """Every weight's gradient by name."""
        p, grads = self.layer.cell.program, dict[str, Array]()
        for (f, _), sums in sorted(self._sums.items()):
            family, gates = list(p.families.items())[f]
            if p.weights[f"{family}.{gates[0]}"].blocks != "1":
                sums = _blocks(sums[0], self.layer.weights[family].shape, len(gates)), sums[1]
            for name, total in zip((family, family + "+"), sums, strict=True):
                if total is not None:
                    grads[name] = grads[name] + total if name in grads else total
        for name, total in self._parameters.items():
            grads[name] = total if p.params[name] != "1" else total.sum(keepdims=True, dtype=np.float64).astype(total.dtype)
        return grads


def _blocks(full: Array, shape: Sequence[int], gates: int) -> Array:
    """The diagonal blocks of a family's dense gradient."""
    out = np.empty(shape, full.dtype)
    each, into = len(full) // gates, shape[1]
    for r in range(len(full)):
        k = r % each // into
        out[r] = full[r, k * into : (k + 1) * into]
    return out
