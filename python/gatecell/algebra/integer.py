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
FRACTIONS = (-112, 126)
"""An int16 of any of these fractions is a normal float32, or 0."""
MOST = {"vectors": 256, "loops": 256, "operands": 256, "accumulators": 64, "matrices": 64, "instructions": 512}
"""Of a step, of a loop (accumulators, instructions), of an accumulator (matrices): what the core has room for."""
SHIFT = 30
"""Largest shift."""
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

    @property
    def read_states(self) -> set[str]:
        """The states whose old value a step reads: none in a linear or pointwise layer."""
        read = {s.arg for a, _ in self.accumulators for s in a.sources}
        read |= {i.name for loop in self.loops for i in loop.points if i.op == "read"}
        return read & set(self.of_kind("state"))

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
    registers: int = 1
    immediates: int = 0


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
    "add": Operation(lambda a, b: a + b, lambda a, b: (a[0] + b[0], a[1] + b[1]), registers=2),
    "sub": Operation(lambda a, b: a - b, lambda a, b: (a[0] - b[1], a[1] - b[0]), registers=2),
    "mul": Operation(lambda a, b: a * b, _corners, registers=2),
    "max": Operation(np.maximum, lambda a, b: (max(a[0], b[0]), max(a[1], b[1])), registers=2),
    "neg": Operation(lambda a: -a, lambda a: (-a[1], -a[0])),
    "lerp": Operation(lambda t, a, b, n: a + rounded(t * (b - a), n), _lerp_span, lerp_inner, registers=3, immediates=1),
    "shl": Operation(lambda a, n: a << n, _growing(lambda a, n: a << n), immediates=1),
    "shr": Operation(lambda a, n: a >> n, _growing(lambda a, n: a >> n), immediates=1),
    "round": Operation(rounded, _growing(rounded), lambda a, n: [(a[0], a[1] + (1 << n >> 1))], immediates=1),
    "clamp": Operation(_clamp, _growing(_clamp), immediates=2),
    "tanh": Operation(tanh_q, _growing(tanh_q)),
    "sigmoid": Operation(sigmoid_q, _growing(sigmoid_q)),
}
"""Beside these: "const" (its immediate), "read" and "write" (of a vector)."""
FORMS = {"read": (0, 0), "write": (1, 0), "const": (0, 1)} | {op: (row.registers, row.immediates) for op, row in OPERATIONS.items()}
"""Instruction -> how many registers and immediates it has."""


def prove(p: IntegerProgram) -> None:
    """Walk the program and check it all: names, order, intervals inside int32, what is written inside its vector.

    Only types are taken for granted (a file's are checked as it is read).  ValueError says where it fails: a file may hold anything.
    What else it needs of its arrays is model.check's.
    """
    _prove_names(p)
    written: set[str] = set()
    for loop in p.loops:
        for a in loop.accumulators:
            _prove_accumulator(p, a, written)
        _prove_points(p, loop, written)
        written |= {i.name for i in loop.points if i.op == "write"}
    missing = set(p.of_kind("state")) - written
    if missing or p.output not in p.of_kind("state"):
        raise ValueError(f"{p.name}: states without a new value: {', '.join(sorted(missing)) or p.output}")


def _prove_names(p: IntegerProgram) -> None:
    """Names that C can take over, vectors that mean something, room for it all."""
    if not p.name.isidentifier():
        raise ValueError(f"a program's name is an identifier, got {p.name!r}")
    for name, v in p.vectors.items():
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts) or len(parts) != 1 + (v.kind == "param"):
            raise ValueError(f"{p.name}: vector {name!r} wants an identifier, or two with a dot between for a parameter")
        if v.kind not in KINDS or (v.kind == "input") != (name == "x") or not INT16[0] <= v.lo <= v.hi <= INT16[1]:
            raise ValueError(f"{p.name}: vector {name} wants a kind of {', '.join(KINDS)}, x the input, and an int16 interval, got {v}")
        if not FRACTIONS[0] <= v.frac <= FRACTIONS[1]:
            raise ValueError(f"{p.name}: vector {name} wants a fraction in {FRACTIONS}, got {v.frac}")
        if not (v.axis.isidentifier() or (v.axis == "1" and v.kind == "param")) or (name == "x" and v.axis != "I"):
            raise ValueError(f"{p.name}: vector {name} wants an axis (I for x; 1 for parameters alone), got {v.axis!r}")
        if (v.kind == "acc" and (v.lo, v.hi) != INT16) or (v.kind == "state" and not v.lo <= 0 <= v.hi):
            raise ValueError(f"{p.name}: {name} wants all of int16 for an accumulator, a 0 inside for a state, got [{v.lo}, {v.hi}]")
    if "x" not in p.vectors:
        raise ValueError(f"{p.name}: there is no input x")
    for family, gates in p.families.items():
        if not all(n.isidentifier() for n in (family, *gates)) or not gates or len(set(gates)) != len(gates):
            raise ValueError(f"{p.name}: family {family!r} wants gates with identifiers of their own, got {gates}")
    if unused := set(p.families) - {s.weight.split(".")[0] for a, _ in p.accumulators for s in a.sources}:
        raise ValueError(f"{p.name}: nothing multiplies by {', '.join(sorted(unused))}")
    names = [(a.name, axis) for a, axis in p.accumulators]
    if sorted(names) != sorted((k, v.axis) for k, v in p.of_kind("acc").items()):
        raise ValueError(f"{p.name}: accumulators {names} and the vectors of their results are not the same")
    for what, count in (
        *(("vectors", len(p.vectors)), ("loops", len(p.loops))),
        ("operands", len({(s.arg, s.view) for a, _ in p.accumulators for s in a.sources})),
        ("accumulators", max((len(loop.accumulators) for loop in p.loops), default=0)),
        ("instructions", max((len(loop.points) for loop in p.loops), default=0)),
        ("matrices", max((len(a.sources) for a, _ in p.accumulators), default=0)),
    ):
        if count > MOST[what]:
            raise ValueError(f"{p.name}: at most {MOST[what]} {what} wanted, got {count}")


def _prove_accumulator(p: IntegerProgram, a: Accumulator, written: set[str]) -> None:
    """`written`: the values of earlier loops."""
    if not a.sources:
        raise ValueError(f"{p.name}: accumulator {a.name} wants a matrix")
    for s in a.sources:
        if s.weight not in (f"{family}.{gate}" for family, gates in p.families.items() for gate in gates):
            raise ValueError(f"{p.name}: accumulator {a.name} wants one of the step's own matrices, got {s.weight!r}")
        source = p.vectors.get(s.arg)
        if source is None or (source.kind == "temp" and s.arg not in written) or source.kind in ("acc", "param"):
            raise ValueError(f"{p.name}: accumulator {a.name} wants an input, a state or an earlier value, got {s.arg!r}")
        if not 0 <= s.shift <= SHIFT or not 1 <= a.sh <= SHIFT:
            raise ValueError(f"{p.name}: accumulator {a.name} wants shifts in 0..{SHIFT} and 1..{SHIFT}, got {s.shift} and {a.sh}")


def _prove_points(p: IntegerProgram, loop: Loop, written: set[str]) -> None:
    spans: list[Ints] = []
    rows: list[bool] = []  # whether a register has a value for every row of a batch: constants and parameters alone have not
    here = {a.name for a in loop.accumulators}
    new: set[str] = set()
    for k, i in enumerate(loop.points):
        at = f"{p.name}: instruction {k} ({i.op} {i.name})"
        if i.op not in FORMS or FORMS[i.op] != (len(i.args), len(i.n)):
            raise ValueError(f"{at} wants an operation of {', '.join(FORMS)} with its registers and immediates, got {i.args} and {i.n}")
        if any(not 0 <= r < k for r in i.args):
            raise ValueError(f"{at} reads registers {i.args}")
        args = [spans[r] for r in i.args]
        varies = any(rows[r] for r in i.args)
        if i.op in ("read", "write"):
            v = p.vectors.get(i.name)
            if v is None or v.axis not in (loop.axis, "1"):
                raise ValueError(f"{at} wants a vector over {loop.axis}")
            if i.op == "read" and ((v.kind == "temp" and i.name not in written) or (v.kind == "acc" and i.name not in here)):
                raise ValueError(f"{p.name}: {i.name} is read before it is written")
            span = (v.lo, v.hi) if i.op == "read" else args[0]
            taken = v.kind not in ("temp", "state") or i.name in written | new
            if i.op == "write" and (taken or not varies or not inside(span, (v.lo, v.hi))):
                raise ValueError(f"{p.name}: {i.name} wants one value in [{v.lo}, {v.hi}], no constant, got [{span[0]}, {span[1]}]")
            varies = varies or v.kind != "param"
            new |= {i.name} if i.op == "write" else set()
        elif i.name and not i.name.isidentifier():
            raise ValueError(f"{at} wants an identifier for a name")
        elif i.op == "const":
            span = (i.n[0], i.n[0])
        else:
            if i.op in ("tanh", "sigmoid") and not inside(args[0], INT16):
                raise ValueError(f"{at} wants an int16, got [{args[0][0]}, {args[0][1]}]")
            if not (INT32[0] <= i.n[0] <= i.n[1] <= INT32[1] if i.op == "clamp" else all(0 <= n <= SHIFT for n in i.n)):
                raise ValueError(f"{at} wants a shift in 0..{SHIFT}, or the bounds of a clamp, got {i.n}")
            span = OPERATIONS[i.op].span(*args, *i.n)
            if not all(inside(s, INT32) for s in OPERATIONS[i.op].inner(*args, *i.n)):
                raise ValueError(f"{at} leaves int32 on the way")
        if not inside(span, (i.lo, i.hi)) or not inside((i.lo, i.hi), INT32):
            raise ValueError(f"{at} in [{span[0]}, {span[1]}] leaves int32 or its stated [{i.lo}, {i.hi}]")
        spans.append(span)
        rows.append(varies)
