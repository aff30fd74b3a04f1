"""Tensors from numbers, arrays and the random stream, with torch's names.  Not here: functions of tensors (functions.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import random
from .checks import wants, whole
from .device import device as Device
from .dtypes import Array, DType, Scalar, as_dtype, float32, int64, scalar_dtype
from .tensor import Tensor


def tensor(data: Any, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested sequences, an array, a Tensor.

    Arrays keep their dtype; Python floats become float32, integers int64.  TypeError for other kinds, ValueError for ragged sequences.
    """
    _check(device)
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if first is not data and isinstance(first, Tensor):
        data = _arrays(data)
    array = np.array(data.data if isinstance(data, Tensor) else data)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"tensor: real numbers wanted, got {array.dtype} from {type(data).__name__}")
    if dtype is None and not isinstance(first, (np.ndarray, np.generic, Tensor)) and array.dtype.kind in "fiu":
        dtype = float32 if array.dtype.kind == "f" else int64
    return Tensor(array.astype(as_dtype(array.dtype if dtype is None else dtype), copy=False), requires_grad)


def FloatTensor(data: Any) -> Tensor:
    """`tensor(data, dtype=float32)`, under torch's older name."""
    return tensor(data, dtype=float32)


def LongTensor(data: Any) -> Tensor:
    """`tensor(data, dtype=int64)`, under torch's older name."""
    return tensor(data, dtype=int64)


def _arrays(data: Any) -> Any:
    return [_arrays(d) for d in data] if isinstance(data, (list, tuple)) else data.data if isinstance(data, Tensor) else data


def as_tensor(data: Any, dtype: DType = None) -> Tensor:
    """`data` as a tensor, memory shared where it already is an array of that dtype."""
    if isinstance(data, Tensor):
        return data.to(dtype) if dtype is not None else data
    return from_numpy(data).to(dtype) if isinstance(data, np.ndarray) else tensor(data, dtype)


def from_numpy(array: Array) -> Tensor:
    """A tensor over the array's own memory, of its dtype; TypeError for a dtype that tensors do not have."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: an ndarray wanted, got {type(array).__name__}")
    as_dtype(array.dtype)
    return Tensor(array)


def _check(device: Any) -> None:
    if device is not None:
        Device(device)


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence; ValueError where one is negative."""
    shape = tuple(whole("size", n) for n in (size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size))
    if any(n < 0 for n in shape):
        raise ValueError(f"sizes >= 0 wanted, got {shape}")
    return shape


def zeros(*size: Any, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros of that shape."""
    _check(device)
    return Tensor(np.zeros(_shape(size), as_dtype(dtype or float32)), requires_grad)


def ones(*size: Any, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Ones of that shape."""
    _check(device)
    return Tensor(np.ones(_shape(size), as_dtype(dtype or float32)), requires_grad)


def empty(*size: Any, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Of no particular values: zeros here."""
    return zeros(*size, dtype=dtype, requires_grad=requires_grad, device=device)


def full(size: Sequence[int], fill_value: Scalar, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """`fill_value` everywhere; its type decides the dtype."""
    _check(device)
    return Tensor(np.full(_shape((size,)), fill_value, as_dtype(dtype or scalar_dtype(fill_value))), requires_grad)


@wants("like")
def zeros_like(like: Tensor, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of `like`."""
    return zeros(like.shape, dtype=dtype or like.dtype, requires_grad=requires_grad)


@wants("like")
def ones_like(like: Tensor, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of `like`."""
    return ones(like.shape, dtype=dtype or like.dtype, requires_grad=requires_grad)


@wants("like")
def full_like(like: Tensor, fill_value: Scalar, dtype: DType = None) -> Tensor:
    """`fill_value` in the shape and dtype of `like`."""
    return full(like.shape, fill_value, dtype=dtype or like.dtype)


empty_like = zeros_like


def eye(n: int, m: int | None = None, dtype: DType = None) -> Tensor:
    """The identity matrix (n, n), or (n, m)."""
    return Tensor(np.eye(n, m, dtype=as_dtype(dtype or float32)))


def arange(start: Scalar, end: Scalar | None = None, step: Scalar = 1, dtype: DType = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... below `end`; int64 of integers, float32 once a float is among them."""
    first, last = (0, start) if end is None else (start, end)
    kinds = [scalar_dtype(v) for v in (first, last, step)]
    values = np.arange(*(v.item() if isinstance(v, np.generic) else v for v in (first, last, step)))
    return Tensor(values.astype(as_dtype(dtype or (float32 if float32 in kinds else int64))), requires_grad)


def linspace(start: float, end: float, steps: int, dtype: DType = None) -> Tensor:
    """`steps` numbers from start to end, both included."""
    return Tensor(np.linspace(start, end, steps).astype(as_dtype(dtype or float32)))


def randn(*size: Any, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Normal, mean 0, variance 1."""
    _check(device)
    return Tensor(random.normal(_shape(size), _real(dtype)), requires_grad)


def rand(*size: Any, dtype: DType = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Uniform in [0, 1)."""
    _check(device)
    return Tensor(random.uniform(0.0, 1.0, _shape(size), _real(dtype)), requires_grad)


def _real(dtype: DType) -> np.dtype[Any]:
    found = as_dtype(dtype or float32)
    if found.kind != "f":
        raise TypeError(f"random numbers of float32 or float64 wanted, got {found}")
    return found


@wants("like")
def randn_like(like: Tensor) -> Tensor:
    """Normal numbers in the shape and dtype of `like`."""
    return randn(like.shape, dtype=like.dtype)


@wants("like")
def rand_like(like: Tensor) -> Tensor:
    """Uniform numbers in the shape and dtype of `like`."""
    return rand(like.shape, dtype=like.dtype)


def randint(low: int, high: Any, size: Any = None, dtype: DType = None) -> Tensor:
    """Integers in [low, high), or `randint(high, size)` in [0, high)."""
    if size is None:
        low, high, size = 0, low, high
    if high <= low:
        raise ValueError(f"randint: low < high wanted, got {low} and {high}")
    return Tensor(random.generator().integers(low, high, _shape((size,))).astype(as_dtype(dtype or int64)))


def randperm(n: int) -> Tensor:
    """The numbers 0 .. n-1 in random order."""
    return Tensor(random.generator().permutation(n).astype(int64))


@wants("probabilities")
def bernoulli(probabilities: Tensor) -> Tensor:
    """1 with the probability given for its place, else 0."""
    p = probabilities.data
    return Tensor((random.uniform(0.0, 1.0, p.shape, np.float64) < p).astype(p.dtype))


@wants("weights")
def multinomial(weights: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """Indices drawn in proportion to `weights` (N,) or (B, N) >= 0: int64 (num_samples,) or (B, num_samples)."""
    w = np.asarray(weights.data, np.float64)
    rows = w.reshape(-1, w.shape[-1]) if w.ndim else w
    if w.ndim not in (1, 2) or not np.isfinite(rows).all() or (rows < 0).any() or (rows.sum(axis=1) <= 0).any():
        raise ValueError(f"multinomial: weights (N,) or (B, N), >= 0 with a positive sum in each row, wanted; got shape {w.shape}")
    if not replacement and num_samples > (most := int((rows > 0).sum(axis=1).min())):
        raise ValueError(f"multinomial: at most {most} without replacement wanted, as many as have a weight, got {num_samples}")
    picked = [random.generator().choice(rows.shape[1], num_samples, replacement, row / row.sum()) for row in rows]
    return Tensor(np.asarray(picked, np.int64).reshape(*w.shape[:-1], num_samples))
