"""Writing into a tensor: in-place methods, assignment to parts of it, and the count of writes by which backward() notices them.

Not here: operations that make new tensors (methods.py).  What is done to `data`, or to the array of `numpy()`, is counted as little as by
torch: `changed()` says so afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from ..errors import Unsupported
from . import autograd, random
from .autograd import Node, Version, mode
from .dtypes import Array, Scalar
from .methods import Methods

if TYPE_CHECKING:
    from .tensor import Tensor

    Operand: TypeAlias = Tensor | Scalar
S = TypeVar("S", bound="InPlace")


class InPlace(Methods):
    """A part of Tensor."""

    __slots__ = ()
    node: Node | None
    version: Version
    _requires_grad: bool

    def changed(self: S) -> S:
        """Count a write: backward() of what still needs the old values is a RuntimeError from now on.  Every method here does it."""
        self.version[0] += 1
        return self

    def zero_(self: S) -> S:
        return self.fill_(0)

    def fill_(self: S, value: Scalar) -> S:
        self._writable()
        self.data.fill(value)
        return self.changed()

    def copy_(self: S, source: Tensor | Array) -> S:
        """Overwrite the elements by those of `source` (broadcast, cast)."""
        self._writable(source)
        np.copyto(self.data, np.asarray(source), casting="unsafe")
        return self.changed()

    def uniform_(self: S, low: float = 0.0, high: float = 1.0) -> S:
        self._writable()
        self.data[...] = random.uniform(low, high, self.data.shape)
        return self.changed()

    def normal_(self: S, mean: float = 0.0, std: float = 1.0) -> S:
        self._writable()
        self.data[...] = random.normal(self.data.shape) * std + mean
        return self.changed()

    def _followed(self) -> bool:
        """Whether the tape would want to know of a change."""
        return (self._requires_grad and mode.grad) or (self.node is not None and mode.trace)

    def _writable(self, *sources: Any) -> None:
        """RuntimeError where a write would escape the tape, Unsupported where it would escape a trace."""
        for t in (self, *sources):
            if isinstance(t, InPlace) and t._followed():
                if mode.trace:
                    raise Unsupported(f"a write into a tensor at {autograd.user_line()} cannot run step by step: use cat, stack or where")
                raise RuntimeError(
                    "writing into a tensor, or from one, that the tape follows: do it under no_grad(), "
                    "or make a new tensor with where, cat or stack"
                )

    def __setitem__(self, key: Any, value: Operand | Array) -> None:
        self._writable(value)
        self.data[plain_key(key)] = np.asarray(value)
        self.changed()

    def __iadd__(self: S, other: Operand) -> Tensor:
        return self._update("add", other)

    def __isub__(self: S, other: Operand) -> Tensor:
        return self._update("sub", other)

    def __imul__(self: S, other: Operand) -> Tensor:
        return self._update("mul", other)

    def __itruediv__(self: S, other: Operand) -> Tensor:
        return self._update("div", other)

    def add_(self: S, other: Operand, alpha: float = 1) -> Tensor:
        """self += alpha * other, in place."""
        return self._in_place("add", other if alpha == 1 else self._binary("mul", other, alpha))

    def sub_(self: S, other: Operand, alpha: float = 1) -> Tensor:
        """self -= alpha * other, in place."""
        return self._in_place("sub", other if alpha == 1 else self._binary("mul", other, alpha))

    def mul_(self: S, other: Operand) -> Tensor:
        """self *= other, in place."""
        return self._in_place("mul", other)

    def div_(self: S, other: Operand) -> Tensor:
        """self /= other, in place."""
        return self._in_place("div", other)

    def _in_place(self: S, name: str, other: Operand) -> Tensor:
        self._writable(other)
        return self._update(name, other)

    def _update(self: S, name: str, other: Operand) -> Tensor:
        """`a += b`: in place where the tape does not follow; else a new tensor under the old name (other names keep the old value)."""
        if self._followed() or (isinstance(other, InPlace) and other._followed()):
            if self._requires_grad and self.node is None:
                raise RuntimeError("a leaf that requires a gradient cannot change in place: do it under no_grad()")
            return self._binary(name, self, other)
        np.copyto(self.data, self._binary(name, self, other).data, casting="same_kind")
        return cast("Tensor", self.changed())


def plain_key(key: Any) -> tuple[Any, ...]:
    """An index as NumPy takes it: Tensors become arrays, lists stay."""
    return tuple(k.data if isinstance(k, InPlace) else k for k in (key if isinstance(key, tuple) else (key,)))
