"""Products by a matrix on the C++ core: linear layers, matrix products, and their gradients.  Not here: the tape, checks of arguments.

A linear layer is a page without memory, so that the core runs it as it runs a recurrence: every sum begins with the bias and goes over the
inputs in one order (cpp/src/product.inl).  A row's bits depend neither on the rows around it nor on how arrays lie in memory, on the
threads or on the vector's width; BLAS promises none of these.  Gradients of weights are sums over the rows, in the rows' order.
Letters: A, B axes of rows, K what a sum runs over, N units of the result, I and O inputs and outputs of a linear layer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

import gatecell._core as _core

from ..cells import record
from . import engine
from .dtypes import Array
from .engine import is_plain, padded, plain


@record(axes="W:O y:O", bias="W")
def linear(W: Any, x: Any, y: Any) -> Any:
    return W.y(x)


class Product:
    """x (..., K) -> x matrix^T + bias (..., N), with the matrix (N, K), or `transposed` (K, N), and the bias (N,) copied and packed once.

    All arrays float32 or all float64; what is returned is new.
    """

    def __init__(self, matrix: Array, bias: Array | None = None, *, transposed: bool = False) -> None:
        self.dtype, self.bias = matrix.dtype, bias
        self.n, self.k = matrix.shape[::-1] if transposed else matrix.shape
        self.ahead = 0 if transposed else 1  # a state is written one slot ahead, the gradient of x is not
        self.core: _core.Layer | None = None
        if matrix.size:
            weights = [(plain(matrix), None if bias is None else plain(bias))]
            self.core = _core.Layer(_fit(transposed, self.k, self.n), weights, False)

    def __call__(self, x: Array) -> Array:
        lead = x.shape[:-1]
        if self.core is None or not x.size:  # sums of nothing
            y = np.zeros((*lead, self.n), self.dtype)
            return y if self.bias is None else y + self.bias
        shape, wide = x.shape, padded(self.n)
        x = _rows(x)
        A, B = (1, len(x)) if x.ndim == 2 else x.shape[:2]
        if A == 1:
            y = to = _core.empty((B, wide), self.dtype)
        elif A < B:
            to = _core.empty((A + self.ahead, B, wide), self.dtype)
            y = to[self.ahead :]
        else:  # the longer axis is the batch: the core takes its rows several at a time
            to = _core.empty((A, B + self.ahead, wide), self.dtype)
            y, to, x, A, B = to[:, self.ahead :], to.swapaxes(0, 1), x.swapaxes(0, 1), B, A
        self.core.run(A, B, (x, to), engine.get_num_threads())
        if wide != self.n:
            y = y[..., : self.n].copy()
        return y if y.ndim == len(shape) == 2 else y.reshape(*lead, self.n)


@lru_cache(maxsize=256)
def _fit(transposed: bool, k: int, n: int) -> _core.Fit:
    """Both plans have two axes, K and N, and two arrays, what is read and what is written, in this order."""
    plan = engine.kernel(linear).dx if transposed else engine.kernel(linear).infer
    assert plan is not None
    return _core.Fit(plan.core, (k, n), ((0, k), (0 if transposed else 1, padded(n))))


def _rows(x: Array) -> Array:
    """x (..., N) as rows (B, N), or (A, B, N) where these are not evenly apart, with contiguous units; a copy where x lies otherwise."""
    if is_plain(x):
        return x.reshape(-1, x.shape[-1])
    x = x[(None,) * (3 - x.ndim)] if x.ndim <= 3 else x.reshape(1, math.prod(x.shape[:-1]), x.shape[-1])
    size, (step, row, unit) = x.itemsize, x.strides
    if not x.flags.aligned or unit != size or step < 0 or row < 0 or step % size or row % size:
        x = plain(x)
    A, B, N = x.shape
    return x.reshape(A * B, N) if A == 1 or x.strides[0] == B * x.strides[1] else x


def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x (..., I) by weight (O, I), plus bias (O,): (..., O)."""
    return Product(weight, bias)(x)


def linear_backward(g: Array, wanted: tuple[bool, ...], x: Array, weight: Array, bias: Array | None = None) -> tuple[Array | None, ...]:
    """The gradients of those inputs that are wanted; g (..., O): the result's."""
    dx = Product(weight, transposed=True)(g) if wanted[0] else None
    dw, db = outer(g, x, any(wanted[2:])) if any(wanted[1:]) else (None, None)
    return (dx, dw if wanted[1] else None, db)[: len(wanted)]


def outer(g: Array, x: Array, alone: bool = False) -> tuple[Array, Array | None]:
    """The sums over all rows of g (..., N) times x (..., M): (N, M), and if wanted of g `alone`: (N,)."""
    n, m = g.shape[-1], x.shape[-1]
    products, sums = np.zeros((1, n, m), g.dtype), np.zeros((1, n), g.dtype) if alone else None
    if g.size and m:
        g, x = _rows(g), _rows(x)
        if g.ndim != x.ndim:
            g, x = (a if a.ndim == 3 else a.reshape(*(g if g.ndim == 3 else x).shape[:2], a.shape[-1]) for a in (g, x))
        if n % engine.PAD:  # the core reads whole vectors of it
            wide = np.zeros((*g.shape[:-1], padded(n)), g.dtype)
            wide[..., :n] = g
            g = wide
        _core.outer([([g], [0], x, products, sums)], engine.get_num_threads())
    elif g.size and sums is not None:
        sums += g.reshape(-1, n).sum(axis=0)
    return products[0], None if sums is None else sums[0]


def matmul(a: Array, b: Array) -> Array:
    """a (..., K) by b (K, N): (..., N); by b (K,): (...)."""
    y = _by(b if b.ndim == 2 else b[:, None])(a)
    return y if b.ndim == 2 else y[..., 0]


def matmul_backward(g: Array, wanted: tuple[bool, ...], a: Array, b: Array) -> tuple[Array | None, ...]:
    """The gradients of those inputs that are wanted; g: the result's."""
    columns, g = (b, g) if b.ndim == 2 else (b[:, None], g[..., None])
    da = _by(columns.T)(g) if wanted[0] else None
    return da, outer(a, g)[0].reshape(b.shape) if wanted[1] else None


def _by(b: Array) -> Product:
    """Multiplies by b (K, N), which is packed as it lies: for the same bits either will do."""
    return Product(b.T) if is_plain(b.T) else Product(b, transposed=True)
