"""Forward and back through time on the C++ core: what a cell's plans need, laid out in memory.  Not here: the tape, stacks of layers.

Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import _core
from ..algebra.loops import Plan
from ..algebra.plans import Use
from . import engine
from .engine import PAD, Array, Layer, Placed, Prepared, over, padded


@dataclass
class Saved:
    """What the forward pass leaves for the way back."""

    layer: Layer
    x: Placed
    steps: int
    rows: int
    reverse: bool
    states: dict[str, Array]
    """(T + 1, B, padded N) in time's own order, whatever the direction."""
    keep: dict[str, Array]
    lengths: Array | None = None
    """(B,) of int64: row b has so many steps, and nothing beyond them means anything."""


def _padded_copy(layer: Layer, a: Array, slots: int) -> Array:
    """(slots, B, N) -> the same with rows padded with zeros."""
    out = layer.empty(slots, a.shape[1], padded(a.shape[2]))
    out[:, :, : a.shape[2]] = a
    out[:, :, a.shape[2] :] = 0
    return out


def _place_x(layer: Layer, plan: Plan, x: Array) -> Placed:
    """x (T, B, I) where it lies, or a copy if its units are not contiguous or a loop reads it by units."""
    by_units = any("x" in loop.arrays for p in plan.passes for loop in p.loops)
    if by_units:
        return over(_padded_copy(layer, x, len(x)))
    apart = x.shape[2] > 1 and x.strides[2] != x.itemsize
    if x.size and (apart or not x.flags.aligned or any(s % x.itemsize or s < 0 for s in x.strides)):
        x = np.require(x, requirements=("C", "A"))
    return over(x)


def forward(
    layer: Layer, x: Array, start: Mapping[str, Array], *, reverse: bool = False, training: bool = False, lengths: Array | None = None
) -> tuple[Array, dict[str, Array], Saved]:
    """All steps.  x (T, B, I), start {state: (B, N)} -> output (T, B, N) of the first state, last {state: (B, N)}, saved.

    `reverse`: from the last step to the first; the output stays in the order of x.  `lengths` (B,) of int64, 1 to T: row b has
    so many steps; beyond them the output is 0 and x is not read.
    """
    T, B = x.shape[:2]
    prepared = layer.kernel.train if training else layer.kernel.infer
    first = layer.cell.states[0]
    ends, each = (T, slice(None)) if lengths is None else (lengths, np.arange(B))
    arrays = {"x": _place_x(layer, prepared.plan, x)}
    states: dict[str, Array] = {}
    for s in layer.cell.states:
        n = layer.units(layer.cell.axis(s))
        slots = T + 1 if training or s == first else 2  # others are needed over time for the way back alone
        a = states[s] = layer.empty(slots, B, padded(n))
        begin = ends if reverse and slots == T + 1 else 0
        a[begin, each, :n], a[begin, each, n:] = start[s], 0
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
        for b, n in enumerate(lengths.tolist()):
            output[n:, b] = 0
    return output, last, Saved(layer, over(x), T, B, reverse, states, keep, lengths)


def backward(saved: Saved, x: Array, dy: Array | None, dlast: Mapping[str, Array | None], want_x: bool = True) -> dict[str, Array]:
    """BPTT.  dy (T, B, N): gradient of the output; dlast {state: (B, N)}: of the last states (None: zero).

    Returns gradients by name: every weight, "x" (T, B, I) if wanted, and each start state.  What was saved is used up.
    """
    layer, T, B = saved.layer, saved.steps, saved.rows
    k, cell = layer.kernel, layer.cell
    first = cell.states[0]
    n_first = layer.units(cell.axis(first))

    def turn(a: Placed, steps: int = T) -> Placed:
        return a.flipped(steps) if saved.reverse else a

    arrays = {name: turn(over(a)) for name, a in saved.keep.items()}
    arrays["x"] = turn(_place_x(layer, k.back.plan, x))
    for s, a in saved.states.items():
        arrays[s] = arrays[s + "'"] = turn(over(a), T + 1)
    ends, each = (T, slice(None)) if saved.lengths is None else (saved.lengths, np.arange(B))
    carries = {}
    for s in cell.states:
        n = layer.units(cell.axis(s))
        c = carries[s] = layer.empty(2, B, padded(n))
        d = dlast.get(s)
        c[ends % 2, each, :n], c[ends % 2, each, n:] = 0 if d is None else d, 0
        arrays["carry." + s] = arrays["carry'." + s] = Placed(c, 0, B * padded(n), padded(n), 2)
    if dy is None:
        zero = layer.empty(1, B, padded(n_first))
        zero[:] = 0
        arrays["dy"] = Placed(zero, 0, 0, padded(n_first))
    else:
        whole = (
            dy.flags.aligned
            and n_first % PAD == 0
            and dy.strides[2] == dy.itemsize
            and all(s % dy.itemsize == 0 and s >= 0 for s in dy.strides)
        )
        arrays["dy"] = turn(over(dy if whole else _padded_copy(layer, dy, T)))
    for name, info in k.back.plan.arrays.items():
        if name in k.plans.reuse:
            arrays[name] = arrays[k.plans.reuse[name]]
        elif name.startswith(("cross", "arg")):
            arrays[name] = turn(over(layer.empty(T, B, padded(layer.units(info.axis)))))
    layer.run(k.back, T, B, arrays, saved.lengths)

    grads = _weight_gradients(layer, T, B, arrays, saved.lengths)
    for s, c in carries.items():
        grads[s] = c[0, :, : layer.units(cell.axis(s))].copy()
    if want_x:
        n = layer.units(cell.program.x.axis)
        dx = layer.empty(T, B, padded(n))
        if k.dx is None:
            dx[:] = 0
        elif saved.lengths is not None:
            for b, length in enumerate(saved.lengths.tolist()):
                dx[length:, b] = 0
        if k.dx is not None:
            arrays["dx"] = turn(over(dx))
            _run_dx(layer, k.dx, T, B, arrays, saved.lengths)
        grads["x"] = dx[:, :, :n]
    return grads


def _run_dx(layer: Layer, dx: Prepared, T: int, B: int, arrays: Mapping[str, Placed], lengths: Array | None) -> None:
    """Nothing recurs: where all arrays run on without gaps, time and batch are one long batch."""
    used = [arrays[name] for name, info in dx.plan.arrays.items() if info.kind == "over"]
    if lengths is None and all(info.offset == 0 for info in dx.plan.arrays.values()) and all(abs(a.step) == B * a.row for a in used):
        joined = {name: Placed(a.data, min(a.first, a.first + (T - 1) * a.step), 0, a.row) for name, a in arrays.items()}
        layer.run(dx, 1, T * B, joined)
    else:
        layer.run(dx, T, B, {name: arrays[name] for name in dx.plan.arrays if name in arrays}, lengths)


def _weight_gradients(layer: Layer, T: int, B: int, arrays: Mapping[str, Placed], lengths: Array | None) -> dict[str, Array]:
    """Sums over time and batch of outer products, uses that share an argument together; parameters by plain sums."""
    p, k = layer.cell.program, layer.kernel
    full = [np.zeros_like(matrix) for matrix, _ in layer.families]
    biases = [None if bias is None else np.zeros_like(bias) for _, bias in layer.families]
    index = {family: f for f, family in enumerate(p.families)}
    shared: dict[tuple[str, str], list[Use]] = {}
    for use in k.plans.uses:
        shared.setdefault((use.weight.split(".")[0], use.argument), []).append(use)
    for (family, argument), uses in shared.items():
        f, gates = index[family], p.families[family]
        each, into = len(full[f]) // len(gates), full[f].shape[1]
        out: list[Array] = []
        sums: list[Array | None] = []
        for use in uses:
            g = gates.index(use.weight.split(".")[1])
            out.append(full[f][g * each : (g + 1) * each])
            bias = biases[f]
            sums.append(None if bias is None else bias[g * each : (g + 1) * each])
        gradients = [arrays[u.gradient].core() for u in uses]
        _core.outer(T, B, gradients, each, arrays[argument].core(), into, out, sums, engine.get_num_threads(), lengths, engine.late(arrays))
    grads: dict[str, Array] = {}
    for family, f in index.items():
        gates = p.families[family]
        blocked = p.weights[f"{family}.{gates[0]}"].blocks != "1"
        grads[family] = _blocks(full[f], layer.weights[family].shape, len(gates)) if blocked else full[f]
        bias = biases[f]
        if bias is not None:
            grads[family + "+"] = bias
    for name, array in k.plans.sums.items():
        a = arrays[array].data[:, :, : layer.units(k.back.plan.arrays[array].axis)]
        there = True if lengths is None else (np.arange(T)[:, None] < lengths)[:, :, None]
        total = a.sum((0, 1), dtype=np.float64, where=there)
        grads[name] = (total if p.params[name] != "1" else total.sum(keepdims=True)).astype(layer.dtype)
    return grads


def _blocks(full: Array, shape: Sequence[int], gates: int) -> Array:
    """The diagonal blocks of a family's dense gradient."""
    out = np.empty(shape, full.dtype)
    each, into = len(full) // gates, shape[1]
    for r in range(len(full)):
        k = r % each // into
        out[r] = full[r, k * into : (k + 1) * into]
    return out
