"""Functions and sums whose float32 bits depend on their arguments alone: not on neighbours, memory, threads or the instruction set.

NumPy promises this of + - * / and square roots.  Its sums go in the order of memory; its exp, tanh, log and powers are the best of each
machine.  What is here runs on the core, or is spelled in operations that IEEE 754 fixes.  float64 is for checking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import gatecell._core as _core

from .dtypes import Array, float32, float64
from .engine import plain
from .ufuncs import exp, log, log_sigmoid, sigmoid, tanh

__all__ = ["exp", "log", "log_sigmoid", "power", "sigmoid", "tanh", "total"]


def power(a: Array, b: Array) -> Array:
    """a ** b; small whole powers as products, the others are NumPy's."""
    if not b.ndim and a.dtype.kind == "f":
        if b == 2:
            return np.asarray(a * a)
        if b == 3:
            return np.asarray(a * a * a)
        if b == 1:
            return np.array(a)
        if b == -1:
            return np.asarray(1 / a)
    return np.asarray(np.power(a, b))


def total(a: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Any:
    """The sum over one axis, several, or all (None), term by term in the order of the indices, as cpp/src/sums.cpp adds them."""
    if not isinstance(a, np.ndarray):  # a stream's value writes down that it is summed
        return a.sum(axis=dim, keepdims=keepdim)
    if dim is None and not keepdim and a.ndim and a.dtype in (float32, float64):
        return _core.sum(plain(a).reshape(1, a.size, 1)).reshape(())
    axes = tuple(range(a.ndim)) if dim is None else tuple(sorted(d % a.ndim for d in ((dim,) if isinstance(dim, int) else dim)))
    if a.dtype not in (float32, float64) or not axes:
        return np.asarray(a.sum(axis=axes, keepdims=keepdim))
    first, shape = axes[0], a.shape
    left = [n for d, n in enumerate(shape) if d not in axes]
    if axes[-1] - first + 1 > len(axes):  # apart: brought to the end
        a = np.moveaxis(a, axes, range(-len(axes), 0))
        first = len(left)
    terms, before = math.prod(shape[d] for d in axes), math.prod(a.shape[:first])
    sums = _core.sum(plain(a).reshape(before, terms, math.prod(a.shape[first + len(axes) :])))
    return sums.reshape([1 if d in axes else n for d, n in enumerate(shape)] if keepdim else left)
