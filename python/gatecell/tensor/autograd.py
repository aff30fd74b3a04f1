"""The tape: what was computed from what, and the walk back over it.

Not here: any operation's derivative (ops.py), the Tensor class (tensor.py).  The same nodes are what export, saving and quantisation read.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from .dtypes import Array

if TYPE_CHECKING:
    from .tensor import Tensor

Backward = Callable[..., "tuple[Array | None, ...]"]
Version: TypeAlias = list[int]
"""[how often memory was written in place]: one list for all tensors that share it."""
P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_order = itertools.count()


class _Mode(threading.local):
    grad = True  # results remember how they were made, when an input requires a gradient
    trace = False  # every result remembers how it was made and from which line of the user's
    watch: list[Any] | None = None  # where recurrences leave what they were called with


mode = _Mode()


class Node:
    """One operation that was carried out.

    op, attrs   name in ops.OPS (or "recurrence") and its settings
    inputs      the Tensors it read
    backward    (gradient of each result, or None) -> (gradient of each input, or None)
    line        "file:line" of the first frame outside this package; "" unless tracing
    kept        what backward reads of inputs and result: (number of the input, -1 or words, its Version, the count when it was read)
    outputs     how many results it has
    order       grows from inputs to results: sorting by it is a topological order
    """

    __slots__ = ("op", "inputs", "attrs", "backward", "kept", "line", "outputs", "order")

    def __init__(self, op: str, inputs: tuple[Tensor, ...], attrs: dict[str, Any], backward: Backward, outputs: int = 1) -> None:
        self.op, self.inputs, self.attrs, self.backward, self.outputs = op, inputs, attrs, backward, outputs
        self.kept: tuple[tuple[int | str, Version, int], ...] = ()
        self.line = user_line() if mode.trace else ""
        self.order = next(_order)

    def __repr__(self) -> str:
        return f"<Node {self.op} of {len(self.inputs)}>"


def user_line() -> str:
    """file:line of the nearest caller outside this package (about 1 us; called only while tracing)."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class _Switch:
    """A context manager and decorator that sets one field of `mode`, per thread, and puts it back."""

    def __init__(self, field: str, value: bool) -> None:
        self._field, self._value = field, value
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(getattr(mode, self._field))
        setattr(mode, self._field, self._value)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        setattr(mode, self._field, self._before.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with _Switch(self._field, self._value):
                return function(*args, **kwargs)

        return inside


@contextmanager
def watching(calls: list[Any]) -> Iterator[None]:
    """Within it, in this thread, every recurrence appends its `Call`."""
    before, mode.watch = mode.watch, calls
    try:
        yield
    finally:
        mode.watch = before


class no_grad(_Switch):
    """Within it, results do not require gradients: `with no_grad():` or `@no_grad()`."""

    def __init__(self) -> None:
        super().__init__("grad", False)

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else no_grad()(function)  # `@no_grad` without brackets, as torch allows


class enable_grad(_Switch):
    """The opposite of `no_grad`, for a stretch inside it."""

    def __init__(self) -> None:
        super().__init__("grad", True)


class set_grad_enabled(_Switch):
    """`with set_grad_enabled(training):` is `no_grad` where it is False."""

    def __init__(self, enabled: bool) -> None:
        super().__init__("grad", bool(enabled))


class tracing(_Switch):
    """Within it every operation leaves a node, gradient or not."""

    def __init__(self) -> None:
        super().__init__("trace", True)


def is_grad_enabled() -> bool:
    """Whether results remember how they were made."""
    return mode.grad


def _as_read(node: Node) -> None:
    """RuntimeError where something that the node's backward reads was written in place since."""
    for what, version, count in node.kept:
        if version[0] != count:
            if isinstance(what, int):
                t = None if what < 0 else node.inputs[what]
                what = "the result" if t is None else f"input {what}, {t.dtype} of shape {t.shape},"
            raise RuntimeError(
                f"one of the variables needed for gradient computation has been modified by an inplace operation: {node.op} wants "
                f"{what} at version {count}, it is at version {version[0]}. Change it after backward(), or change a clone()"
            )


def _freed(*_: Array | None) -> tuple[Array | None, ...]:
    raise RuntimeError(
        "backward went through a part of the graph a second time; its values were freed after the first. "
        "Carry a state between chunks as state.detach(), or call backward(retain_graph=True) the first time"
    )


def gradients(root: Tensor, seed: Array, retain_graph: bool) -> Iterator[tuple[Tensor, Array]]:
    """The gradient of each leaf below `root`, which has a node; a leaf read by several nodes comes several times.

    The arrays may be shared with others: whoever keeps one copies it.  Without `retain_graph` each node drops what it kept, so that memory
    falls while the walk goes back.
    """
    assert root.node is not None
    below = {root.node}
    todo = [root.node]
    while todo:
        node = todo.pop()
        _as_read(node)  # before any gradient is changed
        for t in node.inputs:
            if t._requires_grad and t.node is not None and t.node not in below:
                if t.node.backward is _freed:
                    _freed()
                below.add(t.node)
                todo.append(t.node)
    waiting: dict[Node, list[Array | None]] = {n: [None] * n.outputs for n in below}
    waiting[root.node][root.index] = seed
    with np.errstate(all="ignore"):
        for node in sorted(below, key=lambda n: n.order, reverse=True):
            given = waiting.pop(node)
            inputs, back = node.inputs, node.backward(*given)
            if not retain_graph:
                node.backward, node.inputs, node.kept = _freed, (), ()
            for t, g in zip(inputs, back, strict=True):
                if g is None or not t._requires_grad:
                    continue
                if t.node is None:
                    yield t, g
                else:
                    sums = waiting[t.node]
                    old = sums[t.index]
                    sums[t.index] = g if old is None else old + g
