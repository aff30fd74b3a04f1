"""A layer on the C++ core: its plans, packed weights, and arrays as the core takes them.  Not here: passes over time (bptt.py).

Every array that the core writes has its rows padded to `PAD` units and begins on a cache line; what goes out is a view.
Going backwards through time is a[::-1]: the core knows one direction.
Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
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
PARAMETERS = ("unit", "scalar")
"""Kinds of arrays that a layer has by itself: one slot for all steps and rows."""


def padded(n: int) -> int:
    return (n + PAD - 1) // PAD * PAD


@dataclass(frozen=True)
class Prepared:
    """A plan as the core takes it."""

    plan: Plan
    encoded: Encoded
    core: _core.Plan


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


class Fit:
    """A plan for axes of certain lengths, and how the core takes it.

    names     the arrays that a run is given, in the core's order
    by_units  those whose rows have to be padded
    """

    def __init__(self, prepared: Prepared, sizes: Mapping[str, int], in_turn: Container[str] = ()) -> None:
        """`in_turn`: arrays over time that are given with two slots, used in turn."""
        self.plan, self.names, extents = prepared.plan, list[str](), list[tuple[int, int] | None]()
        self.by_units = {name for p in self.plan.passes for loop in p.loops for name in loop.arrays}
        for name in prepared.encoded.arrays:
            info = self.plan.arrays[name]
            if info.kind in ("buffer", "row"):  # the core's own
                extents.append(None)
                continue
            whole = info.kind == "unit" or (info.kind != "scalar" and name in self.by_units)
            n = sizes[info.axis] if info.kind != "scalar" else 1
            extents.append((_core.IN_TURN if info.kind == "ring" or name in in_turn else info.offset, padded(n) if whole else n))
            self.names.append(name)
        self.core = _core.Fit(prepared.core, [sizes[a] for a in prepared.encoded.axes], extents)


class Form:
    """What follows from a cell and the lengths of its axes alone: kept, so that no call computes it again.

    infer, over, train, back, dx: the cell's plans; in `infer` states but the first have two slots, in `over` as many as there are steps.
    states      {state: its units}, in the cell's order; `first` is the output
    given       {further input: its units}
    families    {family of weights: its gates}; `blocked` are those that are block-diagonal
    parameters  {per-unit or shared parameter: its units}
    keep        {array that training keeps: its units}
    fresh       {array that the way back writes elsewhere than in the place of kept values: its units}
    """

    def __init__(self, cell: Cell, sizes: Mapping[str, int]) -> None:
        self.cell, self.kernel, self.sizes = cell, kernel(cell), {"1": 1, **sizes}
        others = {name for s in cell.states[1:] for name in (s, s + "'")}
        self.infer, self.over = Fit(self.kernel.infer, self.sizes, others), Fit(self.kernel.infer, self.sizes)
        self.train, self.back = Fit(self.kernel.train, self.sizes), Fit(self.kernel.back, self.sizes)
        self.dx = Fit(self.kernel.dx, self.sizes) if self.kernel.dx else None
        self.families = {f: len(gates) for f, gates in cell.program.families.items()}
        firsts = {f: cell.program.weights[f"{f}.{gates[0]}"] for f, gates in cell.program.families.items()}
        self.blocked = {f for f, w in firsts.items() if w.blocks != "1"}
        self.inputs = self.sizes[cell.program.x.axis]
        self.states = {s: self.sizes[cell.axis(s)] for s in cell.states}
        self.given = {name: self.sizes[n.axis] for name, n in cell.program.given.items()}
        self.first = cell.states[0]
        self.keep = {name: self.sizes[a.axis] for name, a in self.train.plan.arrays.items() if name.startswith("keep")}
        written = {name: self.sizes[a.axis] for name, a in self.back.plan.arrays.items() if name.startswith(("cross", "arg"))}
        self.fresh = {name: n for name, n in written.items() if name not in self.kernel.plans.reuse}
        plans = [f.plan for f in (self.infer, self.train, self.back, self.dx) if f]
        self.parameters = {name: self.sizes[a.axis] for plan in plans for name, a in plan.arrays.items() if a.kind in PARAMETERS}


@lru_cache(maxsize=256)
def _form(cell: Cell, sizes: tuple[tuple[str, int], ...]) -> Form:
    return Form(cell, dict(sizes))


def form(cell: Cell, sizes: Mapping[str, int]) -> Form:
    """The form of a cell for axes of these lengths, made once."""
    return _form(cell, tuple(sizes.items()))


def cpu() -> str:
    """What the kernels use: "avx512", "avx2", "neon" or "baseline".

    Raises RuntimeError when GATECELL_CPU names what is unknown or what this machine lacks.
    """
    name: str = _core.cpu()
    return name


def _first_threads() -> int:
    text = os.environ.get("GATECELL_NUM_THREADS", "")
    if text:
        if not text.isdecimal() or not 1 <= int(text) < 2**31:
            raise ValueError(f"GATECELL_NUM_THREADS wants a whole number of at least 1 and less than 2**31, got {text!r}")
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = _first_threads()


def set_num_threads(n: int) -> None:
    """How many threads the core may use.  Raises TypeError for what is no whole number, ValueError for n < 1."""
    global _threads
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"set_num_threads wants a whole number, got {n!r}")
    if not 1 <= n < 2**31:
        raise ValueError(f"set_num_threads wants at least 1 and less than 2**31, got {n}")
    _threads = int(n)


def get_num_threads() -> int:
    """How many threads the core may use: at first GATECELL_NUM_THREADS, or as many CPUs as this process may run on."""
    return _threads


class Layer:
    """One layer and direction of a cell: sizes and weights, for as long as these do not change.

    `weights` as `Cell.shapes` names them, all float32 or all float64; `interpret`: run no compiled step (the results are
    the same bits; it is there to show that).
    """

    def __init__(self, form: Form, weights: Mapping[str, Array], *, interpret: bool = False) -> None:
        self.form, self.cell, self.weights, self.interpret = form, form.cell, weights, interpret
        self.dtype = next(iter(weights.values())).dtype
        self._packed: dict[Fit, _core.Layer] = {}
        self.families: list[tuple[Array, Array | None]] = []
        for family, gates in form.families.items():
            bias, stacked = weights.get(family + "+"), weights[family]
            matrix = dense(stacked, gates) if family in form.blocked else plain(stacked)
            self.families.append((matrix, None if bias is None else plain(bias)))
        self._parameters = {name: self._parameter(name, n) for name, n in self.form.parameters.items()}

    def empty(self, *shape: int) -> Array:
        return _core.empty(shape, self.dtype)

    def run(self, fit: Fit, steps: int, rows: int, arrays: Mapping[str, Array], lengths: Array | None = None) -> None:
        """Run a plan over `steps` steps of `rows` rows, or over lengths[b] of row b; parameters are found by themselves.

        `arrays` (slots, B, units) by name, those of the plan and maybe others; (B, units) is the same at every step.
        """
        self._of(fit).run(steps, rows, self._given(fit, arrays), _threads, lengths)

    def stepper(self, fit: Fit, rows: int, even: Mapping[str, Array], odd: Mapping[str, Array]) -> object:
        """One step of `rows` rows, for callers of the core's C functions: a capsule of a gatecell_stepper, which keeps these arrays."""
        return self._of(fit).stepper(rows, self._given(fit, even), self._given(fit, odd))

    def _of(self, fit: Fit) -> _core.Layer:
        """The layer with its weights packed for a plan."""
        core = self._packed.get(fit)
        if core is None:
            core = self._packed[fit] = _core.Layer(fit.core, self.families, self.interpret)
        return core

    def _given(self, fit: Fit, arrays: Mapping[str, Array]) -> list[Array]:
        if self._parameters:
            arrays = {**arrays, **self._parameters}
        return [arrays[name] for name in fit.names]

    def _parameter(self, name: str, n: int) -> Array:
        a = self.empty(padded(n))
        a[:n], a[n:] = self.weights[name], 0
        return a


def is_plain(a: Array) -> bool:
    """Whether it lies as C would have it: without gaps, and no element across the addresses that C gives its type."""
    flags = a.flags
    return flags.c_contiguous and flags.aligned


def plain(a: Array) -> Array:
    """`a`, or a copy of it that lies as C would have it."""
    return a if is_plain(a) else np.require(a, requirements=("C", "A"))


def dense(stacked: Array, gates: int) -> Array:
    """A block-diagonal family's matrix, (G * out, into / K), with its zeros: (G * out, into)."""
    out, into = len(stacked) // gates, stacked.shape[1]
    blocks = out // into
    full = np.zeros((len(stacked), into * blocks), stacked.dtype)
    for g in range(gates):
        for k in range(blocks):
            rows = slice(g * out + k * into, g * out + (k + 1) * into)
            full[rows, k * into : (k + 1) * into] = stacked[rows]
    return full
