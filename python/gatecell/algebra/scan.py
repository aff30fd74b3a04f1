"""From a scan's page to its program and its backward program.  Not here: any scan, any time loop, how a machine runs it (scan_plan.py).

A scan is a recurrence without products: what depends on the state alone is pointwise, but for sums over the entries that each channel
keeps.  Its values lie over axes out of H channels and N entries: "1", "H", "N", "NH" (a matrix, N rows of H).  What lacks an axis is the
same along it.  Products with matrices stand outside, over all steps at once.

A page is a function of inputs (given at each step), parameters and states; it returns its output, over H, and the new states in the
order of its signature.  Channels never meet in a page: a block of them runs by itself, and the gradient of what they share
(values over N or 1) is the sum over blocks of what each block sends back, since a gradient is linear in what comes in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .graph import Graph, Node, is_leaf, needed
from .ops import OPS

AXES = ("1", "H", "N", "NH")


def union(axes: Iterable[str]) -> str:
    letters = {c for a in axes for c in a} - {"1"}
    return "".join(sorted(letters, reverse=True)) or "1"


class ScanGraph(Graph):
    """Values over one axis are the same along the other: they meet in a value over both."""

    def joint(self, op: str, nodes: tuple[Node, ...]) -> str:
        return union(n.axis for n in nodes)

    def sum_over(self, a: Node, axes: str) -> Node:
        """Summed over N first, then over H."""
        for axis in ("N", "H"):
            if axis in axes and axis in a.axis:
                a = self.node("total", (a,), axis, a.axis.replace(axis, "") or "1")
        return a

    def over(self, a: Node, axis: str) -> Node:
        """The same along what it lacks of `axis`, said explicitly."""
        return a if a.axis == axis else self.node("spread", (a,), axis, axis)


def total(a: Any) -> Any:
    """The sum over entries: (.., N, ..) -> one for all of them.  TypeError: a value without entries."""
    if not isinstance(a, Node):
        return a.sum(-2, keepdims=True)
    if "N" not in a.axis:
        raise TypeError(f"total wants a value over N entries, got one over {a.axis}")
    assert isinstance(a.graph, ScanGraph)
    return a.graph.sum_over(a, "N")


@dataclass(frozen=True)
class ScanSignature:
    """What a page's arguments are: {name: axis}, in its order."""

    page: Callable[..., Any]
    inputs: Mapping[str, str]
    params: Mapping[str, str]
    states: Mapping[str, str]

    def __post_init__(self) -> None:
        name = self.page.__name__
        want, got = [*self.inputs, *self.params, *self.states], list(inspect.signature(self.page).parameters)
        if want != got:
            raise TypeError(f"{name} wants the arguments {' '.join(want)}: inputs, parameters, states; got {' '.join(got)}")
        for group, axes, allowed in (
            ("input", self.inputs, ("1", "H", "N")),
            ("parameter", self.params, ("H", "NH")),
            ("state", self.states, AXES),
        ):
            for arg, axis in axes.items():
                if axis not in allowed:
                    raise TypeError(f"{name}: {group} {arg} wants to be over {', '.join(allowed)}, got {axis}")
        if "H" not in self.inputs.values():
            raise TypeError(f"{name} wants an input over H")

    def __call__(self, values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Run the page once: its output and its new states.  TypeError: another number of values than its signature has."""
        out = self.page(*(values[a] for a in (*self.inputs, *self.params, *self.states)))
        if not isinstance(out, tuple) or len(out) != 1 + len(self.states):
            got = len(out) if isinstance(out, tuple) else 1
            raise TypeError(f"{self.page.__name__} wants to return its output and its states {' '.join(self.states)}, got {got} values")
        return out[0], dict(zip(self.states, out[1:], strict=True))


@dataclass
class ScanProgram:
    """One step of a scan."""

    signature: ScanSignature
    graph: ScanGraph
    inputs: dict[str, Node]
    params: dict[str, Node]
    states: dict[str, Node]
    out: Node
    news: dict[str, Node]
    names: dict[Node, str]
    """The page's own names for its values."""

    @cached_property
    def nodes(self) -> list[Node]:
        return needed([self.out, *self.news.values()])


def trace(sig: ScanSignature, watch: Callable[..., Any]) -> ScanProgram:
    """The program of a page; `watch` is program.watching.  TypeError: branches, a wrong count or axis of what it returns."""
    g = ScanGraph()
    inputs = {a: g.node("x", attr=a, axis=axis) for a, axis in sig.inputs.items()}
    params = {a: g.node("param", attr=a, axis=axis) for a, axis in sig.params.items()}
    states = {a: g.node("state", attr=a, axis=axis) for a, axis in sig.states.items()}
    names: dict[Node, str] = {}
    out, news = watch(sig.page, names, lambda: sig({**inputs, **params, **states}))
    for what, n, axis in (("output", out, "H"), *((f"new {s}", news[s], sig.states[s]) for s in sig.states)):
        if not isinstance(n, Node) or n.axis != axis:
            raise TypeError(f"{sig.page.__name__}: the {what} wants to be over {axis}, got {n.axis if isinstance(n, Node) else repr(n)}")
    return ScanProgram(sig, g, inputs, params, states, out, news, {n: k for n, k in names.items() if not is_leaf(n)})


@dataclass
class ScanBackward:
    """What one step sends back, from the gradients of its output and its new states."""

    seed: Node
    seeds: dict[str, Node]
    inputs: dict[str, Node]
    params: dict[str, Node]
    """Of this step alone: still to be summed over time and batch."""
    states: dict[str, Node]


def derive(p: ScanProgram) -> ScanBackward:
    """Reverse mode over primitives and sums.  Each gradient is over its value's own axis, exactly."""
    g = p.graph
    seed = g.node("grad", attr="output", axis="H")
    seeds = {s: g.node("grad", attr=s, axis=n.axis) for s, n in p.states.items()}
    grad: dict[Node, Node] = {}

    def send(n: Node, v: Node | None) -> None:
        if v is None or n.op == "const":
            return
        v = g.over(g.sum_over(v, "".join(set(v.axis) - set(n.axis))), n.axis)
        grad[n] = grad[n] + v if n in grad else v

    forward = p.nodes
    send(p.out, seed)
    for s, n in p.news.items():
        send(n, seeds[s])
    for n in reversed(forward):
        if n not in grad or is_leaf(n):
            continue
        if n.op == "total":
            send(n.args[0], g.over(grad[n], n.args[0].axis))
        else:
            for a, v in zip(n.args, OPS[n.op].pull(grad[n], n, *n.args), strict=True):
                send(a, v)
    zero = g.const(0.0)

    def of(leaves: Mapping[str, Node]) -> dict[str, Node]:
        return {name: grad.get(n, zero) for name, n in leaves.items()}

    return ScanBackward(seed, seeds, of(p.inputs), of(p.params), of(p.states))
