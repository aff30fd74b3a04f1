"""The pointwise part of an integer loop as the core reads it: instructions whose reads and writes have numbers, and the key of
its compiled step.

Not here: products, what an instruction means (integer.py), any spelling (emit/cpp_integer.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from .encode import fnv
from .integer import INT16, OPERATIONS, IntegerProgram, Loop, inside

OPS = ("read", "write", "const", *OPERATIONS)
SHIFTS = ("lerp", "shl", "shr", "round")
EXACT, SATURATES = 2, 1
"""Kinds of a shift by 15, and of a clamp to int16."""
WHOLE = 2
"""Width of an int16 whose negative is one too."""


@dataclass(frozen=True)
class Point:
    """One instruction; its result is the register of its own position."""

    op: str
    args: tuple[int, ...]
    n: tuple[int, ...]
    """Immediates."""
    name: str
    """The vector read or written; else the page's name for the value."""
    sum: bool
    """Whether it reads an accumulator."""
    at: int
    """The accumulator's number in its loop; or the number of a vector among those read and those written, in order of first use."""
    width: int
    """By its proven interval: 0 beyond int16, 1 inside, 2 inside and never -32768."""

    @property
    def kind(self) -> int:
        """What of its immediates a compiled step may rely on; cpp/src/integer.cpp says the same."""
        if self.op in SHIFTS:
            n = self.n[0]
            return 0 if n == 0 else 1 if n < 15 else 2 if n == 15 else 3
        if self.op == "clamp":
            low, high = self.n
            return 1 if self.n == INT16 else 2 if inside((low, high), INT16) else 3
        return 0


def points(p: IntegerProgram, loop: Loop) -> tuple[Point, ...]:
    """A shared parameter is read as a constant, whose value is the layer's (tensor/integers.py)."""
    accumulators = [a.name for a in loop.accumulators]
    slots: list[tuple[str, bool]] = []
    out = []
    for i in loop.points:
        op, at, name = i.op, 0, i.name
        if op == "read" and p.vectors[name].axis == "1":
            op = "const"
        moves = op in ("read", "write")
        total = moves and name in accumulators
        if total:
            at = accumulators.index(name)
        elif moves:
            slot = (name, op == "write")
            if slot not in slots:
                slots.append(slot)
            at = slots.index(slot)
        out.append(Point(op, i.args, i.n, name, total, at, inside((i.lo, i.hi), INT16) + inside((i.lo, i.hi), (-INT16[1], INT16[1]))))
    return tuple(out)


def key(p: IntegerProgram, loop: Loop) -> int:
    """FNV-1a over what a compiled step's text depends on."""
    words = [len(loop.accumulators)]
    for i in points(p, loop):
        words += [OPS.index(i.op), *(*i.args, 0, 0, 0)[:3], i.kind, int(i.sum), i.at, i.width]
    return fnv(words)
