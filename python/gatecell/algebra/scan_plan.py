"""What one step of a scan does, in a machine's order.  Not here: any scan, any machine (emit/cpp_scan.py writes the text).

A function of a scan (its step, the step without output, its gradient) is a list of levels.  A sum is ready one level after what it
sums.  In a level come values over 1, then over N, then over H with those over NH inside them: what is over fewer axes is computed once.
Values over NH are never stored between levels but computed again; those of other axes wait in buffers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .encode import fnv
from .graph import Node, is_leaf, needed
from .ops import OPS
from .scan import ScanBackward, ScanGraph, ScanProgram

FORWARD, ADVANCE, BACKWARD = "forward", "advance", "backward"


@dataclass(frozen=True)
class Place:
    """An array that a function is given at every step: of one step, row and block of channels."""

    name: str
    axis: str


@dataclass(frozen=True)
class Root:
    """What a function writes."""

    place: Place
    node: Node
    adds: bool
    """To what is there already."""


@dataclass
class Level:
    """`sums`: totals whose terms are ready here; `stores`: roots.  By axis: what is computed, arguments first."""

    values: dict[str, list[Node]] = field(default_factory=lambda: {"1": [], "N": [], "H": [], "NH": []})
    sums: list[Node] = field(default_factory=list)
    stores: list[Root] = field(default_factory=list)
    uses: set[Node] = field(default_factory=set)
    """What this level reads of earlier ones."""


@dataclass
class Function:
    """`places`: every array of the function, in the order in which the driver gives them."""

    name: str
    places: list[Place]
    levels: list[Level]
    names: dict[Node, str]

    @property
    def buffers(self) -> set[Node]:
        """Values that a later level reads."""
        return {n for level in self.levels for n in level.uses}


class _Rewrite:
    """Nodes of a program -> nodes that a machine runs: leaves as arrays, no explicit repetition, a b + c fused."""

    def __init__(self, roots: Iterable[Node], leaves: Mapping[Node, Place]) -> None:
        self.graph, self.leaves, self.done = ScanGraph(), leaves, dict[Node, Node]()
        self.readers = Counter(a for n in needed(roots, leaves) for a in n.args) + Counter(roots)

    def __call__(self, n: Node) -> Node:
        if n not in self.done:
            self.done[n] = self._make(n)
        return self.done[n]

    def _make(self, n: Node) -> Node:
        g = self.graph
        if n in self.leaves:
            return g.node("array", attr=self.leaves[n], axis=n.axis)
        if n.op == "const":
            return g.const(n.attr)
        if n.op == "spread" or (n.op in OPS and OPS[n.op].c == "{0}"):
            return self(n.args[0])
        if n.op == "total":
            a = self(n.args[0])
            if n.attr not in a.axis:  # a sum of equal terms
                a = g.node("spread", (a,), n.args[0].axis, n.args[0].axis)
            return g.node("total", (a,), n.attr, n.axis)
        if n.op in ("add", "sub"):
            a, b = n.args
            for product, other, op in ((b, a, "fma" if n.op == "add" else "fnma"), (a, b, "fma" if n.op == "add" else "fms")):
                if product.op == "mul" and product not in self.leaves and self.readers[product] == 1:
                    args = (*map(self, product.args), self(other))
                    if g.joint("mul", args[:2]) == g.joint(n.op, args):  # else the product is computed once for many sums
                        return g.node(op, args, axis=g.joint(op, args))
        args = tuple(map(self, n.args))
        return g.node(n.op, args, n.attr, g.joint(n.op, args))


def _function(
    name: str, places: list[Place], leaves: Mapping[Node, Place], roots: list[tuple[Place, Node, bool]], names: Mapping[Node, str]
) -> Function:
    rewrite = _Rewrite([n for _, n, _ in roots], leaves)
    made = [Root(place, rewrite(n), adds) for place, n, adds in roots]
    nodes = needed(r.node for r in made)
    depth: dict[Node, int] = {}  # the level in which a value is ready
    for n in nodes:
        depth[n] = max((depth[a] for a in n.args), default=0) + (n.op == "total")
    levels = [Level() for _ in range(max(depth.values()) + 1)]
    for n in nodes:
        if not is_leaf(n) and n.op != "total" and n.axis != "NH":
            levels[depth[n]].values[n.axis].append(n)
        if n.op == "total":
            levels[depth[n] - 1].sums.append(n)
    for r in made:
        levels[depth[r.node]].stores.append(r)
    for k, level in enumerate(levels):
        todo = [n.args[0] for n in level.sums] + [r.node for r in level.stores]
        todo += [a for axis in "1NH" for n in level.values[axis] for a in n.args]
        seen: set[Node] = set()
        while todo:
            n = todo.pop()
            if n in seen or is_leaf(n):
                continue
            seen.add(n)
            if n.axis == "NH" and n.op != "total":
                todo += n.args
                level.values["NH"].append(n)
            elif n.op == "total" or depth[n] < k:
                level.uses.add(n)
        level.values["NH"].sort(key=lambda n: n.index)
    return Function(name, places, levels, {rewrite(n): s for n, s in names.items() if n in rewrite.done})


@dataclass
class ScanPlan:
    """What a scan is to a machine."""

    forward: Function
    advance: Function
    backward: Function
    shape: tuple[str, str, str]
    """Axes of the inputs, the parameters and the states, a letter each: 1, H, N, M for NH."""

    @property
    def key(self) -> int:
        """Of all that the text depends on."""
        text = "|".join([*self.shape, *(_described(f) for f in (self.forward, self.advance, self.backward))])
        return fnv(list(text.encode()))


def _described(f: Function) -> str:
    rows = []
    for level in f.levels:
        nodes = (*(n for values in level.values.values() for n in values), *level.sums)
        rows += [f"{n.index}={n.op}.{n.attr}.{n.axis}({','.join(str(a.index) + str(a.attr) for a in n.args)})" for n in nodes]
        rows += [f"{r.place}{'+' * r.adds}={r.node.index}" for r in level.stores]
    return f.name + ";".join(map(str, [*f.places, *rows]))


def plan(p: ScanProgram, d: ScanBackward) -> ScanPlan:
    sig = p.signature

    def places(axes: Mapping[str, str], name: Callable[[str], str]) -> dict[str, Place]:
        return {k: Place(name(k), axis) for k, axis in axes.items()}

    inputs, params, old = (places(a, str) for a in (sig.inputs, sig.params, sig.states))
    new = places(sig.states, "{}'".format)
    out = Place("output", "H")
    given = {p.inputs[k]: v for k, v in inputs.items()} | {p.params[k]: v for k, v in params.items()}
    given |= {p.states[k]: v for k, v in old.items()}
    order = [*inputs.values(), *params.values(), *old.values(), *new.values(), out]
    news = [(new[s], n, False) for s, n in p.news.items()]
    forward = _function(FORWARD, order, given, [(out, p.out, False), *news], p.names)
    advance = _function(ADVANCE, order, given, news, p.names)

    dnew, dout = places(sig.states, "d{}'".format), Place("doutput", "H")
    dinputs, dparams, dold = (places(a, "d{}".format) for a in (sig.inputs, sig.params, sig.states))
    stored = given | {n: new[s] for s, n in p.news.items() if not is_leaf(n)}  # the driver has every state of a chunk at hand
    stored |= {d.seed: dout} | {d.seeds[s]: dnew[s] for s in sig.states}
    groups = (inputs, params, old, new, {"": dout}, dnew, dinputs, dparams, dold)
    order = [place for group in groups for place in group.values()]
    roots = [(dinputs[k], n, False) for k, n in d.inputs.items()] + [(dparams[k], n, True) for k, n in d.params.items()]
    roots += [(dold[k], n, False) for k, n in d.states.items()]
    letters = {"NH": "M"}
    shape = ["".join(letters.get(a, a) for a in axes.values()) for axes in (sig.inputs, sig.params, sig.states)]
    return ScanPlan(forward, advance, _function(BACKWARD, order, stored, roots, p.names), (shape[0], shape[1], shape[2]))
