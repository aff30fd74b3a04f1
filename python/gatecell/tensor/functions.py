"""torch's functions of tensors: methods under their other name, and what joins several.  Not here: losses (functional.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .checks import wants
from .dtypes import promote
from .methods import Dim
from .tensor import Operand, Tensor, apply


def _several(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    """A non-empty sequence of tensors, brought to one dtype."""
    if not isinstance(tensors, Sequence) or not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"{name}: a non-empty sequence of Tensors wanted, got {type(tensors).__name__}")
    dtype = promote(*(t.data for t in tensors))
    return [t.to(dtype) for t in tensors]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One after another along an axis they have; ValueError where their other axes differ."""
    ts = _several("cat", tensors)
    return apply("cat", *ts, dim=ts[0]._axis(dim))


concat = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Side by side along a new axis; ValueError where their shapes differ."""
    ts = _several("stack", tensors)
    return apply("stack", *ts, dim=ts[0]._axis(dim, 1))


def where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """`input` where the condition (bool) holds, else `other`; all broadcast."""
    if not isinstance(condition, Tensor) or condition.dtype != bool:
        raise TypeError(f"where: a Tensor of bool wanted, got {getattr(condition, 'dtype', type(condition).__name__)}")
    values = [v.data if isinstance(v, Tensor) else v for v in (input, other)]
    dtype = promote(*values)
    a, b = (v.to(dtype) if isinstance(v, Tensor) else Tensor(np.asarray(v, dtype)) for v in (input, other))
    return apply("where", condition, a, b)


def maximum(input: Tensor, other: Operand) -> Tensor:
    """The larger of each pair (broadcast); a tie shares the gradient."""
    return Tensor._binary("maximum", input, other)


def minimum(input: Tensor, other: Operand) -> Tensor:
    """The smaller of each pair (broadcast); a tie shares the gradient."""
    return Tensor._binary("minimum", input, other)


def add(input: Operand, other: Operand) -> Tensor:
    """input + other."""
    return Tensor._binary("add", input, other)


def sub(input: Operand, other: Operand) -> Tensor:
    """input - other."""
    return Tensor._binary("sub", input, other)


def mul(input: Operand, other: Operand) -> Tensor:
    """input * other."""
    return Tensor._binary("mul", input, other)


def div(input: Operand, other: Operand) -> Tensor:
    """input / other; float32 of integers."""
    return Tensor._binary("div", input, other)


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent."""
    return Tensor._binary("pow", input, exponent)


@wants("input", "other")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """input @ other: the product over the last axis and the last but one."""
    return input.matmul(other)


mm = bmm = matmul


@wants("input")
def abs(input: Tensor) -> Tensor:
    """|x|."""
    return input.abs()


@wants("input")
def exp(input: Tensor) -> Tensor:
    """e^x."""
    return input.exp()


@wants("input")
def log(input: Tensor) -> Tensor:
    """Natural logarithm."""
    return input.log()


@wants("input")
def sqrt(input: Tensor) -> Tensor:
    """Square root."""
    return input.sqrt()


@wants("input")
def sin(input: Tensor) -> Tensor:
    """Sine, x in radians."""
    return input.sin()


@wants("input")
def cos(input: Tensor) -> Tensor:
    """Cosine, x in radians."""
    return input.cos()


@wants("input")
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


@wants("input")
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return input.sigmoid()


@wants("input")
def relu(input: Tensor) -> Tensor:
    """x where it is above 0, else 0."""
    return input.relu()


@wants("input")
def softmax(input: Tensor, dim: int) -> Tensor:
    """e^x over its sum along `dim`."""
    return input.softmax(dim)


@wants("input")
def log_softmax(input: Tensor, dim: int) -> Tensor:
    """The logarithm of softmax, without its overflow."""
    return input.log_softmax(dim)


@wants("input")
def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Each element brought into [min, max]; None: no limit on that side."""
    return input.clamp(min, max)


@wants("input")
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim` (one axis, several, None: all)."""
    return input.sum(dim, keepdim)


@wants("input")
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The mean over `dim` (one axis, several, None: all)."""
    return input.mean(dim, keepdim)


@wants("input")
def var(input: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance over `dim`, over (count - correction)."""
    return input.var(dim, correction, keepdim)


@wants("input")
def std(input: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The square root of `var`."""
    return input.std(dim, correction, keepdim)


@wants("input")
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest of all; over `dim` (values, indices); of a tensor and another, the larger of each pair."""
    return input.max(dim, keepdim)


@wants("input")
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest of all; over `dim` (values, indices); of a tensor and another, the smaller of each pair."""
    return input.min(dim, keepdim)


@wants("input")
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest stands: int64, along `dim` or in the flattened whole."""
    return input.argmax(dim, keepdim)


@wants("input")
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest stands: int64, along `dim` or in the flattened whole."""
    return input.argmin(dim, keepdim)


@wants("input")
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape; one length may be -1."""
    return input.reshape(shape)


@wants("input")
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim as one."""
    return input.flatten(start_dim, end_dim)


@wants("input")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    return input.transpose(dim0, dim1)


@wants("input")
def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The axes in another order."""
    return input.permute(dims)


@wants("input")
def squeeze(input: Tensor, dim: int | None = None) -> Tensor:
    """Without the axes of length 1, or without that one if its length is 1."""
    return input.squeeze(dim)


@wants("input")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of length 1."""
    return input.unsqueeze(dim)


@wants("input")
def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Backwards along these axes."""
    return input.flip(dims)


@wants("input")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal length along `dim` (the last may be shorter)."""
    return input.chunk(chunks, dim)


@wants("tensor")
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of that length, or of the lengths listed, along `dim`."""
    return tensor.split(split_size_or_sections, dim)


@wants("input")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, without it."""
    return input.unbind(dim)


@wants("input")
def isnan(input: Tensor) -> Tensor:
    """Which elements are NaN."""
    return input.isnan()


@wants("input")
def isfinite(input: Tensor) -> Tensor:
    """Which elements are neither infinite nor NaN."""
    return input.isfinite()


def is_tensor(value: object) -> bool:
    """Whether `value` is a Tensor."""
    return isinstance(value, Tensor)


@wants("input", "other")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements agree."""
    return bool(np.array_equal(input.data, other.data))


@wants("input", "other")
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol |other| everywhere."""
    return bool(np.allclose(input.data, other.data, rtol, atol, equal_nan))
