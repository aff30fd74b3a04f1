"""Less memory for more time: BPTT that computes again what it did not keep.  Not here: BPTT itself (bptt.py), the tape.

* `States`: the states of every step are kept, which are a layer's output and little more, and the rest is computed again from them, a few
  steps at a time.  Nothing recurs there, so the products of many steps are one.
* `Marks`: the states are kept every so many steps alone, and each stretch is run again from its mark.

Both give the bits that keeping everything gives; only where rows have lengths of their own, weights' gradients are rounded otherwise.
Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .bptt import Saved, forward, gradients, new_dx, place_x, walk_back
from .engine import Array, Layer, Placed, over, padded
from .weight_sums import CHAIN, WeightSums

Grads: TypeAlias = Mapping[str, "Array | None"]
Part: TypeAlias = tuple[int, int]
"""Steps [begin, end) in time's own order."""


@dataclass
class States:
    """What a forward pass leaves that keeps the states alone; `backward` may be called again and again."""

    saved: Saved

    def backward(self, x: Array, dy: Array | None, dlast: Grads, want_x: bool = True) -> dict[str, Array]:
        """As bptt.Saved.backward."""
        saved = self.saved
        return _walk(saved.layer, self.parts(), lambda part: _replayed(saved, x, part), x, dy, dlast, want_x)

    def parts(self) -> list[Part]:
        """As few steps as keep the kernels busy, for the cache's sake, and no more than add a sixth of a value per unit and step."""
        T, B = self.saved.steps, self.saved.rows
        return parts(T, B, min(-(-1024 // B), max(-(-256 // B), -(-T // 24))), self.saved.reverse)


@dataclass
class Marks:
    """What a forward pass leaves that keeps the states before each part; `backward` may be called again and again."""

    layer: Layer
    reverse: bool
    lengths: Array | None
    marks: dict[Part, dict[str, Array]]

    def backward(self, x: Array, dy: Array | None, dlast: Grads, want_x: bool = True) -> dict[str, Array]:
        """As bptt.Saved.backward."""

        def again(part: Part) -> Saved:
            own = lengths_of(self.lengths, part)
            return forward(self.layer, x[slice(*part)], self.marks[part], reverse=self.reverse, training=True, lengths=own)[2]

        return _walk(self.layer, list(self.marks), again, x, dy, dlast, want_x)


def forward_states(
    layer: Layer, x: Array, start: Mapping[str, Array], *, reverse: bool = False, lengths: Array | None = None
) -> tuple[Array, dict[str, Array], States]:
    """As bptt.forward."""
    output, last, saved = forward(layer, x, start, reverse=reverse, training=True, lengths=lengths, states_alone=True)
    return output, last, States(saved)


def forward_marks(
    layer: Layer, x: Array, start: Mapping[str, Array], every: int, *, reverse: bool = False, lengths: Array | None = None
) -> tuple[Array, dict[str, Array], Marks]:
    """As bptt.forward; a mark every `every` steps, or as few more as make weights' sums whole (weight_sums.py)."""
    T, B = x.shape[:2]
    n = layer.units(layer.cell.axis(layer.cell.states[0]))
    output, state = layer.empty(T, B, n), dict(start)
    marks: dict[Part, dict[str, Array]] = {}
    for part in parts(T, B, every, reverse):
        marks[part] = state
        time = slice(*part)
        output[time], state, _ = forward(layer, x[time], state, reverse=reverse, lengths=lengths_of(lengths, part))
    return output, state, Marks(layer, reverse, lengths, marks)


def parts(T: int, B: int, most: int, reverse: bool) -> list[Part]:
    """T steps in parts of `most`, or as few more as make a multiple of CHAIN rows, in the order in which they run.

    What is left over runs first: weights are summed from the last step to the first.
    """
    whole = CHAIN // math.gcd(B, CHAIN)
    size = -(-most // whole) * whole
    ran = [(max(0, end - size), end) for end in range(T, 0, -size)][::-1]
    return [(T - end, T - begin) for begin, end in ran] if reverse else ran


def lengths_of(lengths: Array | None, part: Part) -> Array | None:
    """How many of a part's steps each row has, (B,); None: all of them."""
    begin, end = part
    own = None if lengths is None else np.clip(lengths - begin, 0, end - begin)
    return None if own is None or (own == end - begin).all() else own


def _walk(
    layer: Layer, ran: list[Part], saved: Callable[[Part], Saved], x: Array, dy: Array | None, dlast: Grads, want_x: bool
) -> dict[str, Array]:
    """Back through the parts, the last that ran first."""
    sums, dx = WeightSums(layer), new_dx(layer, *x.shape[:2]) if want_x else None
    starts: dict[str, Array] = {}
    for part in reversed(ran):
        time = slice(*part)
        dy_here, dx_here = (None if a is None else a[time] for a in (dy, dx))
        starts = walk_back(saved(part), x[time], dy_here, starts or dlast, sums, dx_here)
    return gradients(sums, starts, dx)


def _replayed(saved: Saved, x: Array, part: Part) -> Saved:
    """What a forward pass over these steps would have left: their kept values, computed again from the states."""
    layer, B, (begin, end) = saved.layer, saved.rows, part
    T, x, train = end - begin, x[begin:end], layer.kernel.train
    lengths = lengths_of(saved.lengths, part)
    states = {s: a[begin : end + 1] for s, a in saved.states.items()}
    keep = {name: layer.empty(T, B, padded(layer.units(info.axis))) for name, info in train.plan.arrays.items() if name.startswith("keep")}
    if keep:
        arrays = {"x": place_x(layer, train.plan, x)} | {name: over(a) for name, a in keep.items()}
        for s, a in states.items():
            arrays[s] = over(a[1:] if saved.reverse else a[:-1])
            arrays[s + "'"] = over(layer.empty(T + 1, *a.shape[1:]))  # the new states once more, unused
        if lengths is None and all(a.step == B * a.row for a in arrays.values()):
            joined = {name: Placed(a.data, a.first, 0, a.row) for name, a in arrays.items()}
            layer.run(train, 1, T * B, joined)
        else:
            layer.run(train, T, B, arrays, lengths)
    return Saved(layer, T, B, saved.reverse, states, keep, lengths)
