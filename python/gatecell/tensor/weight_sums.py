"""Gradients of weights: sums over time and batch, in one order however a sequence is cut.  Not here: what is summed (bptt.py).

Letters: T time, B batch, N units of an axis, G gates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from .. import _core
from ..algebra.plans import Use
from . import engine
from .engine import Array, Layer, Placed

CHAIN = 32
"""Rows of a partial sum: cpp/src/product.inl's CHAIN."""


class WeightSums:
    """Sums of outer products, and plain sums for biases and parameters, from the last step that ran to the first.

    `add` goes on where the last call ended.  A sequence gives the same bits in parts as it gives whole, as long as every part but the last
    has a multiple of CHAIN rows, T B of them; rows with lengths of their own are summed in another order where they are cut.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        plans, families = layer.kernel.plans, list(layer.cell.program.families)
        self._uses: dict[tuple[int, int, str], list[Use]] = {}  # those that share an argument together
        turns = Counter[str]()  # a weight's second use has a sum of its own, or parts would add to one in another order than the whole
        for use in plans.uses:
            self._uses.setdefault((families.index(use.weight.split(".")[0]), turns[use.weight], use.argument), []).append(use)
            turns[use.weight] += 1
        self._sums = {
            (f, turn): (np.zeros_like(matrix), None if bias is None else np.zeros_like(bias))
            for turn in range(max(turns.values(), default=1))
            for f, (matrix, bias) in enumerate(layer.families)
            if turn == 0 or any(key[:2] == (f, turn) for key in self._uses)
        }
        axes = {name: layer.kernel.back.plan.arrays[a].axis for name, a in plans.sums.items()}
        self._parameters = {name: np.zeros(layer.units(axis), layer.dtype) for name, axis in axes.items()}

    def add(self, T: int, B: int, arrays: Mapping[str, Placed], lengths: Array | None) -> None:
        """`arrays` by the way back's names, as it ran them."""
        plans, gates = self.layer.kernel.plans, list(self.layer.cell.program.families.values())
        names = {u.gradient for u in plans.uses} | {u.argument for u in plans.uses} | set(plans.sums.values())
        back = {name: arrays[name].flipped(T) for name in names}
        late, threads = engine.late(back), engine.get_num_threads()
        for (f, turn, argument), uses in self._uses.items():
            matrix, bias = self._sums[f, turn]
            n = len(matrix) // len(gates[f])
            parts = [slice(g * n, (g + 1) * n) for g in (gates[f].index(u.weight.split(".")[1]) for u in uses)]
            gradients, out = [back[u.gradient].core() for u in uses], [matrix[part] for part in parts]
            sums = [None if bias is None else bias[part] for part in parts]
            _core.outer(T, B, gradients, n, back[argument].core(), matrix.shape[1], out, sums, threads, lengths, late)
        zero = np.zeros(1, self.layer.dtype)
        for name, total in self._parameters.items():  # as a bias: beside products with nothing
            n = len(total)
            gradient, nothing = back[plans.sums[name]].core(), np.zeros((n, 1), zero.dtype)
            _core.outer(T, B, [gradient], n, (zero, 0, 0, 0, 0), 1, [nothing], [total], threads, lengths, late)

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
