"""Tensor's methods that are operations of the table: arithmetic, comparison, pointwise functions, reductions, shapes.

Not here: what they compute (ops.py), and what needs the tape or the memory itself (tensor.py, which provides `_op` and `_binary`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .checks import HasArray, tensor_of, what, whole
from .dtypes import Scalar, float32, int64

if TYPE_CHECKING:
    from .tensor import Tensor

    Operand: TypeAlias = Tensor | Scalar
Dim: TypeAlias = "int | Sequence[int] | None"


class Extreme(NamedTuple):
    """What `max` and `min` over one axis return."""

    values: Tensor
    indices: Tensor


class Methods(HasArray):
    """A part of Tensor, which provides what is abstract here."""

    __slots__ = ()

    @abstractmethod
    def _op(self, name: str, *others: Tensor, **attrs: Any) -> Tensor: ...

    @staticmethod
    @abstractmethod
    def _binary(name: str, a: Any, b: Any) -> Tensor: ...

    @abstractmethod
    def __getitem__(self, key: Any) -> Tensor: ...

    def _axis(self, dim: int, extra: int = 0) -> int:
        """An axis counted from the front; IndexError outside."""
        n, dim = self.data.ndim + extra, whole("dim", dim)
        if not -max(n, 1) <= dim < max(n, 1):
            raise IndexError(f"dim {dim} of a tensor of {n} axes: {-max(n, 1)} to {max(n, 1) - 1} wanted")
        return dim + n if dim < 0 else dim

    def _axes(self, dim: Dim) -> int | tuple[int, ...] | None:
        if dim is None or (isinstance(dim, Sequence) and not dim) or not self.data.ndim:
            return None
        return tuple(map(self._axis, dim)) if isinstance(dim, Sequence) else self._axis(dim)

    # Arithmetic.

    def __add__(self, other: Operand) -> Tensor:
        return self._binary("add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return self._binary("add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return self._binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return self._binary("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return self._binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return self._binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return self._binary("div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return self._binary("div", other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return self._binary("floor_divide", self, other)

    def __mod__(self, other: Operand) -> Tensor:
        return self._binary("remainder", self, other)

    def __pow__(self, other: Operand) -> Tensor:
        return self._binary("pow", self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return self._binary("pow", other, self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return self.matmul(other)

    def matmul(self, other: Tensor) -> Tensor:
        """The matrix product over the last axis of this and the last but one of `other` (its only one if it is a vector)."""
        if not isinstance(other, Methods):
            raise TypeError(f"matmul: a Tensor wanted, got {type(other).__name__}")
        a, b = self.data, other.data
        if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
            raise ValueError(f"matmul: (..., n) by (n, m) wanted, got {a.shape} by {b.shape}")
        if a.dtype != b.dtype:
            raise TypeError(f"matmul: two of one dtype wanted, got {a.dtype} and {b.dtype}")
        return self._op("matmul", other)

    mm = bmm = matmul

    def __neg__(self) -> Tensor:
        return self._op("neg")

    def __abs__(self) -> Tensor:
        return self._op("abs")

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # element by element, where `object` promises a bool
        return self._binary("eq", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]  # as before
        return self._binary("ne", self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return self._binary("lt", self, other)

    def __le__(self, other: Operand) -> Tensor:
        return self._binary("le", self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return self._binary("gt", self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return self._binary("ge", self, other)

    def __and__(self, other: Operand) -> Tensor:
        return self._binary("and", self, other)

    def __or__(self, other: Operand) -> Tensor:
        return self._binary("or", self, other)

    def __invert__(self) -> Tensor:
        return self._op("invert")

    # Pointwise functions: of integers, they give float32.

    def _real(self, name: str, **attrs: Any) -> Tensor:
        return self._op(name, **attrs) if self.data.dtype.kind == "f" else self._op("cast", dtype=float32)._op(name, **attrs)

    def abs(self) -> Tensor:
        return self._op("abs")

    def neg(self) -> Tensor:
        return self._op("neg")

    def exp(self) -> Tensor:
        return self._real("exp")

    def log(self) -> Tensor:
        return self._real("log")

    def sqrt(self) -> Tensor:
        return self._real("sqrt")

    def sin(self) -> Tensor:
        return self._real("sin")

    def cos(self) -> Tensor:
        return self._real("cos")

    def tanh(self) -> Tensor:
        return self._real("tanh")

    def sigmoid(self) -> Tensor:
        return self._real("sigmoid")

    def relu(self) -> Tensor:
        return self._op("relu")

    def sign(self) -> Tensor:
        return self._op("sign")

    def pow(self, exponent: Operand) -> Tensor:
        return self._binary("pow", self, exponent)

    def square(self) -> Tensor:
        return self._binary("mul", self, self)

    def add(self, other: Operand) -> Tensor:
        return self._binary("add", self, other)

    def sub(self, other: Operand) -> Tensor:
        return self._binary("sub", self, other)

    def mul(self, other: Operand) -> Tensor:
        return self._binary("mul", self, other)

    def div(self, other: Operand) -> Tensor:
        return self._binary("div", self, other)

    def clamp(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Each element brought into [min, max]; None: no limit on that side."""
        return self._op("clamp", low=min, high=max)

    clip = clamp

    def masked_fill(self, mask: Tensor, value: Scalar) -> Tensor:
        """`value` where `mask` (bool, broadcast) is True."""
        if not isinstance(mask, HasArray) or mask.data.dtype != bool:
            raise TypeError(f"masked_fill: a Tensor of bool wanted, got {what(mask)}")
        return self._op("masked_fill", mask, value=value)

    def isnan(self) -> Tensor:
        return self._op("isnan")

    def isfinite(self) -> Tensor:
        return self._op("isfinite")

    def softmax(self, dim: int) -> Tensor:
        return self._real("softmax", dim=self._axis(dim))

    def log_softmax(self, dim: int) -> Tensor:
        return self._real("log_softmax", dim=self._axis(dim))

    # Reductions: over one axis, several, or (dim None) all.

    def sum(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """The sum; of booleans and integers an int64."""
        whole = self._op("cast", dtype=int64) if self.data.dtype.kind in "bui" and self.data.dtype != int64 else self
        return whole._op("sum", dim=self._axes(dim), keepdim=keepdim)

    def mean(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        if self.data.dtype.kind != "f":
            raise TypeError(f"mean: floats wanted, got {self.data.dtype}")
        return self._op("mean", dim=self._axes(dim), keepdim=keepdim)

    def var(self, dim: Dim = None, correction: int = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
        """The variance: squared distances from the mean, summed, over (count - correction)."""
        centred = self._binary("sub", self, self.mean(dim, keepdim=True))
        squares = centred.square()
        n = squares.data.size // max(centred.mean(dim).data.size, 1)
        total = squares.sum(dim, keepdim)
        return self._binary("div", total, float(max(n - (correction if unbiased is None else int(unbiased)), 0)))

    def std(self, dim: Dim = None, correction: int = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
        return self.var(dim, correction, keepdim, unbiased).sqrt()

    def _extreme(self, which: str, arg: str, dim: int | None, keepdim: bool) -> Any:
        if not self.data.size:
            raise ValueError(f"{which[1:]} of no elements: shape {self.data.shape}")
        if dim is None:
            return self._op(which)
        axis = self._axis(dim)
        if not self.data.ndim:
            return Extreme(self._op("clone"), self._op(arg, dim=None))
        index = np.expand_dims(getattr(np, arg)(self.data, axis=axis), axis)
        values = self._op("pick", index=index, dim=axis)
        indices = self._op(arg, dim=axis)
        return Extreme(values, indices.unsqueeze(axis)) if keepdim else Extreme(values.squeeze(axis), indices)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The largest of all; over one axis (values, indices); with another tensor, the larger of each pair."""
        return self._binary("maximum", self, dim) if isinstance(dim, Methods) else self._extreme("amax", "argmax", dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        return self._binary("minimum", self, dim) if isinstance(dim, Methods) else self._extreme("amin", "argmin", dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        y = self._op("argmax", dim=None if dim is None else self._axis(dim))
        return y.unsqueeze(self._axis(dim)) if keepdim and dim is not None else y

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        y = self._op("argmin", dim=None if dim is None else self._axis(dim))
        return y.unsqueeze(self._axis(dim)) if keepdim and dim is not None else y

    def norm(self) -> Tensor:
        """The Euclidean length of all elements together."""
        return self.square().sum().sqrt()

    def all(self) -> Tensor:
        return self._op("all")

    def any(self) -> Tensor:
        return self._op("any")

    # Shapes: views of the same memory where NumPy can.

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one length may be -1."""
        return self._op("reshape", shape=_flat(shape))

    view = reshape

    def view_as(self, other: Tensor) -> Tensor:
        return self.reshape(tensor_of("view_as", other).shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        shape = self.data.shape or (1,)
        first, last = self._axis(start_dim), self._axis(end_dim)
        return self.reshape((*shape[:first], int(np.prod(shape[first:last + 1])), *shape[last + 1:]))

    def permute(self, *dims: Any) -> Tensor:
        axes = tuple(map(self._axis, _flat(dims)))
        if sorted(axes) != list(range(self.data.ndim)):
            raise ValueError(f"permute: each of the {self.data.ndim} axes once wanted, got {axes}")
        return self._op("permute", axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        axes = list(range(self.data.ndim))
        a, b = self._axis(dim0), self._axis(dim1)
        if axes:
            axes[a], axes[b] = b, a
        return self._op("permute", axes=tuple(axes))

    def t(self) -> Tensor:
        if self.data.ndim > 2:
            raise ValueError(f"t: at most two axes wanted, got {self.data.ndim}")
        return self._op("permute", axes=tuple(reversed(range(self.data.ndim))))

    @property
    def T(self) -> Tensor:
        return self._op("permute", axes=tuple(reversed(range(self.data.ndim))))

    def squeeze(self, dim: int | None = None) -> Tensor:
        """Without its axes of length 1, or without that one if its length is 1."""
        axis = None if dim is None else self._axis(dim)
        return self._op("reshape", shape=tuple([n for i, n in enumerate(self.data.shape) if n != 1 or (axis is not None and i != axis)]))

    def unsqueeze(self, dim: int) -> Tensor:
        axis = self._axis(dim, 1)
        return self._op("reshape", shape=(*self.data.shape[:axis], 1, *self.data.shape[axis:]))

    def expand(self, *sizes: Any) -> Tensor:
        """Axes of length 1, and new ones in front, repeated without copying; -1 keeps a length."""
        shape = _flat(sizes)
        own = (1,) * (len(shape) - self.data.ndim) + self.data.shape
        return self._op("expand", shape=tuple(m if n == -1 else n for n, m in zip(shape, own, strict=True)))

    def expand_as(self, other: Tensor) -> Tensor:
        return self.expand(tensor_of("expand_as", other).shape)

    def repeat(self, *sizes: Any) -> Tensor:
        """The whole, tiled `sizes` times along its axes (new ones in front)."""
        counts = _flat(sizes)
        own = (1,) * (len(counts) - self.data.ndim) + self.data.shape
        apart = self.reshape(tuple(n for m in own for n in (1, m)))
        tiled = apart.expand(tuple(n for m, k in zip(own, counts, strict=True) for n in (k, m)))
        return tiled.reshape(tuple(m * k for m, k in zip(own, counts, strict=True)))

    def flip(self, *dims: Any) -> Tensor:
        return self._op("flip", axis=tuple(map(self._axis, _flat(dims))))

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces of that length along `dim` (the last may be shorter), or of the lengths listed."""
        axis = self._axis(dim)
        n = self.data.shape[axis]
        if isinstance(split_size, int):
            if split_size < 1:
                raise ValueError(f"split: a length of at least 1 wanted, got {split_size}")
            split_size = [split_size] * (n // split_size) + [n % split_size] * (n % split_size > 0)
        sizes = list(split_size)
        if sum(sizes) != n:
            raise ValueError(f"split: lengths that add up to {n} wanted, got {sizes}")
        ends = np.cumsum(sizes)
        return tuple(self[(slice(None),) * axis + (slice(int(e) - s, int(e)),)] for e, s in zip(ends, sizes, strict=True))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of equal length along `dim` (the last may be shorter)."""
        if chunks < 1:
            raise ValueError(f"chunk: at least 1 piece wanted, got {chunks}")
        return self.split(max(-(-self.data.shape[self._axis(dim)] // chunks), 1), dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        axis = self._axis(dim)
        return tuple(self[(slice(None),) * axis + (i,)] for i in range(self.data.shape[axis]))


def _flat(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    return tuple(whole("size", n) for n in (sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence) else sizes))
