"""From a page to a program: call it with symbols, cut what it computed into stages.

Not here: any cell, any time loop, gradients (derive.py).
A page is a function of families of products (capitals), `p` per-unit parameters, `s` shared scalars, `x` the
input, and its states; it returns the new states in the order of its signature.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any, Protocol, TypeVar, runtime_checkable

from .graph import Graph, Node, is_leaf, needed
from .ops import joins

Page = Callable[..., Any]
R = TypeVar("R")


@runtime_checkable
class Told(Protocol):
    """A page that is no function and says itself what it called the values of its last run with symbols (rewrite.py)."""

    def names(self) -> dict[Node, str]: ...


class Names:
    """`W.i`, `W["i"]`: whatever `of("i")` is."""

    def __init__(self, of: Callable[[str], Any]) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        return self._of(name)

    def __getitem__(self, name: str) -> Any:
        return self._of(name)


@dataclass(frozen=True)
class Signature:
    """What a page's arguments are, and over which axes: I input, H hidden units, others as `axes` says."""

    page: Page
    axes: Mapping[str, str] = field(default_factory=dict)
    """Output axis of a family, axis of a state; H where absent."""
    bias: tuple[str, ...] = ()
    """Families whose products add a bias."""
    heads: tuple[str, ...] = ()
    """Families that are block-diagonal, K blocks."""
    given: tuple[str, ...] = ()
    """Arguments that are further inputs over time, which no gradient reaches: masks."""

    @cached_property
    def args(self) -> list[str]:
        return list(inspect.signature(self.page).parameters)

    @cached_property
    def families(self) -> list[str]:
        return [a for a in self.args if a.isupper()]

    @cached_property
    def states(self) -> list[str]:
        return [a for a in self.args if not a.isupper() and a not in ("x", "p", "s", *self.given)]

    def axis(self, name: str) -> str:
        return "I" if name == "x" else "1" if name == "s" else self.axes.get(name, "H")

    def __call__(
        self, product: Callable[[str, Any], Any], param: Callable[[str, str], Any], x: Any, states: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Run the page once; `product(weight, argument)` and `param(name, axis)` say what these are; `states` has what is given, too.

        Raises TypeError when the page returns another number of states than its signature has.
        """

        def bind(a: str) -> Any:
            if a.isupper():
                return Names(lambda gate: lambda v: product(f"{a}.{gate}", v))
            if a in ("p", "s"):
                return Names(lambda name: param(f"{a}.{name}", self.axis(a)))
            return x if a == "x" else states[a]

        out = self.page(*map(bind, self.args))
        new = out if isinstance(out, tuple) else (out,)
        if len(new) != len(self.states):
            raise TypeError(f"{self.page.__name__} wants to return its states {' '.join(self.states)}, got {len(new)} values")
        return dict(zip(self.states, new, strict=True))


@dataclass(frozen=True)
class Weight:
    """One product's matrix: over (out, into), as `blocks` diagonal blocks ("1": dense)."""

    out: str
    into: str
    blocks: str
    bias: bool


@dataclass
class Stage:
    """Products and reductions whose arguments are ready, then one loop over units.

    A pointwise value reads values of its own unit, or results of this stage's joins.
    """

    joins: list[Node]
    points: list[Node]


@dataclass
class Program:
    """One step of a cell."""

    name: str
    graph: Graph
    x: Node
    states: dict[str, Node]
    outs: dict[str, Node]
    weights: dict[str, Weight]
    params: dict[str, str]
    """Parameter -> axis."""
    names: dict[Node, str]
    """The page's own names for its values."""
    given: dict[str, Node] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> list[Node]:
        return needed(self.outs.values())

    @cached_property
    def stages(self) -> list[Stage]:
        return cut(self.nodes)

    @cached_property
    def families(self) -> dict[str, list[str]]:
        """Family -> its gates in the order of first use, which is the order in which their matrices are stacked."""
        out: dict[str, list[str]] = {}
        for weight in self.weights:
            family, gate = weight.split(".")
            out.setdefault(family, []).append(gate)
        return out


def levels(nodes: Iterable[Node], given: Iterable[Node] | Mapping[Node, object] = ()) -> dict[Node, int]:
    """How many joins lie between the step's inputs and a value, its own included."""
    level: dict[Node, int] = dict.fromkeys(given, 0)
    for n in nodes:
        if n not in level:
            level[n] = max((level.get(a, 0) for a in n.args), default=0) + joins(n)
    return level


def cut(nodes: list[Node], given: Iterable[Node] | Mapping[Node, object] = ()) -> list[Stage]:
    """Stages of the nodes.  A pointwise value is computed as late as its first reader allows: what it is made
    of is stored anyway, so it needs no buffer of its own.
    """
    live = [n for n in nodes if not is_leaf(n)]
    level = levels(live, given)
    place = {n: level[n] for n in live}
    readers: dict[Node, list[Node]] = {n: [] for n in live}
    for n in live:
        for a in set(n.args):
            if a in readers:
                readers[a].append(n)
    for n in reversed(live):
        if readers[n] and not joins(n):
            place[n] = max(level[n], min(place[r] - joins(r) for r in readers[n]))
    last = max(place.values(), default=0)
    return [
        Stage([n for n in live if joins(n) and place[n] == k], [n for n in live if not joins(n) and place[n] == k]) for k in range(last + 1)
    ]


def watching(page: Page, names: dict[Node, str], run: Callable[[], R]) -> R:
    """Run a page and note what it calls its values: emitted text speaks in these names."""
    itself: object = page
    if isinstance(itself, Told):
        out = run()
        names.update(itself.names())
        return out
    before = sys.getprofile()
    code = page.__code__

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            names.update({v: k for k, v in frame.f_locals.items() if isinstance(v, Node)})

    sys.setprofile(watch)
    try:
        return run()
    finally:
        sys.setprofile(before)


def trace(sig: Signature) -> Program:
    """The program of a page.  TypeError: branches, mixed axes, a wrong count or axis of states."""
    g = Graph()
    weights: dict[str, Weight] = {}
    params: dict[str, str] = {}

    def product(weight: str, a: Node) -> Node:
        if not isinstance(a, Node):
            raise TypeError(f"{weight} wants a value of the page, got {a!r}")
        family = weight.split(".")[0]
        w = Weight(sig.axis(family), a.axis, "K" if family in sig.heads else "1", family in sig.bias)
        if weights.setdefault(weight, w) != w:
            raise TypeError(f"{weight} wants arguments over one axis, got {weights[weight].into} and {w.into}")
        return g.node("product", (a,), (weight, False), w.out)

    def param(name: str, axis: str) -> Node:
        params[name] = axis
        return g.node("param", attr=name, axis=axis)

    x = g.node("x", attr="x", axis=sig.axis("x"))
    states = {s: g.node("state", attr=s, axis=sig.axis(s)) for s in sig.states}
    given = {name: g.node("given", attr=name, axis=sig.axis(name)) for name in sig.given}
    names: dict[Node, str] = {}
    outs = watching(sig.page, names, lambda: sig(product, param, x, states | given))
    for s, n in outs.items():
        if not isinstance(n, Node) or n.axis != states[s].axis:
            raise TypeError(
                f"{sig.page.__name__}: the new {s} wants to be over {states[s].axis}, got {n.axis if isinstance(n, Node) else repr(n)}"
            )
    return Program(sig.page.__name__, g, x, states, outs, weights, params, {n: k for n, k in names.items() if not is_leaf(n)}, given)
