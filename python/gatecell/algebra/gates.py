"""The gates of a program: which value of a step each gate is, and what to call it.  Not here: time, any cell.

A gate is a name that products share, W.i and R.i.  Its value is what its sum of products becomes in the first nonlinearity; where
there is none on the way to a state, the sum itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .graph import Node
from .program import Program

CURVES = frozenset({"sigmoid", "tanh", "relu", "exp"})
THROUGH = frozenset({"add", "sub", "mul", "div", "neg", "within", "stop_gradient", "log_sigmoid"})
"""What stands between a product and its nonlinearity: biases, peepholes, gains, a reset after the product, logarithms of gates."""


@dataclass(frozen=True)
class Gate:
    values: list[Node]
    """Two where a page puts one sum through two nonlinearities."""
    behind: set[Node]
    """What they are made of since the products."""


def gates(p: Program) -> dict[str, Gate]:
    """In the order of the page's products."""
    outs = set(p.outs.values())
    readers: dict[Node, list[Node]] = {n: [] for n in p.nodes}
    products: dict[str, list[Node]] = {}
    for n in p.nodes:
        for a in dict.fromkeys(n.args):
            readers[a].append(n)
        if n.op == "product":
            products.setdefault(n.attr[0].split(".")[1], []).append(n)
    order = dict.fromkeys(name.split(".")[1] for name in p.weights)
    return {gate: _gate(products[gate], readers, outs) for gate in order if gate in products}


def _gate(products: list[Node], readers: Mapping[Node, list[Node]], outs: set[Node]) -> Gate:
    found: set[Node] = set()
    made: dict[Node, set[Node]] = {n: {n} for n in products}  # node -> the products that it is made of
    todo = list(products)
    while todo:
        n = todo.pop(0)
        for r in readers[n] if n not in outs else ():
            if r.op in CURVES:
                found.add(r)
            elif r.op in THROUGH and not made[n] <= made.get(r, set()):
                made[r] = made.get(r, set()) | made[n]
                todo.append(r)
    sums = [n for n, of in made.items() if of == set(products)]
    values = sorted(found, key=lambda n: n.index) or [min(sums, key=lambda n: n.index)]
    return Gate(values, set(made) - set(values))


def named(p: Program) -> dict[str, Node]:
    """Name -> value of a step: every gate, and what else the page gives a name; no states.

    A gate goes by the name that the page gives its value, else by its own; a name that the page gives to a gate's sum is the gate's.
    """
    out: dict[str, Node] = {}
    every, states = gates(p), set(p.outs.values())
    seen = states.union(*(gate.behind for gate in every.values()))
    for name, gate in every.items():
        for n in gate.values:
            if n not in states and n not in out.values():
                own = p.names.get(n, name)
                while own in out or own in p.states:
                    own += "_"
                out[own] = n
    seen |= set(out.values())
    return out | {name: n for n, name in p.names.items() if n not in seen and name not in out and name not in p.states}
