"""Layers without a recurrence: Linear, Embedding, Standardize, ..., and functions as modules. Recurrent ones: recurrent.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..tensor import functional as F
from ..tensor.tensor import Tensor
from . import init
from .module import Module, Parameter, positive, probability, to_tensor


class Linear(Module):
    """y = x A^T + b: input (..., in_features), output (..., out_features); weight (out_features, in_features), bias (out_features,).

    Both start uniform over +-1/sqrt(in_features), as torch's.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None) -> None:
        self.in_features, self.out_features = positive("in_features", in_features), positive("out_features", out_features)
        self.weight = Parameter(np.empty((self.out_features, self.in_features), dtype or np.float32))
        self.bias = Parameter(np.empty(self.out_features, dtype or np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.in_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Tensor:
        x = to_tensor(input, self.weight.dtype)
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ValueError(f"input: wanted {self.in_features} features in the last dimension, got shape {tuple(x.shape)}")
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """Rows of `weight` (num_embeddings, embedding_dim) by number: input (...) of integers, output (..., embedding_dim).

    padding_idx: a row that starts at zero and gets no gradient. Rows start from a normal distribution with variance 1.
    TypeError: input that is not of integers. IndexError: a number outside 0 .. num_embeddings - 1.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, dtype: Any = None) -> None:
        self.num_embeddings, self.embedding_dim = positive("num_embeddings", num_embeddings), positive("embedding_dim", embedding_dim)
        if padding_idx is not None and not -self.num_embeddings <= padding_idx < self.num_embeddings:
            raise ValueError(f"padding_idx wants a row of {num_embeddings}, got {padding_idx}")
        self.padding_idx = None if padding_idx is None else padding_idx % self.num_embeddings
        self.weight = Parameter(np.empty((self.num_embeddings, self.embedding_dim), dtype or np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: Any) -> Tensor:
        if not isinstance(input, (Tensor, np.ndarray)):
            raise TypeError(f"input: wanted a Tensor or a NumPy array of integers, got {type(input).__name__}")
        tokens = input if isinstance(input, Tensor) else Tensor(input)
        return F.embedding(tokens, self.weight, padding_idx=self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """Zero mean and unit variance over the last dimension(s), then weight and bias per element (Ba, Kiros & Hinton 2016)."""

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape, self.eps = tuple(positive("normalized_shape", n) for n in shape), eps
        self.elementwise_affine = elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape, dtype or np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype or np.float32)) if elementwise_affine and bias else None

    def forward(self, input: Any) -> Tensor:
        x = to_tensor(input, self.dtype)
        n = len(self.normalized_shape)
        if tuple(x.shape[-n:]) != self.normalized_shape:
            raise ValueError(f"input: wanted last dimensions {self.normalized_shape}, got shape {tuple(x.shape)}")
        dims = tuple(range(-n, 0))
        d = x - x.mean(dims, keepdim=True)
        y = d / ((d * d).mean(dims, keepdim=True) + self.eps).sqrt()
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class Standardize(Module):
    """(x - mean) / std per feature: units travel with the model, to the chip too. Not trained; in the state_dict as `mean`, `std`.

    mean, std: numbers or arrays (I,), of one shape. input (..., I). TypeError: not real numbers. ValueError: shapes that differ, more than
    one dimension, values that are not finite, std not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: npt.ArrayLike, std: npt.ArrayLike, dtype: Any = None) -> None:
        center, scale = (_statistic(name, value, np.dtype(dtype or np.float32)) for name, value in (("mean", mean), ("std", std)))
        if center.shape != scale.shape:
            raise ValueError(f"mean and std want one shape, got {center.shape} and {scale.shape}")
        if not (scale > 0).all():
            raise ValueError(f"std wants positive numbers, got {scale[~(scale > 0)][0] if scale.ndim else scale}")
        self.register_buffer("mean", center)
        self.register_buffer("std", scale)

    def forward(self, input: Any) -> Tensor:
        x = to_tensor(input, self.mean.dtype)
        if self.mean.ndim and (not x.ndim or x.shape[-1] != self.mean.shape[0]):
            raise ValueError(f"input: wanted {self.mean.shape[0]} features in the last dimension, got shape {tuple(x.shape)}")
        return (x - self.mean) / self.std

    def inverse(self) -> Standardize:
        """The layer that takes standardised values back to the units: y * std + mean, as a Standardize of its own."""
        mean, std = self.mean.data.astype(np.float64), self.std.data.astype(np.float64)
        return Standardize(-mean / std, 1 / std, dtype=self.mean.dtype)

    def extra_repr(self) -> str:
        return f"features={self.mean.shape[0]}" if self.mean.ndim else f"mean={self.mean.item():g}, std={self.std.item():g}"


class Dropout(Module):
    """While training: zeroes each element with probability p and scales the rest by 1 / (1 - p). Otherwise the identity."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        self.p = probability("p", p)
        self.inplace = inplace  # torch's argument; the result is a new Tensor either way

    def forward(self, input: Any) -> Tensor:
        x = to_tensor(input, None)
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Identity(Module):
    """Returns its input. Arguments are accepted and unused, as in torch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Joins the dimensions start_dim .. end_dim into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Tensor:
        return to_tensor(input, None).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Tanh(Module):
    """The hyperbolic tangent, element by element."""

    def forward(self, input: Any) -> Tensor:
        return to_tensor(input, None).tanh()


class Sigmoid(Module):
    """1 / (1 + exp(-x)), element by element."""

    def forward(self, input: Any) -> Tensor:
        return to_tensor(input, None).sigmoid()


class ReLU(Module):
    """max(x, 0), element by element."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace  # torch's argument; the result is a new Tensor either way

    def forward(self, input: Any) -> Tensor:
        return to_tensor(input, None).relu()


class Softmax(Module):
    """exp(x) over its sum along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        return to_tensor(input, None).softmax(self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of Softmax, computed without it."""

    def forward(self, input: Any) -> Tensor:
        return to_tensor(input, None).log_softmax(self.dim)


def _statistic(name: str, value: npt.ArrayLike, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    array = np.array(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} wants real numbers, got dtype {array.dtype}")
    array = array.astype(dtype)
    if array.ndim > 1:
        raise ValueError(f"{name} wants a number or one per feature, shape (I,), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} wants finite numbers of {dtype}, got {array[~np.isfinite(array)][0] if array.ndim else array}")
    return array
