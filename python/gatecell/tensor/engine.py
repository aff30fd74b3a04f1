"""A layer on the C++ core: its plans, packed weights, and arrays as the core takes them.  Not here: passes over time (bptt.py).

Every array that the core writes has its rows padded to `PAD` units and begins on a cache line; what goes out is a view.
Going backwards through time is a negative stride: the core knows one direction.
Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatecell._core as _core

from ..algebra.encode import Encoded, encode
from ..algebra.loops import Plan
from ..algebra.plans import Plans, plans
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
        self._packed: dict[str, Any] = {}
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

    def run(self, prepared: Prepared, steps: int, rows: int, arrays: Mapping[str, Placed], lengths: Array | None = None) -> None:
        """Run a plan over `steps` steps of `rows` rows, or over lengths[b] of row b; parameters are found by themselves."""
        core, placed, extents = self._arranged(prepared, rows, arrays)
        core.run(steps, rows, placed, extents, _threads, lengths, late(arrays))

    def lend(self, prepared: Prepared, rows: int, arrays: Mapping[str, Placed]) -> tuple[Any, Any]:
        """One step of `rows` rows for callers of the core's C functions: capsules of gatecell_layer and of its table of arrays."""
        core, placed, extents = self._arranged(prepared, rows, arrays)
        return core.lent, core.table(1, rows, placed, extents)

    def _arranged(self, prepared: Prepared, rows: int, arrays: Mapping[str, Placed]) -> tuple[Any, list[Any], list[Any]]:
        """The packed layer, and the plan's arrays in its order, each with how much of it a run touches."""
        e, infos = prepared.encoded, prepared.plan.arrays
        key = prepared.plan.name
        if key not in self._packed:
            self._packed[key] = _core.Layer(prepared.core, [self.units(a) for a in e.axes], self.families, self.interpret)
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
            slots = 1 + info.offset if info.kind in ("given", "over", "ring") else 0
            extents.append(
                _core.Extent(slots, 1 if info.kind == "scalar" else padded(n) if name in pointwise or info.kind == "unit" else n)
            )
        return self._packed[key], placed, extents

    def _parameter(self, name: str, n: int) -> Array:
        a = self.empty(padded(n))
        a[:n], a[n:] = self.weights[name], 0
        return a


def late(arrays: Mapping[str, Placed]) -> bool:
    """Whether time runs backwards, so that what is shorter begins later."""
    return any(a.step < 0 for a in arrays.values())


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
