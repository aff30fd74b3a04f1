"""A layer over time on the C++ core: what a cell's plans need, laid out in memory.  Not here: the tape, stacks of layers.

Every array that the core writes has its rows padded to `PAD` units and begins on a cache line; what goes out is a view.
Going backwards through time is a negative stride: the core knows one direction.
Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatecell._core as _core

from ..algebra.encode import Encoded, encode
from ..algebra.loops import Plan
from ..algebra.plans import Plans, Use, plans
from ..cells import Cell

Array = NDArray[Any]
PAD: int = _core.PAD


def padded(n: int) -> int:
    return (n + PAD - 1) // PAD * PAD


@dataclass(frozen=True)
class Prepared:
    """A plan as the core takes it."""

    plan: Plan
    encoded: Encoded
    core: Any


@dataclass(frozen=True)
class Kernel:
    """What a cell is to the core."""

    plans: Plans
    infer: Prepared
    train: Prepared
    back: Prepared
    dx: Prepared | None


@cache
def kernel(cell: Cell) -> Kernel:
    p = plans(cell.program, cell.backward)

    def prepare(plan: Plan) -> Prepared:
        e = encode(plan, cell.program.families)
        return Prepared(plan, e, _core.Plan(e.code, e.constants))

    return Kernel(p, prepare(p.infer), prepare(p.train), prepare(p.back), prepare(p.dx) if p.dx else None)


@dataclass
class Placed:
    """An array with the element where its slot 0 begins, and strides in elements; see gatecell_array."""

    data: Array
    first: int
    step: int
    row: int
    slots: int = 0

    def core(self) -> tuple[Array, int, int, int, int]:
        return self.data, self.first, self.step, self.row, self.slots

    def flipped(self, steps: int) -> Placed:
        """Slot s becomes slot steps - 1 - s."""
        return Placed(self.data, self.first + (steps - 1) * self.step, -self.step, self.row, self.slots)


def over(a: Array) -> Placed:
    """An array (slots, B, N) whose units are contiguous."""
    each = a.itemsize
    return Placed(a, 0, a.strides[0] // each, a.strides[1] // each)


def cpu() -> str:
    """What the kernels use: "avx512", "avx2", "neon" or "baseline".

    Raises RuntimeError when GATECELL_CPU names what is unknown or what this machine lacks.
    """
    name: str = _core.cpu()
    return name


def _first_threads() -> int:
    text = os.environ.get("GATECELL_NUM_THREADS", "")
    if text:
        if not text.isdigit() or int(text) < 1:
            raise ValueError(f"GATECELL_NUM_THREADS wants a whole number of at least 1, got {text!r}")
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = _first_threads()


def set_num_threads(n: int) -> None:
    """How many threads the core may use.  Raises TypeError for what is no whole number, ValueError for n < 1."""
    global _threads
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"set_num_threads wants a whole number, got {n!r}")
    if not 1 <= n < 2**31:
        raise ValueError(f"set_num_threads wants at least 1 and less than 2**31, got {n}")
    _threads = n


def get_num_threads() -> int:
    """How many threads the core may use: at first GATECELL_NUM_THREADS, or as many CPUs as this process may run on."""
    return _threads


class Layer:
    """One layer and direction of a cell: sizes and weights, for as long as these do not change.

    `weights` as `Cell.shapes` names them, all float32 or all float64; `interpret`: run no compiled step (the results are
    the same bits; it is there to show that).
    """

    def __init__(self, cell: Cell, weights: Mapping[str, Array], sizes: Mapping[str, int], *, interpret: bool = False) -> None:
        self.cell, self.weights, self.sizes, self.interpret = cell, weights, {"1": 1, **sizes}, interpret
        self.dtype = np.dtype(next(iter(weights.values())).dtype)
        self.kernel = kernel(cell)
        self._packed: dict[tuple[str, bool], Any] = {}
        p = cell.program
        self.families: list[tuple[Array, Array | None]] = []
        for family, gates in p.families.items():
            matrix = dense(weights[family], len(gates), p.weights[f"{family}.{gates[0]}"].blocks != "1")
            bias = weights.get(family + "+")
            self.families.append((matrix, None if bias is None else np.require(bias, requirements=("C", "A"))))

    def empty(self, *shape: int) -> Array:
        a: Array = _core.empty(shape, self.dtype)
        return a

    def units(self, axis: str) -> int:
        return self.sizes[axis]

    def run(self, prepared: Prepared, steps: int, rows: int, arrays: Mapping[str, Placed]) -> None:
        """Run a plan over `steps` steps of `rows` rows; parameters are found by themselves."""
        core, placed, extents = self._arranged(prepared, rows, arrays)
        core.run(steps, rows, placed, extents, _threads)

    def lend(self, prepared: Prepared, rows: int, arrays: Mapping[str, Placed]) -> tuple[Any, Any]:
        """One step of `rows` rows for callers of the core's C functions: capsules of gatecell_layer and of its table of arrays."""
        core, placed, extents = self._arranged(prepared, rows, arrays)
        return core.lent, core.table(1, rows, placed, extents)

    def _arranged(self, prepared: Prepared, rows: int, arrays: Mapping[str, Placed]) -> tuple[Any, list[Any], list[Any]]:
        """The packed layer, and the plan's arrays in its order, each with how much of it a run touches."""
        e, infos = prepared.encoded, prepared.plan.arrays
        key = prepared.plan.name, rows < 3  # few rows are packed in wider panels
        if key not in self._packed:
            self._packed[key] = _core.Layer(prepared.core, [self.units(a) for a in e.axes], self.families, rows, self.interpret)
        pointwise = {name for p in prepared.plan.passes for loop in p.loops for name in loop.arrays}
        placed: list[Any] = []
        extents = []
        for name in e.arrays:
            info = infos[name]
            n = self.units(info.axis)
            if info.kind in ("buffer", "row"):
                placed.append(None)
            elif info.kind in ("unit", "scalar"):
                placed.append((self._parameter(name, n), 0, 0, 0, 0))
            else:
                placed.append(arrays[name].core())
            slots = 1 + info.offset if info.kind in ("over", "ring") else 0
            extents.append(
                _core.Extent(slots, 1 if info.kind == "scalar" else padded(n) if name in pointwise or info.kind == "unit" else n)
            )
        return self._packed[key], placed, extents

    def _parameter(self, name: str, n: int) -> Array:
        a = self.empty(padded(n))
        a[:n], a[n:] = self.weights[name], 0
        return a


def dense(stacked: Array, gates: int, blocked: bool) -> Array:
    """A family's matrix with contiguous rows; block-diagonal ones, (G * out, into / K), with their zeros: (G * out, into)."""
    if not blocked:
        return np.require(stacked, requirements=("C", "A"))  # contiguous, and no element across the addresses that C gives its type
    out, into = len(stacked) // gates, stacked.shape[1]
    blocks = out // into
    full = np.zeros((len(stacked), into * blocks), stacked.dtype)
    for g in range(gates):
        for k in range(blocks):
            rows = slice(g * out + k * into, g * out + (k + 1) * into)
            full[rows, k * into : (k + 1) * into] = stacked[rows]
    return full


@dataclass
class Saved:
    """What the forward pass leaves for the way back."""

    layer: Layer
    x: Placed
    steps: int
    rows: int
    reverse: bool
    states: dict[str, Array]
    """(T + 1, B, padded N), slot 0 the start; in time's own order, whatever the direction."""
    keep: dict[str, Array]


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
    layer: Layer, x: Array, start: Mapping[str, Array], *, reverse: bool = False, training: bool = False
) -> tuple[Array, dict[str, Array], Saved]:
    """All steps.  x (T, B, I), start {state: (B, N)} -> output (T, B, N) of the first state, last {state: (B, N)}, saved.

    `reverse`: from the last step to the first; the output stays in the order of x.
    """
    T, B = x.shape[:2]
    prepared = layer.kernel.train if training else layer.kernel.infer
    first = layer.cell.states[0]
    arrays = {"x": _place_x(layer, prepared.plan, x)}
    states: dict[str, Array] = {}
    for s in layer.cell.states:
        n = layer.units(layer.cell.axis(s))
        slots = T + 1 if training or s == first else 2  # others are needed over time for the way back alone
        a = states[s] = layer.empty(slots, B, padded(n))
        begin = slots - 1 if reverse and slots == T + 1 else 0
        a[begin, :, :n], a[begin, :, n:] = start[s], 0
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
    layer.run(prepared, T, B, arrays)
    last = {}
    for s, a in states.items():
        n = layer.units(layer.cell.axis(s))
        slot = T % 2 if len(a) != T + 1 else 0 if reverse else T
        last[s] = a[slot, :, :n].copy()
    h = states[first]
    output = h[:T] if reverse else h[1:]
    return output[:, :, : layer.units(layer.cell.axis(first))], last, Saved(layer, over(x), T, B, reverse, states, keep)


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
    carries = {}
    for s in cell.states:
        n = layer.units(cell.axis(s))
        c = carries[s] = layer.empty(2, B, padded(n))
        d = dlast.get(s)
        c[T % 2, :, :n], c[T % 2, :, n:] = 0 if d is None else d, 0
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
    layer.run(k.back, T, B, arrays)

    grads = _weight_gradients(layer, T, B, arrays)
    for s, c in carries.items():
        grads[s] = c[0, :, : layer.units(cell.axis(s))].copy()
    if want_x:
        n = layer.units(cell.program.x.axis)
        dx = layer.empty(T, B, padded(n))
        if k.dx is None:
            dx[:] = 0
        else:
            arrays["dx"] = turn(over(dx))
            _run_dx(layer, k.dx, T, B, arrays)
        grads["x"] = dx[:, :, :n]
    return grads


def _run_dx(layer: Layer, dx: Prepared, T: int, B: int, arrays: Mapping[str, Placed]) -> None:
    """Nothing recurs: where all arrays run on without gaps, time and batch are one long batch."""
    used = [arrays[name] for name, info in dx.plan.arrays.items() if info.kind == "over"]
    if all(info.offset == 0 for info in dx.plan.arrays.values()) and all(abs(a.step) == B * a.row for a in used):
        joined = {name: Placed(a.data, min(a.first, a.first + (T - 1) * a.step), 0, a.row) for name, a in arrays.items()}
        layer.run(dx, 1, T * B, joined)
    else:
        layer.run(dx, T, B, arrays)


def _weight_gradients(layer: Layer, T: int, B: int, arrays: Mapping[str, Placed]) -> dict[str, Array]:
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
        _core.outer(T, B, [arrays[u.gradient].core() for u in uses], each, arrays[argument].core(), into, out, sums, _threads)
    grads: dict[str, Array] = {}
    for family, f in index.items():
        gates = p.families[family]
        blocked = p.weights[f"{family}.{gates[0]}"].blocks != "1"
        grads[family] = _blocks(full[f], layer.weights[family].shape, len(gates)) if blocked else full[f]
        bias = biases[f]
        if bias is not None:
            grads[family + "+"] = bias
    for name, array in k.plans.sums.items():
        a = arrays[array].data.reshape(T * B, -1)[:, : layer.units(k.back.plan.arrays[array].axis)]
        total = a.sum(0, dtype=np.float64)
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
