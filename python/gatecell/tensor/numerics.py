"""Functions and sums whose float32 bits depend on their arguments alone: not on neighbours, memory, threads or the instruction set.

NumPy promises this of + - * / and square roots.  Its sums go in the order of memory; its exp, tanh, log and powers are the best of each
machine.  What is here runs on the core, or is spelled in operations that IEEE 754 fixes.  float64, which is for checking, is NumPy's but
for sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

import gatecell._core as _core

from .dtypes import Array, float32, float64
from .products import plain


def _on_core(name: str, otherwise: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def function(a: Array) -> Array:
        return _core.function(name, plain(np.asarray(a))) if a.dtype == float32 else np.asarray(otherwise(a))

    return function


exp = _on_core("exp", np.exp)
tanh = _on_core("tanh", np.tanh)
sigmoid = _on_core("sigmoid", lambda a: np.asarray(1 / (1 + np.exp(-a))))
log_sigmoid = _on_core("log_sigmoid", lambda a: np.asarray(np.minimum(a, 0) - np.log1p(np.exp(-np.abs(a)))))


def log(a: Array) -> Array:
    """Natural logarithm; of float32 within 0.501 units in the last place."""
    if a.dtype != float32:
        return np.asarray(np.log(a))
    flat = plain(np.asarray(a)).reshape(-1)
    out = np.empty_like(flat)
    for begin in range(0, len(flat), 4096):  # pieces that stay in the cache
        piece = slice(begin, begin + 4096)
        out[piece] = _log(flat[piece].astype(float64))
    return out.reshape(np.shape(a))


def _log(a: Array) -> Array:
    """To 1e-10 relative, in operations that are the same everywhere."""
    m, e = np.frexp(a)  # a = m 2^e with 0.5 <= m < 1
    low = m < math.sqrt(0.5)
    m *= low + 1
    s = (m - 1) / (m + 1)  # log m = 2 artanh s = 2 (s + s^3 / 3 + ...), |s| < 0.172
    square, series = s * s, np.full(len(s), 1 / 11)
    for k in range(9, 0, -2):
        series *= square
        series += 1 / k
    y: Array = (e - low) * math.log(2) + 2 * s * series
    usual = (a > 0) & (a < math.inf)
    return y if usual.all() else np.where(usual, y, np.where(a == 0, -math.inf, np.where(a > 0, a, math.nan)))


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


def total(a: Array, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Array:
    """The sum over one axis, several, or all (None), term by term in the order of the indices, as cpp/src/sums.cpp adds them."""
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
