"""Forward and back through time on the C++ core: what a cell's plans need, laid out in memory.  Not here: the tape, stacks of layers.

Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np

import gatecell._core as _core

from ..algebra.loops import Plan
from ..cells import Cell
from .engine import PAD, Array, Layer, Placed, Prepared, kernel, over, padded
from .weight_sums import CHAIN, WeightSums

Part: TypeAlias = tuple[int, int]
"""Steps [begin, end) in time's own order."""
Grads: TypeAlias = Mapping[str, "Array | None"]
JOINED = 1024
"""Rows that make a long batch: more would not be faster, and the core's scratch grows with them."""


@dataclass
class Saved:
    """What the forward pass leaves for the way back."""

    layer: Layer
    steps: int
    rows: int
    reverse: bool
    states: dict[str, Array]
    """(T + 1, B, padded N) in time's own order, whatever the direction."""
    keep: dict[str, Array]
    lengths: Array | None = None
    """(B,) of int64: row b has so many steps, and nothing beyond them means anything."""

    def backward(self, x: Array, dy: Array | None, dlast: Grads, want_x: bool = True) -> dict[str, Array]:
        """BPTT.  dy (T, B, N): gradient of the output; dlast {state: (B, N)}: of the last states (None: zero).

        Returns gradients by name: every weight, "x" (T, B, I) if wanted, and each start state.  What was saved is used up.
        """
        T, B = self.steps, self.rows
        rows = max(1024, 2**18 // max(a.shape[2] for a in self.states.values()))
        more = _fresh(self.layer.cell) or (dy is not None and not _fits(dy))  # arrays beside those that were saved: they need not be long
        return back_in_parts(
            self.layer, parts(T, B, -(-rows // B) if more and T * B >= 2 * rows else T, self.reverse), self.part, x, dy, dlast, want_x
        )

    def part(self, part: Part) -> Saved:
        """What was saved of some steps."""
        begin, end = part
        states = {s: a[begin : end + 1] for s, a in self.states.items()}
        keep = {name: a[begin:end] for name, a in self.keep.items()}
        return Saved(self.layer, end - begin, self.rows, self.reverse, states, keep, lengths_of(self.lengths, part))


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


def _padded_copy(layer: Layer, a: Array, slots: int) -> Array:
    """(slots, B, N) -> the same with rows padded with zeros."""
    out = layer.empty(slots, a.shape[1], padded(a.shape[2]))
    out[:, :, : a.shape[2]] = a
    out[:, :, a.shape[2] :] = 0
    return out


def place_x(layer: Layer, plan: Plan, x: Array) -> Placed:
    """x (T, B, I) where it lies, or a copy if its units are not contiguous or a loop reads it by units."""
    by_units = any("x" in loop.arrays for p in plan.passes for loop in p.loops)
    if by_units:
        return over(_padded_copy(layer, x, len(x)))
    apart = x.shape[2] > 1 and x.strides[2] != x.itemsize
    if x.size and (apart or not x.flags.aligned or any(s % x.itemsize or s < 0 for s in x.strides)):
        x = np.require(x, requirements=("C", "A"))
    return over(x)


def forward(
    layer: Layer,
    x: Array,
    start: Mapping[str, Array],
    *,
    reverse: bool = False,
    training: bool = False,
    lengths: Array | None = None,
    states_alone: bool = False,
) -> tuple[Array, dict[str, Array], Saved]:
    """All steps.  x (T, B, I), start {state: (B, N)} -> output (T, B, N) of the first state, last {state: (B, N)}, saved.

    `reverse`: from the last step to the first; the output stays in the order of x.  `lengths` (B,) of int64, 0 to T: row b has
    so many steps; beyond them the output is 0 and x is not read.  `states_alone`: what `training` saves lacks the kept values.
    """
    T, B = x.shape[:2]
    prepared = layer.kernel.train if training and not states_alone else layer.kernel.infer
    first = layer.cell.states[0]
    ends, each = (T, slice(None)) if lengths is None else (lengths, np.arange(B))
    arrays = {"x": place_x(layer, prepared.plan, x)}
    states: dict[str, Array] = {}
    for s in layer.cell.states:
        n = layer.units(layer.cell.axis(s))
        slots = T + 1 if training or s == first else 2  # others are needed over time for the way back alone
        a = states[s] = layer.empty(slots, B, padded(n))
        begin = (ends, each) if reverse and slots == T + 1 else (0, slice(None))
        a[(*begin, slice(n))], a[(*begin, slice(n, None))] = start[s], 0
        place = over(a)
        place.slots = 0 if slots == T + 1 else 2
        arrays[s] = arrays[s + "'"] = place.flipped(T + 1) if reverse and slots == T + 1 else place
    keep: dict[str, Array] = {}
    for name, info in prepared.plan.arrays.items():
        if name.startswith("keep"):
            keep[name] = layer.empty(T, B, padded(layer.units(info.axis)))
            arrays[name] = over(keep[name])
    if reverse:
        arrays |= {name: arrays[name].flipped(T) for name in ("x", *keep)}
    layer.run(prepared, T, B, arrays, lengths)
    last = {}
    for s, a in states.items():
        slot = ends % 2 if len(a) != T + 1 else 0 if reverse else ends
        last[s] = a[slot, each, : layer.units(layer.cell.axis(s))].copy()
    h = states[first]
    output = (h[:T] if reverse else h[1:])[:, :, : layer.units(layer.cell.axis(first))]
    if lengths is not None:
        if reverse and training:
            output = output.copy()  # the start lies where the output is 0
        _core.clear(output, lengths)
    return output, last, Saved(layer, T, B, reverse, states, keep, lengths)


def back_in_parts(
    layer: Layer, ran: Sequence[Part], saved: Callable[[Part], Saved], x: Array, dy: Array | None, dlast: Grads, want_x: bool
) -> dict[str, Array]:
    """As Saved.backward, one part after the other, the last that ran first; `saved` gives what the way back over a part uses up."""
    axis = layer.cell.program.x.axis
    sums, dx = WeightSums(layer), layer.empty(*x.shape[:2], padded(layer.units(axis))) if want_x else None
    starts: dict[str, Array] = {}
    for part in reversed(ran):
        time = slice(*part)
        dy_here, dx_here = (None if a is None else a[time] for a in (dy, dx))
        starts = _walk_back(saved(part), x[time], dy_here, starts or dlast, sums, dx_here)
    return sums.result() | starts | ({} if dx is None else {"x": dx[:, :, : layer.units(axis)]})


def _walk_back(saved: Saved, x: Array, dy: Array | None, dlast: Grads, sums: WeightSums, dx: Array | None) -> dict[str, Array]:
    """BPTT over the steps that were saved: adds to `sums`, writes dx (T, B, padded I), returns each start state's gradient (B, N)."""
    layer, T, B = saved.layer, saved.steps, saved.rows
    k, cell = layer.kernel, layer.cell
    first = cell.states[0]
    n_first = layer.units(cell.axis(first))

    def turn(a: Placed, steps: int = T) -> Placed:
        return a.flipped(steps) if saved.reverse else a

    arrays = {name: turn(over(a)) for name, a in saved.keep.items()}
    arrays["x"] = turn(place_x(layer, k.back.plan, x))
    for s, a in saved.states.items():
        arrays[s] = arrays[s + "'"] = turn(over(a), T + 1)
    carries = {}
    for s in cell.states:
        n = layer.units(cell.axis(s))
        c = carries[s] = layer.empty(2, B, padded(n))
        d = dlast.get(s)
        c[:, :, :n], c[:, :, n:] = 0 if d is None else d, 0  # a row begins in either slot: its length is even or odd
        arrays["carry." + s] = arrays["carry'." + s] = Placed(c, 0, B * padded(n), padded(n), 2)
    if dy is None:
        zero = layer.empty(1, B, padded(n_first))
        zero[:] = 0
        arrays["dy"] = Placed(zero, 0, 0, padded(n_first))
    else:
        arrays["dy"] = turn(over(dy if _fits(dy) else _padded_copy(layer, dy, T)))
    arrays |= {name: arrays[keep] for name, keep in k.plans.reuse.items()}
    arrays |= {name: turn(over(layer.empty(T, B, padded(layer.units(axis))))) for name, axis in _fresh(cell).items()}
    layer.run(k.back, T, B, arrays, saved.lengths)
    sums.add(T, B, arrays, saved.lengths)
    if dx is not None:
        if k.dx is None:
            dx[:] = 0
        elif saved.lengths is not None:
            _core.clear(dx, saved.lengths)
        if k.dx is not None:
            arrays["dx"] = turn(over(dx))
            _run_dx(layer, k.dx, T, B, arrays, saved.lengths)
    return {s: c[0, :, : layer.units(cell.axis(s))].copy() for s, c in carries.items()}


def _fits(dy: Array) -> bool:
    """Whether the core can read it where it lies: rows of whole vectors."""
    whole = dy.shape[2] % PAD == 0 and dy.strides[2] == dy.itemsize and dy.flags.aligned
    return whole and all(s % dy.itemsize == 0 and s >= 0 for s in dy.strides)


@cache
def _fresh(cell: Cell) -> dict[str, str]:
    """The arrays over time that the way back writes elsewhere than in the place of kept values, with their axes."""
    k = kernel(cell)
    written = {name: info.axis for name, info in k.back.plan.arrays.items() if name.startswith(("cross", "arg"))}
    return {name: axis for name, axis in written.items() if name not in k.plans.reuse}


def _run_dx(layer: Layer, dx: Prepared, T: int, B: int, arrays: Mapping[str, Placed], lengths: Array | None) -> None:
    """Nothing recurs: where all arrays run on without gaps, several steps are one of a longer batch."""
    infos = {name: info for name, info in dx.plan.arrays.items() if info.kind in ("given", "over")}
    used = {name: arrays[name] for name in infos}
    joins = lengths is None and all(i.offset == 0 for i in infos.values()) and all(abs(a.step) == B * a.row for a in used.values())
    if not joins:
        return layer.run(dx, T, B, used, lengths)
    together = min(T, -(-JOINED // B))
    for begin, steps, n in ((0, T // together, together), (T - T % together, 1, T % together)):
        if n:
            rows, skip = n * B, begin * B
            firsts = {name: a.first + min(0, (T - 1) * a.step) + skip * a.row for name, a in used.items()}
            layer.run(dx, steps, rows, {name: Placed(a.data, firsts[name], rows * a.row, a.row) for name, a in used.items()})
    return None
