"""A page made of another: its program once more, in the same order, with some values changed on the way.  Not here: which, and why.

It is a page like any other, so that the reference, gradients, kernels, integers and C of it follow; it keeps the other's names for its
values, and their lines.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .graph import Node, call, needed
from .ops import OPS
from .program import Program, Signature, trace
from .source import Lines, lines

Given = Mapping[str, Any]
"""Further inputs by name."""


@dataclass(frozen=True)
class Changes:
    """What is another value than the program has it."""

    argument: Callable[[Node, Any, Given], Any] = lambda product, value, given: value
    """(product, its argument, given) -> what it reads instead."""
    value: Mapping[Node, Callable[[Any, Given], Any]] = field(default_factory=dict)
    """Node -> (its value, given) -> what everything reads instead."""
    out: Mapping[str, Callable[[Any, Any, Given], Any]] = field(default_factory=dict)
    """State -> (its new value, its old one, given) -> what the state becomes; the step's other values read what it was."""
    given: tuple[str, ...] = ()
    """Names of further inputs."""


class Rewritten:
    """A page.  Called as the other one, with `given` after its own arguments."""

    def __init__(self, name: str, of: Signature, p: Program, changes: Changes) -> None:
        self.__name__, self._of, self._p, self._changes = name, of, p, changes
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(a, kind) for a in (*of.args, *changes.given)])
        used = [n for n in p.graph.nodes.values() if n.op == "param" or (n.op == "product" and not n.attr[1])]
        self._nodes = needed([*p.outs.values(), *used])  # what the page has no use for has weights, too
        self._values: dict[Node, Any] = {}
        self._starts: list[tuple[int, Node]] = []

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        bound = dict(zip(self.__signature__.parameters, args, strict=True))
        given = {name: bound[name] for name in self._changes.given}
        graph = next((a.graph for a in args if isinstance(a, Node)), None)
        values: dict[Node, Any] = {}
        starts: list[tuple[int, Node]] = []
        for n in self._nodes:
            if graph is not None:
                starts.append((len(graph.nodes), n))
            v = self._value(n, bound, values, given)
            values[n] = self._changes.value[n](v, given) if n in self._changes.value else v
        if graph is not None:
            self._values, self._starts = values, starts
        new = {s: values[n] for s, n in self._p.outs.items()}
        return tuple(self._changes.out[s](v, bound[s], given) if s in self._changes.out else v for s, v in new.items())

    def _value(self, n: Node, bound: Mapping[str, Any], values: Mapping[Node, Any], given: Given) -> Any:
        if n.op in ("const", "x", "state", "given"):
            return n.attr if n.op == "const" else bound[n.attr]
        if n.op == "param":
            room, name = n.attr.split(".")
            return bound[room][name]
        if n.op == "product":
            family, gate = n.attr[0].split(".")
            return bound[family][gate](self._changes.argument(n, values[n.args[0]], given))
        args = [values[a] for a in n.args]
        return call(n.op, *args) if any(isinstance(a, Node) for a in args) else OPS[n.op].of(*args)

    def names(self) -> dict[Node, str]:
        """What the other page calls its values: those of the last run with symbols."""
        return {self._values[n]: name for n, name in self._p.names.items() if isinstance(self._values.get(n), Node)}

    def lines(self) -> Lines:
        """The other page's line of each value."""
        before = lines(self._of)
        p = trace(replace(self._of, page=self, given=self._changes.given))
        of = [0] * len(p.graph.nodes)
        ends = [start for start, _ in self._starts[1:]] + [len(of)]
        for (start, n), end in zip(self._starts, ends, strict=True):
            of[start:end] = [before.line(n)] * (end - start)
        return Lines(tuple(of), before.text)
