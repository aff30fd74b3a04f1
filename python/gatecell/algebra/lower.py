"""From a page's program to its step in integers, by rule (docs/arithmetic.md, sections 5 and 7).

Not here: any cell, weights' values, shifts and multipliers (the quantiser chooses them).  A primitive without a row in
`MEANING` has no integer meaning yet: `Unsupported` names it and its line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import Unsupported
from .graph import Node
from .integer import INT16, INT32, OPERATIONS, Accumulator, Instr, IntegerProgram, Ints, Loop, Source, Vector, inside, lerp_inner, prove
from .ops import OPS
from .program import Program
from .ranges import ranges
from .source import Lines
from .sums import Sums

ARGUMENT = 12
"""Fraction of the arguments of tanh and sigmoid, and of the pre-activations that only these read."""
HEADROOM = 1.25
"""Calibrated values may grow by this much before they saturate."""
CURVES = {"tanh", "sigmoid"}
LINEAR = {"add", "sub", "neg"}


@dataclass(frozen=True)
class Value:
    """A register, what it stands for, and its proven interval."""

    reg: int
    frac: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Given:
    """What the lowering cannot know from the page."""

    x: Vector
    """The input as it arrives."""
    view: bool
    """a8: int8 views enter products (never of a model's own input)."""
    raw: bool
    """The input is the model's own: it enters products as it is, and nothing else can read it."""
    peak: Mapping[Node, float]
    """Largest magnitude of a value over the calibration data."""
    params: Mapping[str, Vector]


def whole(frac: float, least: int = 0) -> int:
    return max(least, min(15, math.floor(frac)))


class Lowering:
    """One page's way to integers: loops of instructions, in the order of `Sums`."""

    def __init__(self, p: Program, given: Given, lines: Lines) -> None:
        self.p, self.given, self.lines = p, given, lines
        self.at: Node | None = None
        """The page's value that is being made, for messages and comments."""
        self.spans = ranges(p)
        self.outs = set(p.outs.values())
        self._check()
        self.sums = sums = Sums(p)
        self.terms, self.place, self.readers = sums.terms, sums.place, sums.readers
        self.kept, self.names, self.keeps = sums.kept, sums.names, sums.keeps

    def _check(self) -> None:
        for n in self.p.nodes:
            if n.op in OPS and n.op not in MEANING:
                raise Unsupported(f"{self.p.name}: {n.op} has no integer meaning yet{self.lines.where(n)}")
        for n in self.p.nodes:
            if n.op == "product" and self.p.weights[n.attr[0]].blocks != "1":
                raise Unsupported(f"{self.p.name}: {n.attr[0]} is block-diagonal, which has no integer form yet{self.lines.where(n)}")
            if self.given.raw and n.op != "product" and self.p.x in n.args:
                raise Unsupported(f"{self.p.name}: the model's own input enters integers only through a product{self.lines.where(n)}")

    # --- formats ----------------------------------------------------------------------------------------------------

    def format(self, n: Node) -> int:
        """The fraction at which the value is an int16."""
        span = self.spans[n]
        if max(map(abs, span)) < math.inf:
            bound = max(map(abs, span))
            return 15 if bound == 0 else whole(15 - math.log2(bound))
        return self.calibrated(n)

    def calibrated(self, n: Node, least: int = 0) -> int:
        peak = HEADROOM * self.given.peak[n]
        return 15 if peak == 0 else whole(math.log2(32767 / peak), least)

    def fraction(self, root: Node) -> int:
        """Of a requantised accumulator."""
        if root in self.outs or root in self.kept:
            return self.format(root)
        if self._only_argument(root):
            return ARGUMENT
        readers = self.readers[root]
        if len(readers) == 1 and readers[0].op == "relu":
            return self.format(readers[0])
        return min(ARGUMENT, self.format(root))

    def _only_argument(self, n: Node) -> bool:
        readers = self.readers[n]
        return bool(readers) and n not in self.outs and all(r.op in CURVES or (r.op in LINEAR and self._only_argument(r)) for r in readers)

    def where(self) -> str:
        """The line of the page that is being lowered."""
        return self.lines.where(self.at) if self.at is not None else ""

    # --- instructions -----------------------------------------------------------------------------------------------

    def emit(self, op: str, args: tuple[Value, ...], frac: int, *n: int, name: str = "") -> Value:
        key = op, tuple(a.reg for a in args), n, name
        if key in self.memo:
            return self.memo[key]
        inner: list[Ints] = []
        if op == "read":
            v = self.vectors[name]
            lo, hi = v.lo, v.hi
        elif op == "const":
            lo = hi = n[0]
        elif op == "write":
            lo, hi = args[0].lo, args[0].hi
        else:
            spans = [(a.lo, a.hi) for a in args]
            lo, hi = OPERATIONS[op].span(*spans, *n)
            inner = OPERATIONS[op].inner(*spans, *n)
        if not all(inside(s, INT32) for s in (*inner, (lo, hi))):
            raise Unsupported(f"{self.p.name}: {op} would leave int32{self.where()}")
        line = self.lines.line(self.at) if self.at is not None else 0
        self.code.append(Instr(op, key[1], n, name, lo, hi, line))
        self.memo[key] = Value(len(self.code) - 1, frac, lo, hi)
        return self.memo[key]

    def narrow(self, v: Value, frac: int) -> Value:
        """sat16 of v at another fraction, half up; no clamp where the interval needs none."""
        if (up := frac - v.frac) > 0:
            if not inside((v.lo << up, v.hi << up), INT32):  # what would leave int32 saturates: by one step of its own before, then exactly
                v = self.emit("clamp", (v,), v.frac, -(1 << max(15 - up, 0)), 1 << max(15 - up, 0))
            v = self.emit("shl", (v,), frac, up)
        elif frac < v.frac:
            v = self.emit("round", (v,), frac, v.frac - frac)
        return v if inside((v.lo, v.hi), INT16) else self.emit("clamp", (v,), frac, *INT16)

    def constant(self, c: float, frac: int) -> Value:
        return self.emit("const", (), frac, math.floor(math.ldexp(c, frac) + 0.5))

    def factor(self, n: Node) -> Value:
        """An operand that has to be an int16."""
        if n.op == "const":
            exact = next((f for f in range(16) if math.ldexp(n.attr, f).is_integer() and abs(math.ldexp(n.attr, f)) < 32768), None)
            return self.constant(n.attr, exact if exact is not None else 14 - math.frexp(n.attr)[1])
        v = self.value(n)
        return v if inside((v.lo, v.hi), INT16) else self.narrow(v, self.format(n))

    def aligned(self, op: str, a: Node, b: Node) -> Value:
        """A sum, difference or maximum at the finest fraction at which all of it fits int32."""
        va, vb = (None if n.op == "const" else self.value(n) for n in (a, b))
        fracs = [v.frac for v in (va, vb) if v is not None]

        def span(n: Node, v: Value | None, frac: int) -> Ints:
            if v is None:
                c = math.floor(math.ldexp(n.attr, frac) + 0.5)
                return c, c
            up, down = max(frac - v.frac, 0), max(v.frac - frac, 0)
            return v.lo << up >> down, v.hi << up >> down

        def operand(n: Node, v: Value | None, frac: int) -> Value:
            if v is None:
                return self.constant(n.attr, frac)
            if frac > v.frac:
                return self.emit("shl", (v,), frac, frac - v.frac)
            return self.emit("shr", (v,), frac, v.frac - frac) if frac < v.frac else v

        frac = max(fracs)
        while True:
            sa, sb = span(a, va, frac), span(b, vb, frac)
            if all(inside(s, INT32) for s in (sa, sb, OPERATIONS[op].span(sa, sb))):
                return self.emit(op, (operand(a, va, frac), operand(b, vb, frac)), frac)
            frac -= 1

    def lerp(self, t: Node, a: Node, b: Node) -> Value:
        vt, va, vb = self.factor(t), self.factor(a), self.factor(b)
        if vt.frac < 0:
            raise Unsupported(f"{self.p.name}: lerp wants a share from 0 to 1, got one that can be {vt.hi * 2.0**-vt.frac:g}{self.where()}")
        frac = min(va.frac, vb.frac)
        while True:
            ends = [self.emit("round", (v,), frac, v.frac - frac) if v.frac > frac else v for v in (va, vb)]
            spans = [(v.lo, v.hi) for v in ends]
            inner = lerp_inner((vt.lo, vt.hi), spans[0], spans[1], vt.frac)
            if all(inside(span, INT32) for span in inner):
                return self.emit("lerp", (vt, *ends), frac, vt.frac)
            frac -= 1

    def value(self, n: Node) -> Value:
        """A value in this loop: read, or computed and, where the rule says so, narrowed once."""
        before, self.at = self.at, n
        v = self._value(n)
        self.at = before
        return v

    def _value(self, n: Node) -> Value:
        if n.op in ("state", "x", "param"):
            name = "x" if n.op == "x" else n.attr
            return self.emit("read", (), self.vectors[name].frac, name=name)
        if self.place[n] < self.here or n in self.terms:
            name = self.keeps[n] if self.place[n] < self.here else self.names[n]
            return self.emit("read", (), self.vectors[name].frac, name=name)
        if n in self.done:
            return self.done[n]
        v = MEANING[n.op](self, *n.args)
        wide = not inside((v.lo, v.hi), INT16)
        if n in self.outs or n in self.kept or (wide and len(self.readers[n]) > 1):
            v = self.narrow(v, self.format(n))
        self.done[n] = v
        if n in self.p.names and not self.code[v.reg].name:
            self.code[v.reg] = dataclasses.replace(self.code[v.reg], name=self.p.names[n])
        return v

    # --- loops ------------------------------------------------------------------------------------------------------

    def loops(self, states: Mapping[str, Vector]) -> tuple[tuple[Loop, ...], dict[str, Vector]]:
        """All loops, for given intervals of the states."""
        self.vectors = {"x": self.given.x, **states, **self.given.params}
        self.vectors |= {self.names[r]: Vector("acc", r.axis, self.fraction(r), *INT16) for r in self.terms}
        made: list[Loop] = []
        last = max(self.place.values(), default=0)
        for k in range(last + 1):
            roots = [r for r in self.terms if self.place[r] == k]
            keep = [n for n in self.sums.nodes if n in self.kept and self.place[n] == k]
            new = {s: n for s, n in self.p.outs.items() if (self.place.get(n, last)) == k}
            for axis in dict.fromkeys([*(n.axis for n in (*keep, *roots)), *(self.p.states[s].axis for s in new)]):
                self.here, self.at = k, None
                self.code: list[Instr] = []
                self.memo: dict[tuple[object, ...], Value] = {}
                self.done: dict[Node, Value] = {}
                for n in keep:
                    if n.axis == axis:
                        v = self.value(n)
                        self.vectors[self.keeps[n]] = Vector("temp", axis, v.frac, v.lo, v.hi)
                        self.emit("write", (v,), v.frac, name=self.keeps[n])
                values = {s: self.value(n) for s, n in new.items() if self.p.states[s].axis == axis}
                for s, v in values.items():
                    self.at = self.p.outs[s]
                    self.emit("write", (self.narrow(v, states[s].frac),), states[s].frac, name=s)
                made.append(Loop(axis, tuple(self.accumulator(r) for r in roots if r.axis == axis), tuple(self.code)))
        return tuple(made), dict(self.vectors)

    def accumulator(self, root: Node) -> Accumulator:
        def source(n: Node) -> Source:
            a = n.args[0]
            arg = "x" if a.op == "x" else a.attr if a.op == "state" else self.keeps[a]
            return Source(n.attr[0], arg, self.given.view and not (a.op == "x" and self.given.raw))

        return Accumulator(self.names[root], tuple(source(n) for n in self.terms[root]))


def lower(p: Program, given: Given, lines: Lines | None = None) -> IntegerProgram:
    """The step in integers; its shifts are still 0 and 1.  Unsupported: a primitive without integer meaning."""
    low = Lowering(p, given, lines or Lines())

    # States bounded by their equations start from 0 and grow until their interval holds; the others start from any int16 and shrink.
    grows = {s: max(map(abs, low.spans[n])) < math.inf for s, n in p.states.items()}
    states = {s: Vector("state", n.axis, low.format(p.outs[s]), *((0, 0) if grows[s] else INT16)) for s, n in p.states.items()}
    for rounds in range(20):
        made, vectors = low.loops(states)
        span: dict[str, Ints] = {i.name: (i.lo, i.hi) for loop in made for i in loop.points if i.op == "write"}
        floor = {s: (v.lo, v.hi) if grows[s] else (0, 0) for s, v in states.items()}
        wide = {s: (min(floor[s][0], span[s][0]), max(floor[s][1], span[s][1])) for s in states}
        if rounds > 15:
            wide |= {s: INT16 for s in states if grows[s] and wide[s] != (states[s].lo, states[s].hi)}
        if all((v.lo, v.hi) == wide[s] for s, v in states.items()):
            break
        states = {s: dataclasses.replace(v, lo=wide[s][0], hi=wide[s][1]) for s, v in states.items()}
    program = IntegerProgram(p.name, next(iter(p.states)), vectors, made, {k: tuple(v) for k, v in p.families.items()})
    prove(program)
    return program


def _within(low: Lowering, a: Node, lo: Node, hi: Node) -> Value:
    if lo.op != "const" or hi.op != "const":
        raise Unsupported(f"{low.p.name}: within wants numbers for bounds{low.lines.where(a)}")
    v = low.value(a)
    ends = [math.floor(math.ldexp(n.attr, v.frac) + 0.5) for n in (lo, hi)]
    return low.emit("clamp", (v,), v.frac, max(ends[0], INT32[0]), min(ends[1], INT32[1]))


def _relu(low: Lowering, a: Node) -> Value:
    v = low.value(a)
    return low.emit("max", (v, low.emit("const", (), v.frac, 0)), v.frac)


def _mul(low: Lowering, a: Node, b: Node) -> Value:
    va, vb = low.factor(a), low.factor(b)
    return low.emit("mul", (va, vb), va.frac + vb.frac)


def _neg(low: Lowering, a: Node) -> Value:
    v = low.value(a)
    return low.emit("neg", (v,), v.frac)


MEANING: dict[str, Callable[..., Value]] = {
    "add": lambda low, a, b: low.aligned("add", a, b),
    "sub": lambda low, a, b: low.aligned("sub", a, b),
    "maximum": lambda low, a, b: low.aligned("max", a, b),
    "mul": _mul,
    "neg": _neg,
    "relu": _relu,
    "within": _within,
    "lerp": Lowering.lerp,
    "tanh": lambda low, a: low.emit("tanh", (low.narrow(low.value(a), ARGUMENT),), 15),
    "sigmoid": lambda low, a: low.emit("sigmoid", (low.narrow(low.value(a), ARGUMENT),), 15),
    "stop_gradient": lambda low, a: low.value(a),
}
"""The integer meaning of the primitives of ops.py."""
