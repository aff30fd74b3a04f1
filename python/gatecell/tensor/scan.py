"""A scan over time as one operation on the tape.  Not here: any scan, products around it (nn/), gated cells (recurrence.py).

Letters: T time, B batch, K heads, H channels and N entries of each.  Rows are flat: u units of an axis are 1, H, N, or N * H.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, TypeAlias

import numpy as np

import gatecell._core as _core

from ..algebra.scan_plan import plan
from ..cells import Scan
from ..cells.scan_reference import Reference
from . import engine
from .autograd import mode
from .dtypes import Array
from .tensor import Tensor, record

LANES = 64
"""Channels that the core runs together."""
NEAR = 2**18
"""Bytes that the states of a stretch may take on the way back: they lie in a core's own cache then."""
Tensors: TypeAlias = "Mapping[str, Tensor]"
Place: TypeAlias = "tuple[Array | None, int, int]"
"""An array, or none; slots and elements of a row."""
Arrays: TypeAlias = "Mapping[str, Array]"
Described: TypeAlias = "tuple[tuple[str, tuple[int, ...], np.dtype[Any]], ...]"


def scan(
    of: Scan, inputs: Tensors, params: Tensors, states: Tensors, *, H: int, N: int = 1, heads: int = 1
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a scan from `states`: its output (T, B, K H) and its last states.

    inputs (T, B, K u), parameters (K u,), states (B, K u), by the names and axes of the page and in its order; head k's units stand
    after those of head k - 1, and no head knows of another.  Differentiable in all of them.  For the way back the states of every so many
    steps are kept; those between are computed again.

    Raises TypeError unless all arrays are of one type, float32 or float64; ValueError for names and shapes that do not fit.
    """
    given = {**inputs, **params, **states}
    form = _fitting(of, H, N, heads, *[tuple([(k, t.data.shape, t.data.dtype) for k, t in g.items()]) for g in (inputs, params, states)])
    wanted = tuple([t.requires_grad for t in given.values()])
    training = mode.grad and True in wanted
    run: Core | _Plain = (Core if form.number >= 0 else _Plain)(form, {name: t.data for name, t in given.items()})
    output, last = run.forward(training)

    def backward(*grads: Array | None) -> tuple[Array | None, ...]:
        found = run.backward(grads[0], dict(zip(of.states, grads[1:], strict=True)), {k for k, w in zip(given, wanted, strict=True) if w})
        return tuple([found.get(name) for name in given])

    first, ends = Tensor(output), {s: Tensor(a) for s, a in last.items()}
    if training or mode.trace:
        attrs: dict[str, Any] = {"scan": of.name, "sizes": {"H": H, "N": N, "heads": heads}}
        record("scan", tuple(given.values()), (first, *ends.values()), backward, attrs, training, range(len(inputs) + len(params)))
    return first, ends


@cache
def number(of: Scan) -> int:
    """The scan's number among the core's compiled ones; -1: it runs in NumPy."""
    return _core.scan_find(plan(of.program, of.backward).key)


class Form:
    """What follows from a scan and its sizes alone.

    shapes  {name: (N or 1, H or 1)} of one head; units: elements of a row, all heads
    every   steps from a mark to the next
    parts   {input or state: blocks of channels where each sends back a gradient of its own, else 1}
    """

    def __init__(self, of: Scan, number: int, T: int, B: int, H: int, N: int, heads: int, dtype: np.dtype[Any]) -> None:
        self.of, self.number, self.T, self.B, self.H, self.N, self.heads, self.dtype = of, number, T, B, H, N, heads, dtype
        self.axes = {**of.inputs, **of.params, **of.states}
        self.shapes = {k: (N if "N" in axis else 1, H if "H" in axis else 1) for k, axis in self.axes.items()}
        self.units = {k: heads * n * h for k, (n, h) in self.shapes.items()}
        near = sum({"1": 16, "H": LANES, "N": engine.padded(N), "NH": N * LANES}[axis] for axis in of.states.values())
        self.every = min(T, max(4, min(64, NEAR // (near * dtype.itemsize))))
        self.marks = -(-T // self.every)
        self.parts = {k: 1 if "H" in axis else _core.scan_blocks(H) for k, axis in self.axes.items()}


@lru_cache(maxsize=256)
def _fitting(of: Scan, H: int, N: int, heads: int, inputs: Described, params: Described, states: Described) -> Form:
    """A run's form; everything is checked against it."""
    groups = (("input", inputs, of.inputs), ("parameter", params, of.params), ("state", states, of.states))
    for what, given, axes in groups:
        if (names := [name for name, _, _ in given]) != list(axes):
            raise ValueError(f"{of.name} wants the {what}s {', '.join(axes) or 'none'}, got {', '.join(names) or 'none'}")
    dtypes = {name: dtype for _, given, _ in groups for name, _, dtype in given}
    dtype = next(iter(dtypes.values()))
    if len(set(dtypes.values())) > 1 or dtype not in (np.float32, np.float64):
        raise TypeError(f"a scan wants arrays of one type, float32 or float64, got {', '.join(f'{k} {v}' for k, v in dtypes.items())}")
    first = inputs[0][1]
    if len(first) != 3 or min(*first, H, N, heads) < 1:
        raise ValueError(f"a scan wants inputs (T, B, ...), H, N and heads, none of them 0, got {first}, {H}, {N}, {heads}")
    form = Form(of, number(of), first[0], first[1], H, N, heads, dtype)
    for (what, given, _), before in zip(groups, ((form.T, form.B), (), (form.B,)), strict=True):
        for name, shape, _ in given:
            if shape != (want := (*before, form.units[name])):
                raise ValueError(f"{of.name}: {what} {name} wants shape {want}, got {shape}")
    if heads > 1 and params and form.number < 0:
        raise ValueError(f"{of.name} is not compiled and has parameters: one head wanted, got {heads}")
    return form


class Core:
    """A run on the core."""

    def __init__(self, form: Form, arrays: Arrays) -> None:
        self.form, of = form, form.of
        self.inputs = [_steps(arrays[k]) for k in of.inputs]
        self.params, self.starts = ([engine.plain(arrays[k]) for k in names] for names in (of.params, of.states))
        self.marks: list[Array] | None = None

    def empty(self, slots: int, name: str) -> Array:
        return _core.empty((slots, self.form.B, self.form.units[name]), self.form.dtype)

    def run(self, back: bool, every: int, arrays: Sequence[Place]) -> None:
        f = self.form
        _core.scan(f.number, back, f.dtype, (f.T, f.B, f.heads, f.H, f.N, every), arrays, engine.get_num_threads())

    def placed(self, names: Iterable[str], arrays: Sequence[Array | None] | None, slots: int = 1) -> list[Place]:
        """Arrays of these names, as many slots of each, as the core takes them."""
        units = self.form.units
        return [(a, slots, units[k]) for k, a in zip(names, arrays or [None] * len(units), strict=False)]

    def forward(self, training: bool) -> tuple[Array, dict[str, Array]]:
        f, of = self.form, self.form.of
        output = _core.empty((f.T, f.B, f.heads * f.H), f.dtype)
        last = [self.empty(1, k)[0] for k in of.states]
        self.marks = [self.empty(f.marks, k) for k in of.states] if training else None
        given = [*self.placed(of.inputs, self.inputs, f.T), *self.placed(of.params, self.params), *self.placed(of.states, self.starts)]
        made = [*self.placed(of.states, last), *self.placed(of.states, self.marks, f.marks), (output, f.T, f.heads * f.H)]
        self.run(False, f.every if training else 0, given + made)
        return output, dict(zip(of.states, last, strict=True))

    def backward(self, dout: Array | None, dlast: Mapping[str, Array | None], wanted: set[str]) -> dict[str, Array]:
        f, of = self.form, self.form.of
        slots = {k: f.parts[k] * f.T for k in of.inputs} | dict.fromkeys(of.params, 1) | {k: f.parts[k] for k in of.states}
        made = {k: self.empty(n, k) if k in wanted else None for k, n in slots.items()}
        ends = [None if g is None else engine.plain(g) for g in dlast.values()]
        given = [*self.placed(of.inputs, self.inputs, f.T), *self.placed(of.params, self.params)]
        given += [*self.placed(of.states, self.marks, f.marks), (None if dout is None else _steps(dout), f.T, f.heads * f.H)]
        self.run(True, f.every, [*given, *self.placed(of.states, ends), *((a, slots[k], f.units[k]) for k, a in made.items())])
        before = {**dict.fromkeys(of.inputs, (f.T, f.B)), **dict.fromkeys(of.params, ()), **dict.fromkeys(of.states, (f.B,))}
        sums = {k: f.B if k in of.params else f.parts[k] for k in made}
        return {k: _sum(a, sums[k]).reshape(*before[k], f.units[k]) for k, a in made.items() if a is not None}


def stepper(of: Scan, sizes: Mapping[str, int], rows: int, even: Arrays, odd: Arrays) -> object:
    """One step of `rows` rows, for callers of the core's C functions: a capsule of a gatecell_scan_stepper, which keeps these arrays.

    By the page's names, new states with a prime, and "output"; rows (1 or none, rows, u) may be longer than they have to be.  ValueError:
    the scan is not compiled.
    """
    dtype = even["output"].dtype
    form = Form(of, number(of), 1, rows, sizes["H"], sizes["N"], sizes["heads"], dtype)
    if form.number < 0:
        raise ValueError(f"{of.name} is not compiled, so that it has no stepper")

    def table(arrays: Arrays) -> list[Place]:
        given = [(arrays[k], 1, form.units[k]) for k in (*of.inputs, *of.params, *of.states)]
        new = [(arrays[k + "'"], 1, form.units[k]) for k in of.states]
        return [*given, *new, *((None, 1, 1) for _ in of.states), (arrays["output"], 1, form.heads * form.H)]

    return _core.scan_stepper(form.number, dtype, (1, rows, form.heads, form.H, form.N, 0), table(even), table(odd))


def _steps(a: Array) -> Array:
    """(T, B, units) with contiguous units, as the core reads it."""
    whole = a.shape[-1] == 1 or a.strides[-1] == a.itemsize
    return a if whole and a.flags.aligned and not any(s % a.itemsize for s in a.strides) else np.ascontiguousarray(a)


def _sum(a: Array, n: int) -> Array:
    """The sum of an array's n equal parts, in an order that depends on n alone."""
    return a if n == 1 else _core.sum(a.reshape(1, n, -1))


class _Plain:
    """A run of a scan that is not compiled, in NumPy: heads are rows."""

    def __init__(self, form: Form, arrays: Arrays) -> None:
        self.form, of = form, form.of
        shaped = {k: self.shaped(k, a) for k, a in arrays.items()}
        self.reference = Reference(of, {k: shaped[k] for k in of.inputs}, {k: shaped[k] for k in of.params})
        self.starts = {k: shaped[k] for k in of.states}
        self.over: dict[str, Array] = {}

    def shaped(self, name: str, a: Array) -> Array:
        """Flat rows as `Reference` takes them."""
        f, axis = self.form, self.form.axes[name]
        last = tuple(n for n, letter in zip(f.shapes[name], "NH", strict=True) if letter in axis)
        return a.reshape(last if name in f.of.params else (*a.shape[:-2], f.B * f.heads, *last))

    def forward(self, training: bool) -> tuple[Array, dict[str, Array]]:
        with np.errstate(all="ignore"):
            output, self.over = self.reference.forward(self.starts)
        f = self.form
        return output.reshape(f.T, f.B, -1), {k: np.array(a[-1]).reshape(f.B, -1) for k, a in self.over.items()}

    def backward(self, dout: Array | None, dlast: Mapping[str, Array | None], wanted: set[str]) -> dict[str, Array]:
        f, of = self.form, self.form.of
        ends = {k: np.zeros_like(self.starts[k]) if g is None else self.shaped(k, g) for k, g in dlast.items()}
        given = np.zeros((f.T, f.B * f.heads, f.H), f.dtype) if dout is None else dout.reshape(f.T, f.B * f.heads, f.H)
        found = self.reference.backward(self.over, given, ends)
        before = {**dict.fromkeys(of.inputs, (f.T, f.B)), **dict.fromkeys(of.params, ()), **dict.fromkeys(of.states, (f.B,))}
        return {k: np.asarray(g, f.dtype).reshape(*before[k], -1) for k, g in found.items() if k in wanted}
