"""A scan over time as one operation on the tape.  Not here: any scan, products around it (nn/), gated cells (recurrence.py).

Letters: T time, B batch, H channels, N entries.  What is over both axes is (.., N, H); over 1, (..).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import gatecell._core as _core

from ..algebra.scan_plan import plan
from ..cells import Scan
from ..cells.scan_reference import Reference
from . import engine
from .autograd import mode
from .dtypes import Array
from .engine import padded
from .tensor import Tensor, record

LANES = 64
"""Channels that the core runs together."""
NEAR = 2**18
"""Bytes that the states of a stretch may take on the way back: they lie in a core's own cache then."""


@cache
def number(scan: Scan) -> int:
    """The scan's number among the core's compiled ones; -1: it runs in NumPy."""
    return _core.scan_find(plan(scan.program, scan.backward).key)


@dataclass(frozen=True)
class Sizes:
    T: int
    B: int
    H: int
    N: int

    def of(self, axis: str) -> tuple[int, ...]:
        return {"1": (), "H": (self.H,), "N": (self.N,), "NH": (self.N, self.H)}[axis]

    def units(self, axis: str) -> int:
        return int(np.prod(self.of(axis)))


def scan(
    of: Scan, inputs: Mapping[str, Tensor], params: Mapping[str, Tensor], states: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a scan from `states`: its output (T, B, H) and its last states.

    inputs (T, B, ...), params (...), states (B, ...) by the names and axes of its page.  Differentiable in all of them.  The gradient's
    memory is a state of every so many steps; those between are computed again.

    Raises TypeError unless all arrays are of one type, float32 or float64; ValueError for names and shapes that do not fit.
    """
    given = {**inputs, **params, **states}
    sizes = _sizes(of, inputs, params, states)
    arrays = {name: t.data for name, t in given.items()}
    wanted = tuple([t.requires_grad for t in given.values()])
    training = mode.grad and True in wanted
    run: _Core | _Plain = (_Core if number(of) >= 0 else _Plain)(of, sizes, arrays)
    output, last = run.forward(training)

    def backward(*grads: Array | None) -> tuple[Array | None, ...]:
        found = run.backward(grads[0], dict(zip(of.states, grads[1:], strict=True)), {k for k, w in zip(given, wanted, strict=True) if w})
        return tuple([found.get(name) for name in given])

    first, ends = Tensor(output), {s: Tensor(a) for s, a in last.items()}
    if training or mode.trace:
        attrs: dict[str, Any] = {"scan": of.name, "names": tuple(given)}
        record("scan", tuple(given.values()), (first, *ends.values()), backward, attrs, training, range(len(inputs) + len(params)))
    return first, ends


def _sizes(of: Scan, inputs: Mapping[str, Tensor], params: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> Sizes:
    """Everything that was given, checked."""
    groups = (("input", inputs, of.inputs, 2), ("parameter", params, of.params, 0), ("state", states, of.states, 1))
    for what, given, axes, _ in groups:
        if list(given) != list(axes):
            raise ValueError(f"{of.name} wants the {what}s {', '.join(axes) or 'none'}, got {', '.join(given) or 'none'}")
    dtypes = {name: t.dtype for _, given, _, _ in groups for name, t in given.items()}
    if len(set(dtypes.values())) > 1 or next(iter(dtypes.values())) not in (np.float32, np.float64):
        kinds = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"a scan wants arrays of one type, float32 or float64, got {kinds}")
    lengths: dict[str, int] = {}
    for what, given, axes, before in groups:
        letters = {0: "", 1: "B", 2: "TB"}[before]
        for name, t in given.items():
            axis = letters + axes[name].replace("1", "")
            if t.ndim != len(axis) or any(lengths.setdefault(a, n) != n for a, n in zip(axis, t.shape, strict=True)):
                shape = ", ".join(f"{a}={lengths[a]}" if a in lengths else a for a in axis)
                raise ValueError(f"{of.name}: {what} {name} wants shape ({shape}), got {t.shape}")
    if 0 in lengths.values():
        raise ValueError(f"a scan wants at least one step, row, channel and entry, got {lengths}")
    return Sizes(lengths["T"], lengths["B"], lengths["H"], lengths.get("N", 1))


class _Core:
    """A run on the core."""

    def __init__(self, of: Scan, sizes: Sizes, arrays: Mapping[str, Array]) -> None:
        self.of, self.sizes, self.number = of, sizes, number(of)
        self.dtype = next(iter(arrays.values())).dtype
        self.inputs = {k: _steps(arrays[k] if axis != "1" else arrays[k][..., None]) for k, axis in of.inputs.items()}
        self.params = {k: engine.plain(arrays[k]).reshape(-1) for k in of.params}
        self.starts = {k: engine.plain(arrays[k]).reshape(sizes.B, -1) for k in of.states}
        of_block = sum({"1": 16, "H": LANES, "N": padded(sizes.N), "NH": sizes.N * LANES}[axis] for axis in of.states.values())
        self.every = min(sizes.T, max(4, min(64, NEAR // (of_block * self.dtype.itemsize))))
        self.marks: dict[str, Array] = {}

    def empty(self, slots: int, axis: str) -> Array:
        return _core.empty((slots, self.sizes.B, self.sizes.units(axis)), self.dtype)

    def run(self, back: bool, every: int, arrays: list[tuple[Array | None, int, int]]) -> None:
        s = self.sizes
        _core.scan(self.number, back, self.dtype, (s.T, s.B, s.H, s.N, every), arrays, engine.get_num_threads())

    def given(self) -> list[tuple[Array | None, int, int]]:
        of, s = self.of, self.sizes
        inputs: list[tuple[Array | None, int, int]] = [(a, s.T, s.units(of.inputs[k])) for k, a in self.inputs.items()]
        return inputs + [(a, 1, s.units(of.params[k])) for k, a in self.params.items()]

    def forward(self, training: bool) -> tuple[Array, dict[str, Array]]:
        of, s = self.of, self.sizes
        output, last = self.empty(s.T, "H"), {k: self.empty(1, axis)[0] for k, axis in of.states.items()}
        slots = -(-s.T // self.every)
        self.marks = {k: self.empty(slots, axis) for k, axis in of.states.items()} if training else {}
        groups = ((self.starts, 1), (last, 1), (self.marks, slots))
        states = [(group.get(k), n, s.units(axis)) for group, n in groups for k, axis in of.states.items()]
        self.run(False, self.every if training else 0, [*self.given(), *states, (output, s.T, s.H)])
        return output, {k: a.reshape(s.B, *s.of(of.states[k])) for k, a in last.items()}

    def backward(self, dout: Array | None, dlast: Mapping[str, Array | None], wanted: set[str]) -> dict[str, Array]:
        of, s = self.of, self.sizes
        blocks, slots = _core.scan_blocks(s.H), -(-s.T // self.every)
        shared = {k: blocks if axis in ("1", "N") else 1 for k, axis in {**of.inputs, **of.states}.items()}
        dinputs = {k: self.empty(shared[k] * s.T, axis) for k, axis in of.inputs.items() if k in wanted}
        dparams = {k: self.empty(1, axis)[0] for k, axis in of.params.items() if k in wanted}
        dstarts = {k: self.empty(shared[k], axis) for k, axis in of.states.items() if k in wanted}
        ends = {k: engine.plain(g).reshape(s.B, -1) for k, g in dlast.items() if g is not None}
        arrays = [*self.given(), *((self.marks[k], slots, s.units(axis)) for k, axis in of.states.items())]
        arrays.append((None if dout is None else _steps(dout), s.T, s.H))
        arrays += [(ends.get(k), 1, s.units(axis)) for k, axis in of.states.items()]
        arrays += [(dinputs.get(k), shared[k] * s.T, s.units(axis)) for k, axis in of.inputs.items()]
        arrays += [(dparams.get(k), 1, s.units(axis)) for k, axis in of.params.items()]
        arrays += [(dstarts.get(k), shared[k], s.units(axis)) for k, axis in of.states.items()]
        self.run(True, self.every, arrays)
        found = {k: _sum(a, shared[k]).reshape(s.T, s.B, *s.of(of.inputs[k])) for k, a in dinputs.items()}
        found |= {k: _sum(a, s.B).reshape(s.of(of.params[k])) for k, a in dparams.items()}
        return found | {k: _sum(a, shared[k]).reshape(s.B, *s.of(of.states[k])) for k, a in dstarts.items()}


def _steps(a: Array) -> Array:
    """(T, B, units) with contiguous units, as the core reads it."""
    whole = a.shape[-1] == 1 or a.strides[-1] == a.itemsize
    return a if whole and a.flags.aligned and not any(s % a.itemsize for s in a.strides) else np.ascontiguousarray(a)


def _sum(a: Array, n: int) -> Array:
    """The sum of an array's n equal parts, in an order that depends on n alone."""
    return a if n == 1 else _core.sum(a.reshape(1, n, -1))


class _Plain:
    """A run of a scan that is not compiled, in NumPy."""

    def __init__(self, of: Scan, sizes: Sizes, arrays: Mapping[str, Array]) -> None:
        self.of, self.dtype, self.shape = of, next(iter(arrays.values())).dtype, (sizes.T, sizes.B, sizes.H)
        self.starts = {k: arrays[k] for k in of.states}
        self.reference = Reference(of, {k: arrays[k] for k in of.inputs}, {k: arrays[k] for k in of.params})
        self.over: dict[str, Array] = {}

    def forward(self, training: bool) -> tuple[Array, dict[str, Array]]:
        with np.errstate(all="ignore"):
            output, self.over = self.reference.forward(self.starts)
        return output, {k: np.ascontiguousarray(a[-1]) for k, a in self.over.items()}

    def backward(self, dout: Array | None, dlast: Mapping[str, Array | None], wanted: set[str]) -> dict[str, Array]:
        r = self.reference
        ends = {k: np.zeros_like(self.starts[k]) if g is None else g for k, g in dlast.items()}
        given = np.zeros(self.shape, self.dtype) if dout is None else dout
        return {k: np.asarray(g, self.dtype) for k, g in r.backward(self.over, given, ends).items() if k in wanted}
