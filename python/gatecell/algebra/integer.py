"""A step in integers as a small list of instructions, with the proof that nothing leaves int32 (docs/arithmetic.md).

Not here: how a page becomes such a list (lower.py), weights' values, any output language.
The list is what the Python definition, the C and the SIMD path read; it is plain data and goes into a model's file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .table import sigmoid_q, tanh_q

RULE = 1
"""Version of docs/arithmetic.md."""
INT16 = (-32768, 32767)
INT32 = (-(2**31), 2**31 - 1)
VIEW = 127
"""Largest magnitude of an int8 view."""
KINDS = ("input", "state", "temp", "acc", "param")
Ints = tuple[int, int]


def inside(span: Ints, bounds: Ints) -> bool:
    return bounds[0] <= span[0] and span[1] <= bounds[1]


def rounded(v: Any, n: int) -> Any:
    """v / 2^n to the nearest integer, half up; n >= 0."""
    return (v + (1 << n >> 1)) >> n


def view8(v: Any) -> Any:
    """The int8 view of an int16, in [-127, 127]."""
    return rounded(v * VIEW, 15)


@dataclass(frozen=True)
class Vector:
    """A named vector of the step: one int16 per unit (one int8 for an input that says so)."""

    kind: str
    """"input", "state", "temp" (kept for a later loop), "acc" (a requantised accumulator) or "param"."""
    axis: str
    frac: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Source:
    """One matrix of an accumulator."""

    weight: str
    """As the page calls it, "W.i": family and gate."""
    arg: str
    """The vector it multiplies; a state's old value."""
    view: bool
    """Whether the int8 view of the vector enters."""
    shift: int = 0


@dataclass(frozen=True)
class Accumulator:
    """sum over sources of (dot << shift), plus b; requantised by m and `sh` to the vector `name`."""

    name: str
    sources: tuple[Source, ...]
    sh: int = 1


@dataclass(frozen=True)
class Instr:
    """One instruction over one unit; its result is the register of its own position in the loop."""

    op: str
    args: tuple[int, ...] = ()
    """Registers."""
    n: tuple[int, ...] = ()
    """Immediate integers: a shift, the bounds of a clamp, a constant."""
    name: str = ""
    """The vector read or written; else the page's name for the value, if it has one."""
    lo: int = 0
    hi: int = 0
    """The proven interval."""
    line: int = 0
    """Line of the page, counted in its file; 0: none."""


@dataclass(frozen=True)
class Loop:
    """Accumulators whose arguments are ready, then instructions, over the units of an axis.

    Reads of a state see its old value in the whole step; reads of a "temp" come in later loops than its write.
    """

    axis: str
    accumulators: tuple[Accumulator, ...]
    points: tuple[Instr, ...]


@dataclass(frozen=True)
class IntegerProgram:
    """One step in integers."""

    name: str
    output: str
    """The state whose new value is the layer's output."""
    vectors: Mapping[str, Vector]
    loops: tuple[Loop, ...]
    families: Mapping[str, tuple[str, ...]]
    """Family -> gates, in the order in which their matrices are stacked."""

    @property
    def accumulators(self) -> Iterator[tuple[Accumulator, str]]:
        """Each with its axis."""
        return ((a, loop.axis) for loop in self.loops for a in loop.accumulators)

    def of_kind(self, kind: str) -> dict[str, Vector]:
        return {k: v for k, v in self.vectors.items() if v.kind == kind}

    def with_accumulators(self, new: Mapping[str, Accumulator]) -> IntegerProgram:
        loops = (dataclasses.replace(loop, accumulators=tuple(new[a.name] for a in loop.accumulators)) for loop in self.loops)
        return dataclasses.replace(self, loops=tuple(loops))


@dataclass(frozen=True)
class Operation:
    """A row of the table of instructions."""

    of: Callable[..., Any]
    """(*registers, *immediates) on integers or int64 arrays."""
    span: Callable[..., Ints]
    """(*intervals, *immediates) -> the result's interval."""
    inner: Callable[..., list[Ints]] = lambda *_: []
    """(*intervals, *immediates) -> the intervals of what is computed on the way."""


def _corners(a: Ints, b: Ints) -> Ints:
    p = [u * v for u in a for v in b]
    return min(p), max(p)


def _growing(f: Callable[..., Any]) -> Callable[..., Ints]:
    return lambda a, *n: (int(f(a[0], *n)), int(f(a[1], *n)))


def _clamp(a: Any, lo: int, hi: int) -> Any:
    return np.minimum(np.maximum(a, lo), hi)


def lerp_inner(t: Ints, a: Ints, b: Ints, n: int) -> list[Ints]:
    """The difference, the product, and the product ready to be rounded."""
    d = (b[0] - a[1], b[1] - a[0])
    lo, hi = _corners(t, d)
    return [d, (lo, hi), (lo + (1 << n >> 1), hi + (1 << n >> 1))]


def _lerp_span(t: Ints, a: Ints, b: Ints, n: int) -> Ints:
    """Between its ends for 0 <= t <= 1: t d / 2^n lies between 0 and the integer d, and rounding keeps it there."""
    if inside(t, (0, 1 << n)):
        return min(a[0], b[0]), max(a[1], b[1])
    lo, hi = lerp_inner(t, a, b, n)[1]
    return a[0] + rounded(lo, n), a[1] + rounded(hi, n)


OPERATIONS: dict[str, Operation] = {
    "add": Operation(lambda a, b: a + b, lambda a, b: (a[0] + b[0], a[1] + b[1])),
    "sub": Operation(lambda a, b: a - b, lambda a, b: (a[0] - b[1], a[1] - b[0])),
    "mul": Operation(lambda a, b: a * b, _corners),
    "max": Operation(np.maximum, lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
    "neg": Operation(lambda a: -a, lambda a: (-a[1], -a[0])),
    "lerp": Operation(lambda t, a, b, n: a + rounded(t * (b - a), n), _lerp_span, lerp_inner),
    "shl": Operation(lambda a, n: a << n, _growing(lambda a, n: a << n)),
    "shr": Operation(lambda a, n: a >> n, _growing(lambda a, n: a >> n)),
    "round": Operation(rounded, _growing(rounded)),
    "clamp": Operation(_clamp, _growing(_clamp)),
    "tanh": Operation(tanh_q, _growing(tanh_q)),
    "sigmoid": Operation(sigmoid_q, _growing(sigmoid_q)),
}
"""Beside these: "const" (its immediate), "read" and "write" (of a vector)."""


def prove(p: IntegerProgram) -> None:
    """Walk the program and check it all: names, order, intervals inside int32, what is written inside its vector.

    ValueError says where it fails: a file may hold anything.
    """
    written: set[str] = set()
    for name, v in p.vectors.items():
        if v.kind not in KINDS or (v.kind == "input") != (name == "x") or not INT16[0] <= v.lo <= v.hi <= INT16[1]:
            raise ValueError(f"{p.name}: vector {name} wants a kind of {', '.join(KINDS)}, x the input, and an int16 interval, got {v}")
    names = [(a.name, axis) for a, axis in p.accumulators]
    if sorted(names) != sorted((k, v.axis) for k, v in p.of_kind("acc").items()):
        raise ValueError(f"{p.name}: accumulators {names} and the vectors of their results are not the same")
    for loop in p.loops:
        spans: list[Ints] = []
        for a in loop.accumulators:
            for s in a.sources:
                source = p.vectors.get(s.arg)
                if source is None or (source.kind == "temp" and s.arg not in written) or source.kind in ("acc", "param"):
                    raise ValueError(f"{p.name}: accumulator {a.name} wants an input, a state or an earlier value, got {s.arg!r}")
                if not 0 <= s.shift <= 30 or not 1 <= a.sh <= 30:
                    raise ValueError(f"{p.name}: accumulator {a.name} wants shifts in 0..30 and 1..30, got {s.shift} and {a.sh}")
        here = {a.name for a in loop.accumulators}
        for k, i in enumerate(loop.points):
            if any(not 0 <= r < k for r in i.args):
                raise ValueError(f"{p.name}: instruction {k} reads registers {i.args}")
            if i.op in ("read", "write"):
                if i.name not in p.vectors or p.vectors[i.name].axis not in (loop.axis, "1"):
                    raise ValueError(f"{p.name}: instruction {k} wants a vector over {loop.axis}, got {i.name!r}")
                v = p.vectors[i.name]
                if i.op == "read" and ((v.kind == "temp" and i.name not in written) or (v.kind == "acc" and i.name not in here)):
                    raise ValueError(f"{p.name}: {i.name} is read before it is written")
                span = (v.lo, v.hi) if i.op == "read" else spans[i.args[0]]
                if i.op == "write" and (v.kind not in ("temp", "state") or i.name in written or not inside(span, (v.lo, v.hi))):
                    raise ValueError(f"{p.name}: {i.name} wants one value in [{v.lo}, {v.hi}], got [{span[0]}, {span[1]}]")
            elif i.op == "const":
                span = (i.n[0], i.n[0])
            elif i.op in OPERATIONS:
                args = [spans[r] for r in i.args]
                if i.op in ("tanh", "sigmoid") and not inside(args[0], INT16):
                    raise ValueError(f"{p.name}: {i.op} wants an int16, got [{args[0][0]}, {args[0][1]}]")
                if any(not 0 <= n <= 31 for n in i.n) and i.op != "clamp":
                    raise ValueError(f"{p.name}: {i.op} wants a shift in 0..31, got {i.n}")
                span = OPERATIONS[i.op].span(*args, *i.n)
                if any(not inside(s, INT32) for s in OPERATIONS[i.op].inner(*args, *i.n)):
                    raise ValueError(f"{p.name}: {i.op} {i.name} leaves int32 on the way")
            else:
                raise ValueError(f"{p.name}: unknown instruction {i.op!r}")
            if not inside(span, INT32) or not inside(span, (i.lo, i.hi)):
                raise ValueError(f"{p.name}: {i.op} {i.name} in [{span[0]}, {span[1]}] leaves int32 or its stated [{i.lo}, {i.hi}]")
            spans.append(span)
        written |= {i.name for i in loop.points if i.op == "write"}
    missing = set(p.of_kind("state")) - written
    if missing or p.output not in p.of_kind("state"):
        raise ValueError(f"{p.name}: states without a new value: {', '.join(sorted(missing)) or p.output}")


def to_plain(p: IntegerProgram) -> dict[str, Any]:
    """As dicts, lists, strings and ints: JSON."""
    plain: dict[str, Any] = dataclasses.asdict(dataclasses.replace(p, vectors={}))
    return plain | {"vectors": {k: dataclasses.asdict(v) for k, v in p.vectors.items()}}


def from_plain(d: Mapping[str, Any]) -> IntegerProgram:
    """The inverse of `to_plain`, proven again.  ValueError: it is not such a program."""
    try:
        loops = tuple(
            Loop(
                loop["axis"],
                tuple(Accumulator(a["name"], tuple(Source(**s) for s in a["sources"]), a["sh"]) for a in loop["accumulators"]),
                tuple(Instr(**{**i, "args": tuple(i["args"]), "n": tuple(i["n"])}) for i in loop["points"]),
            )
            for loop in d["loops"]
        )
        vectors = {k: Vector(**v) for k, v in d["vectors"].items()}
        p = IntegerProgram(d["name"], d["output"], vectors, loops, {k: tuple(v) for k, v in d["families"].items()})
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"not an integer program: {e!r}") from e
    prove(p)
    return p
