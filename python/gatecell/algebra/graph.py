"""Values of a page as a graph: each made once (hash-consed), arguments before results.

Not here: what an operation means (ops.py), which of the values form a step (program.py).
Axes are letters: I input, H hidden units, M projection, 1 the same for all units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Attr = Any  # a constant's float, a leaf's name, a product's (weight, transposed)


class Node:
    """One value: a primitive or "product" of `args`, or a leaf ("const", "param", "state", "x", "given", "grad"; in plans "array")."""

    __slots__ = ("args", "attr", "axis", "graph", "index", "op")
    __array_ufunc__ = None  # NumPy scalars must defer: np.float64(2) * node is a node

    def __init__(self, graph: Graph, op: str, args: tuple[Node, ...], attr: Attr, axis: str, index: int) -> None:
        self.graph, self.op, self.args, self.attr, self.axis, self.index = graph, op, args, attr, axis, index

    def __repr__(self) -> str:
        inside = [repr(self.attr)] * (self.attr is not None) + [f"%{a.index}" for a in self.args]
        return f"%{self.index} = {self.op}({', '.join(inside)})"

    def _no_branch(self, *_: object) -> bool:
        raise TypeError("a page cannot branch on a value: write maximum, above or lerp")

    __bool__ = __lt__ = __gt__ = __le__ = __ge__ = _no_branch

    def __pow__(self, _: object) -> Node:
        raise TypeError("a page has no **: write a product of factors")

    def __add__(self, other: Operand) -> Node:
        return call("add", self, other)

    def __radd__(self, other: Operand) -> Node:
        return call("add", other, self)

    def __sub__(self, other: Operand) -> Node:
        return call("sub", self, other)

    def __rsub__(self, other: Operand) -> Node:
        return call("sub", other, self)

    def __mul__(self, other: Operand) -> Node:
        return call("mul", self, other)

    def __rmul__(self, other: Operand) -> Node:
        return call("mul", other, self)

    def __truediv__(self, other: Operand) -> Node:
        return call("div", self, other)

    def __rtruediv__(self, other: Operand) -> Node:
        return call("div", other, self)

    def __neg__(self) -> Node:
        return call("neg", self)


Operand = Node | float


class Graph:
    """Nodes in topological order: `index` grows from arguments to results."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Node] = {}

    def node(self, op: str, args: tuple[Node, ...] = (), attr: Attr = None, axis: str = "1") -> Node:
        key = op, args, attr
        if key not in self.nodes:
            self.nodes[key] = Node(self, op, args, attr, axis, len(self.nodes))
        return self.nodes[key]

    def const(self, value: float) -> Node:
        return self.node("const", attr=float(value))

    def joint(self, op: str, nodes: tuple[Node, ...]) -> str:
        """The axis of a primitive's result.  TypeError: values over different axes."""
        axes = {n.axis for n in nodes} - {"1"}
        if len(axes) > 1:
            raise TypeError(f"{op} wants values over one axis, got {', '.join(n.axis for n in nodes)}")
        return axes.pop() if axes else "1"


def call(op: str, *args: Operand) -> Node:
    """The node of a primitive; numbers become constants.  TypeError: values over different axes."""
    graph = next(a for a in args if isinstance(a, Node)).graph
    nodes = tuple(a if isinstance(a, Node) else graph.const(a) for a in args)
    return graph.node(op, nodes, axis=graph.joint(op, nodes))


LEAVES = frozenset({"const", "param", "state", "x", "given", "grad", "array"})


def is_leaf(n: Node) -> bool:
    return n.op in LEAVES


def needed(roots: Iterable[Node], given: Iterable[Node] | Mapping[Node, object] = ()) -> list[Node]:
    """What the roots are made of, arguments first; `given` nodes are not looked into, and left out."""
    stop = set(given)
    seen: set[Node] = set()
    todo = list(roots)
    while todo:
        n = todo.pop()
        if n not in seen and n not in stop:
            seen.add(n)
            todo += n.args
    return sorted(seen, key=lambda n: n.index)
