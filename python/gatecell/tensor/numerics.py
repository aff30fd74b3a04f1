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


def exp(a: Array) -> Array:
    """e^a: float32 on the core, with the largest error that it states."""
    return _core.function("exp", plain(np.asarray(a))) if a.dtype == float32 else np.asarray(np.exp(a))


def tanh(a: Array) -> Array:
    return _core.function("tanh", plain(np.asarray(a))) if a.dtype == float32 else np.asarray(np.tanh(a))


def sigmoid(a: Array) -> Array:
    """1 / (1 + e^-a): exactly 0 and 1 at the ends."""
    return np.asarray(1 / (1 + exp(np.negative(a))))


def log_sigmoid(a: Array) -> Array:
    """log sigmoid(a) without its overflow: min(a, 0) - log(1 + e^-|a|)."""
    e = exp(-np.abs(a))
    return np.asarray(np.minimum(a, 0) - (_rounded(_log_of_1_and, e) if a.dtype == float32 else np.log1p(e)))


def log(a: Array) -> Array:
    """Natural logarithm; of float32 within 0.501 units in the last place."""
    return _rounded(_log, a) if a.dtype == float32 else np.asarray(np.log(a))


def _rounded(function: Callable[[Array], Array], a: Array) -> Array:
    """Of float32 by way of float64, a piece at a time that stays in the cache."""
    flat = plain(np.asarray(a)).reshape(-1)
    out = np.empty_like(flat)
    for begin in range(0, len(flat), 4096):
        piece = slice(begin, begin + 4096)
        out[piece] = function(flat[piece].astype(float64))
    return out.reshape(np.shape(a))


def _log_of_1_and(e: Array) -> Array:
    """log(1 + e) for e in [0, 1]."""
    return _two_artanh(e / (e + 2), 19)


def _log(a: Array) -> Array:
    m, e = np.frexp(a)  # a = m 2^e with 0.5 <= m < 1
    low = m < math.sqrt(0.5)
    m *= low + 1
    y = (e - low) * math.log(2) + _two_artanh((m - 1) / (m + 1), 11)
    usual = (a > 0) & (a < math.inf)
    return y if usual.all() else np.where(usual, y, np.where(a == 0, -math.inf, np.where(a > 0, a, math.nan)))


def _two_artanh(s: Array, terms: int) -> Array:
    """log((1 + s) / (1 - s)), the series s + s^3 / 3 + ... + s^terms / terms, doubled: to 1e-11 for |s| <= 0.172 and 11, 1/3 and 19."""
    square, series = s * s, np.full(len(s), 1 / terms)
    for k in range(terms - 2, 0, -2):
        series *= square
        series += 1 / k
    series *= s
    series *= 2
    return series


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
