"""Forward and back through time on the C++ core: what a cell's plans need, laid out in memory.  Not here: the tape, stacks of layers.

Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

import gatecell._core as _core

from .engine import PAD, Array, Fit, Layer, is_plain, padded, plain
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
    given: Mapping[str, Array] = field(default_factory=dict)
    """Further inputs as `placed_given` lays them."""

    def backward(self, x: Array, dy: Array | None, dlast: Grads, want_x: bool = True) -> dict[str, Array]:
        """BPTT.  dy (T, B, N): gradient of the output; dlast {state: (B, N)}: of the last states (None: zero).

        Returns gradients by name: every weight, "x" (T, B, I) if wanted, and each start state.  What was saved is used up.
        """
        T, B = self.steps, self.rows
        rows = max(1024, 2**18 // max(a.shape[2] for a in self.states.values()))
        beside = self.layer.form.fresh or not (dy is None or _fits(dy) or not dy.strides[0])  # arrays beside those that were saved
        long = T * B >= 2 * rows and beside
        return back_in_parts(self.layer, parts(T, B, -(-rows // B) if long else T, self.reverse), self.part, x, dy, dlast, want_x)

    def part(self, part: Part) -> Saved:
        """What was saved of some steps."""
        begin, end = part
        if begin == 0 and end == self.steps:
            return self
        states = {s: a[begin : end + 1] for s, a in self.states.items()}
        keep = {name: a[begin:end] for name, a in self.keep.items()}
        own = lengths_of(self.lengths, part)
        return Saved(self.layer, end - begin, self.rows, self.reverse, states, keep, own, given_of(self.given, slice(begin, end)))


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


def given_of(given: Mapping[str, Array], time: slice) -> dict[str, Array]:
    """Further inputs of some steps, or in another order of time; what is the same at every step stays so."""
    return {name: a[time] if a.ndim == 3 else a for name, a in given.items()}


def placed_given(layer: Layer, given: Mapping[str, Array]) -> dict[str, Array]:
    """Further inputs (T, B, N), or (B, N) for all steps, under the names that plans have for them, where the core can read them."""
    three = {name: a if a.ndim == 3 else a[None] for name, a in given.items()}
    placed = {name: a if _fits(a) else _padded_copy(layer, a, len(a)) for name, a in three.items()}
    return {f"given.{name}": a if given[name].ndim == 3 else a[0] for name, a in placed.items()}


def _padded_copy(layer: Layer, a: Array, slots: int) -> Array:
    """(slots, B, N) -> the same with rows padded with zeros."""
    out = layer.empty(slots, a.shape[1], padded(a.shape[2]))
    out[:, :, : a.shape[2]] = a
    out[:, :, a.shape[2] :] = 0
    return out


def placed_x(layer: Layer, fit: Fit, x: Array) -> Array:
    """x (T, B, I) as a plan reads it: itself, or a copy if its units are not contiguous or a loop reads it by units."""
    if "x" in fit.by_units:
        return _padded_copy(layer, x, len(x))
    if is_plain(x):
        return x
    apart = x.shape[2] > 1 and x.strides[2] != x.itemsize
    return plain(x) if apart or not x.flags.aligned or any(s % x.itemsize or s < 0 for s in x.strides) else x


def forward(
    layer: Layer,
    x: Array,
    start: Mapping[str, Array],
    *,
    reverse: bool = False,
    training: bool = False,
    lengths: Array | None = None,
    states_alone: bool = False,
    given: Mapping[str, Array] | None = None,
) -> tuple[Array, dict[str, Array], Saved]:
    """All steps.  x (T, B, I), start {state: (B, N)} -> output (T, B, N) of the first state, last {state: (B, N)}, saved.

    `reverse`: from the last step to the first; the output stays in the order of x.  `lengths` (B,) of int64, 0 to T: row b has
    so many steps; beyond them the output is 0 and x is not read.  `states_alone`: what `training` saves lacks the kept values.
    `given`: further inputs, from `placed_given`.
    """
    T, B = x.shape[:2]
    form = layer.form
    fit = form.infer if not training else form.over if states_alone else form.train
    ends, each = (T, slice(None)) if lengths is None else (lengths, np.arange(B))
    time = slice(None, None, -1 if reverse else 1)
    given = given or {}
    arrays = {"x": placed_x(layer, fit, x)[time], **given_of(given, time)}
    states: dict[str, Array] = {}
    for s, n in form.states.items():
        slots = T + 1 if training or s == form.first else 2  # others are needed over time for the way back alone
        a = states[s] = layer.empty(slots, B, padded(n))
        begin = (ends, each) if reverse and slots == T + 1 else (0, slice(None))
        a[(*begin, slice(n))] = start[s]
        if n % PAD:
            a[(*begin, slice(n, None))] = 0
        arrays[s] = arrays[s + "'"] = a[time] if slots == T + 1 else a
    keep: dict[str, Array] = {}
    if fit is form.train:
        for name, n in form.keep.items():
            keep[name] = layer.empty(T, B, padded(n))
            arrays[name] = keep[name][time]
    layer.run(fit, T, B, arrays, lengths)
    last = {}
    for s, n in form.states.items():
        a = states[s]
        slot = ends % 2 if len(a) != T + 1 else 0 if reverse else ends
        last[s] = a[slot, each, :n].copy()
    output = states[form.first][slice(T) if reverse else slice(1, None), :, : form.states[form.first]]
    if lengths is not None:
        if reverse and training:
            output = output.copy()  # the start lies where the output is 0
        _core.clear(output, lengths)
    return output, last, Saved(layer, T, B, reverse, states, keep, lengths, given)


def back_in_parts(
    layer: Layer, ran: Sequence[Part], saved: Callable[[Part], Saved], x: Array, dy: Array | None, dlast: Grads, want_x: bool
) -> dict[str, Array]:
    """As Saved.backward, one part after the other, the last that ran first; `saved` gives what the way back over a part uses up."""
    inputs = layer.form.inputs
    sums, dx = WeightSums(layer), layer.empty(*x.shape[:2], padded(inputs)) if want_x else None
    starts: dict[str, Array] = {}
    for part in reversed(ran):
        time = slice(*part)
        dy_here, dx_here = (None if a is None else a[time] for a in (dy, dx))
        starts = _walk_back(saved(part), x[time], dy_here, starts or dlast, sums, dx_here)
    return sums.result() | starts | ({} if dx is None else {"x": dx[:, :, :inputs]})


def _walk_back(saved: Saved, x: Array, dy: Array | None, dlast: Grads, sums: WeightSums, dx: Array | None) -> dict[str, Array]:
    """BPTT over the steps that were saved: adds to `sums`, writes dx (T, B, padded I), returns each start state's gradient (B, N)."""
    layer, T, B = saved.layer, saved.steps, saved.rows
    form = layer.form
    time = slice(None, None, -1 if saved.reverse else 1)
    arrays = {name: a[time] for name, a in saved.keep.items()}
    arrays["x"] = placed_x(layer, form.back, x)[time]
    arrays |= given_of(saved.given, time)
    carries = {}
    for s, n in form.states.items():
        arrays[s] = arrays[s + "'"] = saved.states[s][time]
        c = carries[s] = layer.empty(2, B, padded(n))
        d = dlast.get(s)
        c[:, :, :n] = 0 if d is None else d  # a row begins in either slot: its length is even or odd
        if n % PAD:
            c[:, :, n:] = 0
        arrays["carry." + s] = arrays["carry'." + s] = c
    arrays["dy"] = _placed_dy(layer, dy, time)
    for name, keep in form.kernel.plans.reuse.items():
        arrays[name] = arrays[keep]
    for name, n in form.fresh.items():
        arrays[name] = layer.empty(T, B, padded(n))[time]
    layer.run(form.back, T, B, arrays, saved.lengths)
    sums.add(arrays, saved.lengths)
    if dx is not None:
        if form.dx is None:
            dx[:] = 0
        elif saved.lengths is not None:
            _core.clear(dx, saved.lengths)
        if form.dx is not None:
            arrays["dx"] = dx[time]
            _run_dx(layer, form.dx, T, B, arrays, saved.lengths)
    return {s: c[0, :, : form.states[s]].copy() for s, c in carries.items()}


def _placed_dy(layer: Layer, dy: Array | None, time: slice) -> Array:
    """dy (T, B, N) as the core reads it; what is the same at every step, or in every row, too, is there once."""
    n = layer.form.states[layer.form.first]
    if dy is None:
        dy = np.zeros(n, layer.dtype)
    elif not dy.strides[0]:
        dy = dy[0] if dy.strides[1] else dy[0, 0]
    elif _fits(dy):
        return dy[time]
    own = layer.empty(*dy.shape[:-1], padded(n))
    own[..., :n], own[..., n:] = dy, 0
    return own[time] if own.ndim == 3 else own


def _fits(dy: Array) -> bool:
    """Whether the core can read it where it lies: rows of whole vectors."""
    whole = dy.shape[2] % PAD == 0 and dy.strides[2] == dy.itemsize and dy.flags.aligned
    return whole and all(s % dy.itemsize == 0 and s >= 0 for s in dy.strides)


def _run_dx(layer: Layer, dx: Fit, T: int, B: int, arrays: Mapping[str, Array], lengths: Array | None) -> None:
    """Nothing recurs: where all arrays run on without gaps, several steps are one of a longer batch."""
    infos = {name: info for name, info in dx.plan.arrays.items() if info.kind in ("given", "over")}
    used = {name: arrays[name] for name in infos}
    joins = lengths is None and all(i.offset == 0 for i in infos.values())
    if not joins or not all(a.ndim == 3 and abs(a.strides[0]) == B * a.strides[1] for a in used.values()):
        return layer.run(dx, T, B, used, lengths)
    rows = {name: a[T - 1 :: -1] if a.strides[0] < 0 else a[:T] for name, a in used.items()}
    together = min(T, -(-JOINED // B))
    for begin, steps, n in ((0, T // together, together), (T - T % together, 1, T % together)):
        if n:
            part = slice(begin, begin + steps * n)
            layer.run(dx, steps, n * B, {name: a[part].reshape(steps, n * B, a.shape[2]) for name, a in rows.items()})
    return None
