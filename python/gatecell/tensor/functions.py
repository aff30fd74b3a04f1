"""torch's functions of tensors: methods under their other name, and what joins several.  Not here: losses (functional.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import promote
from .methods import Dim
from .tensor import Operand, Tensor, apply


def _as(value: Operand, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(np.asarray(value, promote(like.data, value)))


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
    return Tensor._binary("maximum", input, other)


def minimum(input: Tensor, other: Operand) -> Tensor:
    return Tensor._binary("minimum", input, other)


def add(input: Operand, other: Operand) -> Tensor:
    return Tensor._binary("add", input, other)


def sub(input: Operand, other: Operand) -> Tensor:
    return Tensor._binary("sub", input, other)


def mul(input: Operand, other: Operand) -> Tensor:
    return Tensor._binary("mul", input, other)


def div(input: Operand, other: Operand) -> Tensor:
    return Tensor._binary("div", input, other)


def pow(input: Operand, exponent: Operand) -> Tensor:
    return Tensor._binary("pow", input, exponent)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    return input.matmul(other)


mm = bmm = matmul


def abs(input: Tensor) -> Tensor:
    return input.abs()


def exp(input: Tensor) -> Tensor:
    return input.exp()


def log(input: Tensor) -> Tensor:
    return input.log()


def sqrt(input: Tensor) -> Tensor:
    return input.sqrt()


def sin(input: Tensor) -> Tensor:
    return input.sin()


def cos(input: Tensor) -> Tensor:
    return input.cos()


def tanh(input: Tensor) -> Tensor:
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    return input.sigmoid()


def relu(input: Tensor) -> Tensor:
    return input.relu()


def softmax(input: Tensor, dim: int) -> Tensor:
    return input.softmax(dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    return input.log_softmax(dim)


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    return input.clamp(min, max)


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return input.sum(dim, keepdim)


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    return input.mean(dim, keepdim)


def var(input: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    return input.var(dim, correction, keepdim)


def std(input: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    return input.std(dim, correction, keepdim)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return input.max(dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return input.min(dim, keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return input.argmax(dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return input.argmin(dim, keepdim)


def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    return input.reshape(shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return input.flatten(start_dim, end_dim)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    return input.transpose(dim0, dim1)


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    return input.permute(dims)


def squeeze(input: Tensor, dim: int | None = None) -> Tensor:
    return input.squeeze(dim)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    return input.unsqueeze(dim)


def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    return input.flip(dims)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    return input.chunk(chunks, dim)


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    return tensor.split(split_size_or_sections, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    return input.unbind(dim)


def isnan(input: Tensor) -> Tensor:
    return input.isnan()


def isfinite(input: Tensor) -> Tensor:
    return input.isfinite()


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements agree."""
    return bool(np.array_equal(input.data, other.data))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    return bool(np.allclose(input.data, other.data, rtol, atol, equal_nan))
