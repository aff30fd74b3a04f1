"""The gates of a program: which value of a step each gate is, and what to call it.  Not here: time, any cell.

A gate is a name that products share, W.i and R.i.  Its value is what its sum of products becomes in the first nonlinearity; where
there is none on the way to a state, the sum itself.
"""

from __future__ import annotations

from .graph import Node
from .program import Program

CURVES = frozenset({"sigmoid", "tanh", "relu", "exp", "log_sigmoid"})
THROUGH = frozenset({"add", "sub", "mul", "div", "neg", "mean", "var", "rsqrt", "within", "stop_gradient"})
"""What stands between a product and its nonlinearity: biases, peepholes, gains, norms, a reset after the product."""


def gates(p: Program) -> dict[str, list[Node]]:
    """Gate -> its values, in the order of the page's products; two where a page puts one sum through two nonlinearities."""
    live = p.nodes
    outs = set(p.outs.values())
    readers: dict[Node, list[Node]] = {n: [] for n in live}
    for n in live:
        for a in dict.fromkeys(n.args):
            readers[a].append(n)
    products: dict[str, list[Node]] = {}
    for n in live:
        if n.op == "product":
            products.setdefault(n.attr[0].split(".")[1], []).append(n)
    order = dict.fromkeys(name.split(".")[1] for name in p.weights)
    return {gate: _values(products[gate], readers, outs) for gate in order if gate in products}


def _values(products: list[Node], readers: dict[Node, list[Node]], outs: set[Node]) -> list[Node]:
    found: dict[Node, None] = {}
    behind: dict[Node, set[Node]] = {n: {n} for n in products}  # node -> the products that it is made of
    todo = list(products)
    while todo:
        n = todo.pop(0)
        if n in outs:
            continue
        for r in readers[n]:
            if r.op in CURVES:
                found[r] = None
            elif r.op in THROUGH and not behind[n] <= behind.get(r, set()):
                behind.setdefault(r, set()).update(behind[n])
                todo.append(r)
    joined = min((n for n, of in behind.items() if of == set(products)), key=lambda n: n.index, default=products[-1])
    return sorted(found, key=lambda n: n.index) or [joined]


def named(p: Program) -> dict[str, Node]:
    """Name -> value of a step: every gate, and what else the page gives a name; no states.

    A gate goes by the name that the page gives its value, else by its own.
    """
    out: dict[str, Node] = {}
    seen = set(p.outs.values())
    for gate, values in gates(p).items():
        for n in values:
            if n not in seen:
                name = p.names.get(n, gate)
                while name in out or name in p.states:
                    name += "_"
                out[name] = n
                seen.add(n)
    for n, name in p.names.items():
        if n not in seen and name not in out and name not in p.states:
            out[name] = n
    return out
