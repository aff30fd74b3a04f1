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
from .engine import Array, Layer

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
        form, dtype = layer.form, layer.dtype
        self.layer, self._products, gates = layer, products(layer.cell), list(form.families.values())
        owed = dict.fromkeys([*((f, 0) for f in range(len(gates))), *((p.family, p.turn) for p in self._products)])
        self._sums: dict[tuple[int, int], tuple[Array, Array | None]] = {}
        """By gates: (G, N, M) and (G, N)."""
        for key in owed:
            (matrix, bias), G = layer.families[key[0]], gates[key[0]]
            n, m = len(matrix) // G, matrix.shape[1]
            self._sums[key] = np.zeros((G, n, m), dtype), None if bias is None else np.zeros((G, n), dtype)
        # A shared parameter's gradient is over units, too, until the end.
        units = {name: form.sizes[form.back.plan.arrays[array].axis] for name, array in form.kernel.plans.sums.items()}
        self._parameters = {name: np.zeros(n, dtype) for name, n in units.items()}

    def add(self, arrays: Mapping[str, Array], lengths: Array | None) -> None:
        """`arrays` by the way back's names, as it ran them."""
        terms: list[_core.OuterTerm] = []
        for p in self._products:
            out, alone = self._sums[p.family, p.turn]
            terms.append(([arrays[g] for g in p.gradients], p.gates, arrays[p.argument], out, alone))
        for name, total in self._parameters.items():
            terms.append(([arrays[self.layer.form.kernel.plans.sums[name]]], [0], None, None, total[None]))
        if terms:
            _core.outer(terms, engine.get_num_threads(), lengths, True)

    def result(self) -> dict[str, Array]:
        """Every weight's gradient by name."""
        form, grads = self.layer.form, dict[str, Array]()
        families = list(form.families)
        for f, turn in sorted(self._sums):
            family, (matrix, bias) = families[f], self._sums[f, turn]
            wanted = self.layer.weights[family].shape
            own = _blocks(matrix, wanted) if family in form.blocked else matrix.reshape(wanted)
            for name, total in ((family, own), (family + "+", None if bias is None else bias.reshape(-1))):
                if total is not None:
                    grads[name] = grads[name] + total if name in grads else total
        for name, total in self._parameters.items():
            grads[name] = total if form.cell.program.params[name] != "1" else total.sum(keepdims=True, dtype=np.float64).astype(total.dtype)
        return grads


def _blocks(full: Array, shape: Sequence[int]) -> Array:
    """The diagonal blocks of a family's dense gradient (G, N, M)."""
    out = np.empty(shape, full.dtype)
    each, into = full.shape[1], shape[1]
    for r, row in enumerate(full.reshape(-1, full.shape[2])):
        k = r % each // into
        out[r] = row[k * into : (k + 1) * into]
    return out
