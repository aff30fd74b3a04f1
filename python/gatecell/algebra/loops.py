"""From programs to plans: stages of products, reductions and loops over units, spelled as instructions on registers.

Not here: any cell, any machine.  The C++ core runs a plan (plans.py says which plans a cell has); the emitter writes
the same instructions as compiled steps.  A plan is small and explicit: arrays by name, and per stage what is done in order.

* A sum of products that nothing else reads becomes one accumulator: W x + R h never exist apart.
* a b + c becomes one fused multiply-add, in one fixed order, so that compiled and interpreted steps give the same bits.
* `within` and `stop_gradient` are no operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

from .graph import Graph, Node, is_leaf, needed
from .ops import OPS, joins
from .program import cut

# Spellings of what only machines know; the rest is the table of primitives.
FUSED = {"copy": "{0}", "fma": "fma({0}, {1}, {2})", "fms": "fms({0}, {1}, {2})", "fnma": "fnma({0}, {1}, {2})"}
SPELLING = FUSED | {name: op.c for name, op in OPS.items() if op.c not in ("", "{0}")}
OPCODES = {name: k for k, name in enumerate(SPELLING)}
REDUCTIONS = tuple(name for name, op in OPS.items() if op.joins)


@dataclass(frozen=True)
class Array:
    """Where values live between loops.

    `kind`: "over" (time, batch, units), "given" (the same, and no step writes it), "ring" (two slots in turn),
    "buffer" (one slot), "row" (one value a row), "unit" (a per-unit parameter), "scalar" (a shared one).
    `offset`: slot t + offset at step t.
    """

    name: str
    kind: str
    axis: str
    offset: int = 0


@dataclass(frozen=True)
class Term:
    """A product inside an accumulator: `weight` times the rows of `source`."""

    accumulator: int
    weight: str
    transposed: bool
    source: str


@dataclass(frozen=True)
class Instruction:
    op: str
    dst: int
    src: tuple[int, ...]


@dataclass
class Loop:
    """One pass over units: accumulators are filled by products, then the instructions run.

    Registers are numbered: arrays first, accumulators, temporaries, then constants (floats) and scalars (names).
    """

    axis: str
    arrays: list[str] = field(default_factory=list)
    accumulators: list[str] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    temporaries: list[str] = field(default_factory=list)
    constants: list[float | str] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Reduction:
    op: str
    source: str
    result: str


@dataclass
class Pass:
    """A stage: reductions of what earlier stages stored, then loops."""

    reductions: list[Reduction]
    loops: list[Loop]


@dataclass
class Plan:
    name: str
    arrays: dict[str, Array]
    passes: list[Pass]
    descending: bool = False
    """Whether time runs from the last step to the first."""


class _Rewrite:
    """Nodes of a program -> nodes that a machine runs: accumulators, fused operations, leaves as arrays."""

    def __init__(self, outs: Mapping[str, Node], leaves: Mapping[Node, tuple[Array, ...]]) -> None:
        self.graph, self.leaves, self.done = Graph(), leaves, dict[Node, Node]()
        self.names: dict[Node, str] = {}
        nodes = needed(outs.values(), leaves)
        self.readers = Counter(a for n in nodes for a in n.args) + Counter(outs.values())
        for n in nodes:
            self(n)
        self.outs = {name: self(n) for name, n in outs.items()}

    def __call__(self, n: Node) -> Node:
        if n not in self.done:
            self.done[n] = self._make(n)
        return self.done[n]

    def _make(self, n: Node) -> Node:
        g = self.graph
        if n in self.leaves:
            arrays = [g.node("array", attr=a, axis=a.axis) for a in self.leaves[n]]
            return reduce(lambda a, b: g.node("add", (a, b), axis=a.axis), arrays)
        if is_leaf(n):
            return g.node(n.op, attr=n.attr, axis=n.axis)
        if n.op == "product":
            return self._sum([n], n.axis)
        if n.op == "add":
            return self._sum(self._leaves_of_sum(n), n.axis)
        if OPS[n.op].c == "{0}":
            return self(n.args[0])
        if n.op == "sub":
            a, b = n.args
            if self._fusable(b):
                return g.node("fnma", (*map(self, b.args), self(a)), axis=n.axis)
            if self._fusable(a):
                return g.node("fms", (*map(self, a.args), self(b)), axis=n.axis)
        return g.node(n.op, tuple(map(self, n.args)), n.attr, n.axis)

    def _alone(self, n: Node) -> bool:
        return n not in self.leaves and self.readers[n] == 1

    def _fusable(self, n: Node) -> bool:
        return n.op == "mul" and self._alone(n)

    def _leaves_of_sum(self, n: Node) -> list[Node]:
        return [leaf for a in n.args for leaf in (self._leaves_of_sum(a) if a.op == "add" and self._alone(a) else [a])]

    def _sum(self, parts: list[Node], axis: str) -> Node:
        """One accumulator for the products, then the rest in order; of several, the last product of factors comes first."""
        g = self.graph
        merged = [p for p in parts if p.op == "product" and p not in self.leaves and (self._alone(p) or len(parts) == 1)]
        rest = [p for p in parts if p not in merged]
        if merged:
            total = g.node("products", tuple(self(p.args[0]) for p in merged), tuple(p.attr for p in merged), axis)
        else:
            first = next((p for p in reversed(rest) if not self._fusable(p)), rest[-1])
            rest.remove(first)
            total = self(first)
        for p in rest:
            if self._fusable(p):
                total = g.node("fma", (*map(self, p.args), total), axis=axis)
            else:
                total = g.node("add", (total, self(p)), axis=axis)
        return total


def lower(
    name: str,
    outs: Mapping[str, Node],
    leaves: Mapping[Node, tuple[Array, ...]],
    stored: Mapping[str, Array],
    names: Mapping[Node, str],
    descending: bool = False,
) -> Plan:
    """A plan that computes `outs` and stores each in the array of its name in `stored`.

    `leaves`: values that are read from arrays (the sum of them, where there are several); `names`: what a page calls
    its values.
    """
    made = _Rewrite(outs, leaves)
    called = {made.done[n]: k for n, k in names.items() if n in made.done}
    return _Planner(name, made, dict(stored), called, descending).plan


class _Planner:
    def __init__(self, name: str, made: _Rewrite, stored: dict[str, Array], called: dict[Node, str], descending: bool) -> None:
        self.called = called
        nodes = needed(made.outs.values())
        stages = cut(nodes)
        self.place = {n: k for k, s in enumerate(stages) for n in (*s.joins, *s.points)}
        self.readers: dict[Node, list[Node]] = {n: [] for n in nodes}
        for n in nodes:
            for a in dict.fromkeys(n.args):
                self.readers[a].append(n)
        self.arrays = {a.attr.name: a.attr for a in nodes if a.op == "array"} | stored
        self.arrays |= {n.attr: Array(n.attr, "scalar" if n.axis == "1" else "unit", n.axis) for n in nodes if n.op == "param"}
        self.home: dict[Node, str] = {
            n: n.attr.name if n.op == "array" else n.attr for n in nodes if n.op == "array" or (n.op == "param" and n.axis != "1")
        }
        self.stores: dict[Node, list[str]] = {}
        last = len(stages) - 1
        moves: list[tuple[str, Node]] = []  # leaves that go out as they are
        for out, n in made.outs.items():
            if n in self.place and n.op not in REDUCTIONS:
                self.stores.setdefault(n, []).append(out)
            else:
                moves.append((out, n))
        for n, k in self.place.items():
            if n.op in REDUCTIONS:
                self._array(Array(f"row{len(self.arrays)}", "row", n.axis), n)
                if any(r.op == "products" for r in self.readers[n]):
                    raise TypeError(f"{name}: a product of a reduction's result; write the sum over units instead")
            elif n not in self.stores and n.axis != "1" and any(joins(r) or self.place[r] > k for r in self.readers[n]):
                self.stores[n] = [self._array(Array(f"buffer{len(self.arrays)}", "buffer", n.axis), n)]
        passes = []
        for k, s in enumerate(stages):
            reductions = [Reduction(n.op, self._at(n.args[0]), self.home[n]) for n in s.joins if n.op in REDUCTIONS]
            work = [n for n in (*s.joins, *s.points) if n.op not in REDUCTIONS]
            leaving = moves if k == last else []
            axes = dict.fromkeys([n.axis for n in work if n.axis != "1"] + [self.arrays[out].axis for out, _ in leaving])
            loops = [
                self._loop(axis, [n for n in work if n.axis == axis], [m for m in leaving if self.arrays[m[0]].axis == axis])
                for axis in axes
            ]
            if reductions or loops:
                passes.append(Pass(reductions, loops))
        self.plan = Plan(name, self.arrays, passes, descending)

    def _array(self, a: Array, n: Node) -> str:
        self.arrays[a.name] = a
        self.home[n] = a.name
        return a.name

    def _at(self, n: Node) -> str:
        return self.home[n] if n in self.home else self.stores[n][0]

    def _loop(self, axis: str, work: list[Node], moves: list[tuple[str, Node]]) -> Loop:
        loop = Loop(axis)
        order: list[Node] = []

        def visit(n: Node) -> None:  # values over no axis are computed in every loop that reads them
            if n.axis == "1" and n not in order and not is_leaf(n) and n.op != "array":
                for a in n.args:
                    visit(a)
                order.append(n)

        for n in work:
            for a in n.args:
                visit(a)
            order.append(n)
        here = set(order)
        reads = [a for n in order if n.op != "products" for a in n.args] + [n for _, n in moves]
        memory = dict.fromkeys(self._at(a) for a in reads if a not in here and (a in self.home or a in self.stores))
        stores = [name for n in work for name in self.stores.get(n, [])] + [name for name, _ in moves]
        loop.arrays = list(dict.fromkeys([*memory, *stores]))
        sums = [n for n in order if n.op == "products"]
        loop.accumulators = [self._name(n, "a") for n in sums]
        loop.terms = [
            Term(k, weight, transposed, self._at(source))
            for k, n in enumerate(sums)
            for (weight, transposed), source in zip(n.attr, n.args, strict=True)
        ]
        points = [n for n in order if n.op != "products"]
        loop.temporaries = [self._name(n, "t") for n in points]
        loop.constants = list(dict.fromkeys(a.attr for a in (*reads,) if a.op == "const" or (a.op == "param" and a.axis == "1")))
        registers = [*loop.arrays, *sums, *points, *loop.constants]
        where: dict[object, int] = {r: k for k, r in reversed(list(enumerate(registers)))}

        def register(n: Node) -> int:
            if n in here:
                return where[n]
            return where[n.attr] if n.op == "const" or (n.op == "param" and n.axis == "1") else where[self._at(n)]

        for n in points:
            loop.code.append(Instruction(n.op, where[n], tuple(map(register, n.args))))
        for n in work:
            loop.code += [Instruction("copy", where[name], (where[n],)) for name in self.stores.get(n, [])]
        loop.code += [Instruction("copy", where[name], (register(n),)) for name, n in moves]
        return loop

    def _name(self, n: Node, otherwise: str) -> str:
        return self.called.get(n, f"{otherwise}{n.index}")
