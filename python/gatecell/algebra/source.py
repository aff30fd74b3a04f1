"""Which line of its page made each value of a program: for comments in emitted text and for error messages.  Changes nothing.

The page is called once more with symbols while the interpreter reports lines; a graph is built the same way every
time, so that positions in it are the same.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from .graph import Node
from .program import Signature, trace


@dataclass(frozen=True)
class Lines:
    """Lines of a page; empty where the source cannot be read."""

    of: tuple[int, ...] = ()
    """Line of the node at each index of the graph, counted in the file; 0: before the page began."""
    text: dict[int, str] | None = None

    def line(self, n: Node) -> int:
        return self.of[n.index] if n.index < len(self.of) else 0

    def quote(self, line: int) -> str:
        """The source of a line, without indent and comment."""
        return (self.text or {}).get(line, "")

    def where(self, n: Node) -> str:
        """For an error message: the line's number and text, or nothing."""
        line = self.line(n)
        return f" in line {line}: {self.quote(line)}" if line else ""


@runtime_checkable
class Lined(Protocol):
    """A page that is no function and knows its lines itself (rewrite.py)."""

    def lines(self) -> Lines: ...


def lines(sig: Signature) -> Lines:
    page: object = sig.page
    if isinstance(page, Lined):
        return page.lines()
    try:
        source, first = inspect.getsourcelines(sig.page)
    except (OSError, TypeError):
        return Lines()
    file, last = sig.page.__code__.co_filename, first + len(source)
    made: list[tuple[int, int]] = []  # (nodes that existed when a line was entered, the line)
    counter: list[Node] = []

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is sig.page.__code__ and not counter:
            counter.extend(v for v in frame.f_locals.values() if isinstance(v, Node))
        if counter:
            made.append((len(counter[0].graph.nodes), frame.f_lineno))
        return local

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        return local(frame, event, None) if code.co_filename == file and first <= code.co_firstlineno < last else None

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        p = trace(sig)
    finally:
        sys.settrace(before)
    if not made:  # the file is no longer the one that was imported
        return Lines()
    of = [0] * len(p.graph.nodes)
    for (start, line), (end, _) in zip(made, [*made[1:], (len(of), 0)], strict=True):
        of[start:end] = [line] * (end - start)
    text = {first + k: s.split("  #")[0].strip() for k, s in enumerate(source)}
    return Lines(tuple(of), text)
