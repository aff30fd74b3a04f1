"""From a program to its backward program: reverse mode over primitives and products, and the fewest values to keep.

Not here: time.  Gradients are nodes of the same graph, so that they are shared and cut into stages like forward values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from .graph import Node, is_leaf, needed
from .ops import OPS, is_dear, joins
from .program import Program


@dataclass
class Backward:
    """What one step sends back."""

    seeds: dict[str, Node]
    """State -> the leaf for the gradient of its new value."""
    states: dict[str, Node]
    """State -> gradient of its old value."""
    x: Node | None
    """Gradient of the input; None where nothing reads x."""
    params: dict[str, Node]
    """Parameter -> its gradient, still to be summed over time and batch."""
    weights: dict[str, list[tuple[Node, Node]]]
    """Weight -> (gradient of the product, its argument) for each use."""
    loop: list[Node]
    """What the recurrence needs, per step; the rest can wait until after the loop."""
    keep: list[Node]
    """Forward values that the forward pass stores over time, beside x and the states."""


def derive(p: Program) -> Backward:
    g = p.graph
    forward = p.nodes
    given = set(g.nodes.values())
    seeds = {s: g.node("grad", attr=s, axis=n.axis) for s, n in p.states.items()}
    grad: dict[Node, Node] = {}
    weights: defaultdict[str, list[tuple[Node, Node]]] = defaultdict(list)

    def send(n: Node, v: Node | None) -> None:
        if v is not None and n.op != "const":
            grad[n] = grad[n] + v if n in grad else v

    for s, n in p.outs.items():
        send(n, seeds[s])
    for n in reversed(forward):
        if n not in grad or is_leaf(n):
            continue
        if n.op == "product":
            weights[n.attr[0]].append((grad[n], n.args[0]))
            send(n.args[0], g.node("product", (grad[n],), (n.attr[0], True), n.args[0].axis))
        else:
            for a, v in zip(n.args, OPS[n.op].pull(grad[n], n, *n.args), strict=True):
                send(a, v)
    zero = g.const(0.0)
    states = {s: grad.get(n, zero) for s, n in p.states.items()}
    params = {n.attr: grad.get(n, zero) for n in forward if n.op == "param"}
    uses = [use for pairs in weights.values() for use in pairs]
    ends = [n for n in (grad.get(p.x), *params.values(), *(v for v, _ in uses)) if n is not None]

    loop = [n for n in needed(states.values(), given) if n.op != "const"]
    every = [n for n in needed([*states.values(), *ends], given) if n.op != "const"]
    wants = {a for n in every for a in n.args if a in given} | {n for n in (*states.values(), *ends) if n in given} | {a for _, a in uses}
    free = {n for n in forward if is_leaf(n)} | set(p.outs.values())  # x and the states are stored over time anyway
    return Backward(seeds, states, grad.get(p.x), params, dict(weights), loop, fewest(wants, free))


def fewest(wants: Iterable[Node], free: set[Node]) -> list[Node]:
    """The fewest values from which every wanted one follows by cheap primitives alone.

    A minimum vertex cut between the dear values and the wanted ones (Ford & Fulkerson 1956): a node is an edge of
    capacity one from (n, 0) to (n, 1); of the minimal cuts, the one nearest the wanted values.  One function of values
    that are stored anyway is not dear: a vector of it takes six cycles, as long as writing it away and fetching it back.
    """
    wanted = {n for n in wants if n not in free and n.op != "const"}
    nodes = [n for n in needed(wanted, free) if n.op != "const" and depends(n)]
    capacity: defaultdict[tuple[object, object], int] = defaultdict(int)
    endless = len(nodes) + 1

    def one_call(n: Node) -> bool:
        below = [a for a in needed([n], free) if not is_leaf(a)]
        return not any(map(joins, below)) and sum(map(is_dear, below)) == 1

    for n in nodes:
        capacity[(n, 0), (n, 1)] = 1
        if is_dear(n) and not one_call(n):
            capacity["source", (n, 0)] = endless
        else:
            for a in n.args:
                if a in nodes:
                    capacity[(a, 1), (n, 0)] = endless
        if n in wanted:
            capacity[(n, 1), "sink"] = endless
    near: defaultdict[object, set[object]] = defaultdict(set)
    for u, v in list(capacity):
        near[u].add(v)
        near[v].add(u)

    def reach(start: object, passable: Callable[[object, object], bool]) -> dict[object, object]:
        came: dict[object, object] = {start: None}
        todo = [start]
        for u in todo:
            for v in near[u]:
                if v not in came and passable(u, v):
                    came[v] = u
                    todo.append(v)
        return came

    while "sink" in (came := reach("source", lambda u, v: capacity[u, v] > 0)):
        end: object = "sink"
        while (start := came[end]) is not None:
            capacity[start, end] -= 1
            capacity[end, start] += 1
            end = start
    side = reach("sink", lambda u, v: capacity[v, u] > 0)
    return [n for n in nodes if (n, 1) in side and (n, 0) not in side]


def depends(n: Node) -> bool:
    """Whether a forward value depends on x or a state; what depends on parameters alone is never kept."""

    @cache
    def look(n: Node) -> bool:
        return n.op in ("x", "state") or any(look(a) for a in n.args)

    return look(n)
