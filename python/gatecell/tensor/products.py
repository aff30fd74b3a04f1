"""Products by a matrix on the C++ core: linear layers, matrix products, and their gradients.  Not here: the tape, checks of arguments.

A linear layer is a page without memory, so that the core runs it as it runs a recurrence: every sum begins with the bias and goes over the
inputs in one order (cpp/src/product.inl).  A row's bits depend neither on the rows around it nor on how arrays lie in memory, on the
threads or on the vector's width; BLAS promises none of these.  Gradients of weights are sums over the rows, in the rows' order.
Letters: A, B axes of rows, K what a sum runs over, N units of the result, I and O inputs and outputs of a linear layer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import gatecell._core as _core

from ..cells import record
from . import engine
from .dtypes import Array
from .engine import padded


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
        plan = engine.kernel(linear).dx if transposed else engine.kernel(linear).infer
        assert plan is not None
        self.core: Any = None
        if matrix.size:
            weights = [(plain(matrix), None if bias is None else plain(bias))]
            self.core = _core.Layer(plan.core, (self.k, self.n), weights, False)
            # Both plans have two axes, K and N, and two arrays, what is read and what is written, in this order.
            self.extents = _core.Extent(1, self.k), _core.Extent(1 + self.ahead, padded(self.n))

    def __call__(self, x: Array) -> Array:
        lead = x.shape[:-1]
        if self.core is None or not x.size:  # sums of nothing
            y = np.zeros((*lead, self.n), self.dtype)
            return y if self.bias is None else y + self.bias
        A, B, step, row = 1, x.size // self.k, 0, self.k
        if not is_plain(x):
            x = _rows(x)
            A, B, _ = x.shape
            step, row = (s // x.itemsize for s in x.strides[:2])
            if A == 1 or step == B * row:
                A, B, step = 1, A * B, 0
        wide = padded(self.n)
        if A == 1:
            y = _core.empty((B, wide), self.dtype)
            to = y, 0, 0, wide, 0
        elif A < B:
            y = _core.empty((A + self.ahead, B, wide), self.dtype)
            to = y, 0, B * wide, wide, 0
            y = y[self.ahead :]
        else:  # the longer axis is the batch: the core takes its rows several at a time
            y = _core.empty((A, B + self.ahead, wide), self.dtype)
            to = y, 0, wide, (B + self.ahead) * wide, 0
            y, A, B, step, row = y[:, self.ahead :], B, A, row, step
        self.core.run(A, B, [(x, 0, step, row, 0), to], self.extents, engine.get_num_threads())
        if wide != self.n:
            y = y[..., : self.n].copy()
        return y if y.ndim == x.ndim == 2 else y.reshape(*lead, self.n)


def is_plain(a: Array) -> bool:
    """Whether it lies as C would have it."""
    flags = a.flags
    return flags.c_contiguous and flags.aligned


def plain(a: Array) -> Array:
    """`a`, or a copy of it that lies as C would have it."""
    return a if is_plain(a) else np.require(a, requirements=("C", "A"))


def _rows(x: Array) -> Array:
    """x (..., N) as (A, B, N) with contiguous units; a copy where x lies otherwise."""
    x = x[(None,) * (3 - x.ndim)] if x.ndim <= 3 else x.reshape(1, math.prod(x.shape[:-1]), x.shape[-1])
    size = x.itemsize
    whole = x.flags.aligned and x.strides[2] == size and all(s >= 0 and s % size == 0 for s in x.strides)
    return x if whole else plain(x)


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
    products, sums = np.zeros((n, m), g.dtype), np.zeros(n, g.dtype) if alone else None
    if not g.size or not m:
        return products, g.reshape(-1, n).sum(axis=0) if g.size and alone else sums
    A, B, size = 1, g.size // n, g.itemsize
    of_g, of_x = (0, n), (0, m)
    if not (is_plain(g) and is_plain(x)):
        g, x = _rows(g), _rows(x)
        A, B, _ = g.shape
        of_g, of_x = ((a.strides[0] // size, a.strides[1] // size) for a in (g, x))
    if n % engine.PAD:  # the core reads whole vectors of it
        wide = np.zeros((A, B, padded(n)), g.dtype)
        wide[:, :, :n] = g.reshape(A, B, n)
        g, of_g = wide, (B * padded(n), padded(n))
    _core.outer(A, B, [(g, 0, *of_g, 0)], n, (x, 0, *of_x, 0), m, [products], [sums], engine.get_num_threads())
    return products, sums


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
