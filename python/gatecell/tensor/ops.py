"""THE table of array operations: meaning and pullback, a row each.

Not here: the Tensor class, type promotion, the tape (tensor.py), products on the core (products.py), recurrences (recurrence.py).
A row's `of` takes arrays and settings; `pull` has one function per array, (g, y, *arrays, **settings) -> that array's gradient, where g is
the gradient of the result y.  Gradients may come back in the broadcast shape: `gradients` sums them down.  At ties, at 0 and at NaN they
are torch's; where one is 0 it is so for an infinite g, too.  Every row but products of many matrices at a time, `sin`, `cos`, `remainder`
and powers that are not small whole numbers gives the same float32 bits on every machine (numerics.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from . import products
from .dtypes import Array, float32, float64
from .numerics import exp, log, log_sigmoid, power, sigmoid, tanh, total

Pull = Callable[..., Array]
REAL = (float32, float64)


@dataclass(frozen=True)
class Together:
    """Pullbacks that share work: one function (g, wanted, *arrays) -> the gradients of all arrays, None where none is wanted."""

    of: Callable[..., tuple[Array | None, ...]]


@dataclass(frozen=True)
class Op:
    """A row.

    pull    a function per array; (position) -> it where their number is free; None: no derivative
    reads   a word per array: whose values its pullback reads, "a" the first array, "b" the second, "y" the result; "-" none, only shapes
    view    whether the result shares memory with the first array, where NumPy can
    """

    of: Callable[..., Any]
    pull: tuple[Pull, ...] | Callable[[int], Pull] | Together | None
    reads: str = ""
    view: bool = False

    def gradients(self, g: Array, wanted: tuple[bool, ...], y: Array, arrays: tuple[Array, ...], settings: Any) -> tuple[Array | None, ...]:
        """The gradient of each array for which one is wanted, from that of the result; None for the others."""
        if isinstance(self.pull, Together):
            return self.pull.of(g, wanted, *arrays)
        pulls = self.pull if isinstance(self.pull, tuple) else tuple(map(self.pull, range(len(arrays)))) if self.pull is not None else ()
        each = zip(pulls, wanted, arrays, strict=True)
        return tuple([unbroadcast(pull(g, y, *arrays, **settings), a) if want else None for pull, want, a in each])


@cache
def kept(reads: str, wanted: tuple[bool, ...]) -> tuple[int, ...]:
    """Which values the gradients that are wanted need, from a row's `reads`: numbers of arrays, -1 the result."""
    letters = {letter for word, want in zip(reads.split(), wanted, strict=False) if want for letter in word}
    return tuple(sorted("yabc".index(letter) - 1 for letter in letters - {"-"}))


def unbroadcast(g: Array, like: Array) -> Array:
    """Sum `g` down to the shape of an operand that was broadcast, in the operand's dtype."""
    if g.shape != like.shape:
        g = total(g, range(g.ndim - like.ndim))
        g = total(g, [i for i, n in enumerate(like.shape) if n == 1 != g.shape[i]], keepdim=True)
    return g.astype(like.dtype, copy=False)


def _widen(g: Array, a: Array, dim: Any, keepdim: bool) -> Array:
    """The gradient of a reduction over `dim` (None: all), broadcast back over the reduced axes."""
    return np.broadcast_to(g if keepdim or dim is None else np.expand_dims(g, dim), a.shape)


def _count(a: Array, dim: Any) -> int:
    return a.size if dim is None else int(np.prod([a.shape[d] for d in ((dim,) if isinstance(dim, int) else dim)]))


def _extreme(g: Array, y: Array, a: Array) -> Array:
    """The largest or smallest of all: ties share the gradient; where the result is NaN, those that are."""
    hit = np.isnan(a) if np.isnan(y) else a == y
    return np.where(hit, g / a.dtype.type(hit.sum()), 0)


def _sign(a: Array) -> Array:
    return np.subtract(a > 0, a < 0, dtype=a.dtype)  # NaN has none: 0, as in torch


def _softmax(a: Array, dim: int) -> Array:
    e = exp(a - a.max(axis=dim, keepdims=True))
    y: Array = e / total(e, dim, keepdim=True)
    return y


def _log_softmax(a: Array, dim: int) -> Array:
    d = a - a.max(axis=dim, keepdims=True)
    y: Array = d - log(total(exp(d), dim, keepdim=True))
    return y


def _pow_exponent(g: Array, y: Array, a: Array, b: Array) -> Array:
    return g * np.where((a == 0) & (b >= 0), 0, y * log(a))


def _batched_left(g: Array, y: Array, a: Array, b: Array) -> Array:
    back = np.swapaxes(b, -1, -2)
    return np.asarray(g @ back if a.ndim > 1 else (g[..., None, :] @ back)[..., 0, :])


def _batched_right(g: Array, y: Array, a: Array, b: Array) -> Array:
    return np.asarray(np.swapaxes(a, -1, -2) @ g if a.ndim > 1 else a[:, None] * g[..., None, :])


# Many matrices at a time, and integers, are NumPy's, whose order of sums depends on shapes and memory.
_batched = Op(np.matmul, (_batched_left, _batched_right))


def _matmul(a: Array, b: Array) -> Array:
    if b.ndim <= 2 and b.dtype in REAL:
        return products.matmul(a, b)
    with np.errstate(all="ignore"):
        return np.asarray(np.matmul(a, b))


def _matmul_back(g: Array, wanted: tuple[bool, ...], a: Array, b: Array) -> tuple[Array | None, ...]:
    return products.matmul_backward(g, wanted, a, b) if b.ndim <= 2 else _batched.gradients(g, wanted, g, (a, b), {})


def _getitem(a: Array, key: tuple[Any, ...]) -> Array:
    y = a[key]
    return y if isinstance(y, np.ndarray) else np.asarray(a[(*key, ...)])  # one element, as an array that shares its memory


def _scatter(g: Array, y: Array, a: Array, key: Any) -> Array:
    back = np.zeros(a.shape, g.dtype)
    if any(isinstance(k, (np.ndarray, list)) for k in key):
        np.add.at(back, key, g)  # an index may come twice
    else:
        back[key] = g
    return back


def _put(g: Array, y: Array, a: Array, index: Array, dim: int) -> Array:
    back = np.zeros(a.shape, g.dtype)
    np.put_along_axis(back, index, g, axis=dim)
    return back


def _back(g: Array, a: Array, key: Any) -> Array:
    """What was gathered goes back; no place comes twice."""
    back = np.zeros(a.shape, g.dtype)
    back[key] = g
    return back


def _spread(a: Array, key: Any, shape: tuple[int, ...], value: float) -> Array:
    out = np.full(shape, value, a.dtype)
    out[key] = a
    return out


def _embedding_rows(g: Array, y: Array, weight: Array, tokens: Array) -> Array:
    back = np.zeros(weight.shape, g.dtype)
    np.add.at(back, tokens.reshape(-1), g.reshape(-1, weight.shape[1]))
    return back


def _cat_piece(i: int) -> Pull:
    def pull(g: Array, y: Array, *arrays: Array, dim: int) -> Array:
        start = sum(a.shape[dim] for a in arrays[:i])
        return g[(slice(None),) * dim + (slice(start, start + arrays[i].shape[dim]),)]

    return pull


def _winner(g: Array, a: Array, b: Array, lost: Array) -> Array:
    """The part of a's gradient in max or min of a and b: all but where it `lost`, half at a tie; NaN loses to nobody."""
    return np.where(lost, 0, np.where(a == b, g / 2, g))


def _inside(a: Array, low: float | None, high: float | None) -> Array:
    return np.asarray((low is None or a >= low) & (high is None or a <= high))


def _zero(g: Array, y: Array, *arrays: Array) -> Array:
    return np.zeros((), g.dtype)


OPS: dict[str, Op] = {
    # Pointwise, of two.
    "add": Op(np.add, (lambda g, y, a, b: g, lambda g, y, a, b: g)),
    "sub": Op(np.subtract, (lambda g, y, a, b: g, lambda g, y, a, b: -g)),
    "mul": Op(np.multiply, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a), "b a"),
    "div": Op(np.divide, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * (a / b / b)), "b ab"),
    "pow": Op(power, (lambda g, y, a, b: np.where(b == 0, 0, g * (b * power(a, b - 1))), _pow_exponent), "ab aby"),
    "maximum": Op(np.maximum, (lambda g, y, a, b: _winner(g, a, b, a < b), lambda g, y, a, b: _winner(g, b, a, b < a)), "ab ab"),
    "minimum": Op(np.minimum, (lambda g, y, a, b: _winner(g, a, b, a > b), lambda g, y, a, b: _winner(g, b, a, b > a)), "ab ab"),
    "remainder": Op(np.remainder, (lambda g, y, a, b: g, lambda g, y, a, b: -g * np.floor_divide(a, b)), "- ab"),
    "floor_divide": Op(np.floor_divide, (_zero, _zero)),
    # Pointwise, of one.
    "neg": Op(np.negative, (lambda g, y, a: -g,)),
    "abs": Op(np.abs, (lambda g, y, a: g * _sign(a),), "a"),
    "exp": Op(exp, (lambda g, y, a: g * y,), "y"),
    "log": Op(log, (lambda g, y, a: g / a,), "a"),
    "sqrt": Op(np.sqrt, (lambda g, y, a: g / (2 * y),), "y"),
    "sin": Op(np.sin, (lambda g, y, a: g * np.cos(a),), "a"),
    "cos": Op(np.cos, (lambda g, y, a: -g * np.sin(a),), "a"),
    "tanh": Op(tanh, (lambda g, y, a: g * (1 - y * y),), "y"),
    "sigmoid": Op(sigmoid, (lambda g, y, a: g * (y * (1 - y)),), "y"),
    "log_sigmoid": Op(log_sigmoid, (lambda g, y, a: g * sigmoid(-a),), "a"),
    "relu": Op(lambda a: np.maximum(a, 0), (lambda g, y, a: np.where(y <= 0, 0, g),), "y"),
    "sign": Op(_sign, (_zero,)),
    "clamp": Op(lambda a, low, high: np.clip(a, low, high), (lambda g, y, a, low, high: np.where(_inside(a, low, high), g, 0),), "a"),
    "cast": Op(lambda a, dtype: a.astype(dtype), (lambda g, y, a, dtype: g,)),
    "detach": Op(lambda a: a, None, view=True),
    "clone": Op(lambda a, order="K": np.array(a, order=order), (lambda g, y, a, order="K": g,)),
    "masked_fill": Op(
        lambda a, mask, value: np.where(mask, a.dtype.type(value), a), (lambda g, y, a, mask, value: np.where(mask, 0, g), _zero), "b -"
    ),
    "where": Op(np.where, (_zero, lambda g, y, c, a, b: np.where(c, g, 0), lambda g, y, c, a, b: np.where(c, 0, g)), "- a a"),
    # Over axes.  `dim` None: all.
    "sum": Op(total, (lambda g, y, a, dim, keepdim: _widen(g, a, dim, keepdim),)),
    "mean": Op(
        lambda a, dim, keepdim: total(a, dim, keepdim) / np.asarray(_count(a, dim), a.dtype),
        (lambda g, y, a, dim, keepdim: _widen(np.asarray(g / np.asarray(_count(a, dim), a.dtype)), a, dim, keepdim),),
    ),
    "amax": Op(np.max, (_extreme,), "ay"),
    "amin": Op(np.min, (_extreme,), "ay"),
    "pick": Op(lambda a, index, dim: np.take_along_axis(a, index, axis=dim), (_put,)),  # one entry of `dim` per place
    "argmax": Op(lambda a, dim: np.argmax(a, axis=dim), None),
    "argmin": Op(lambda a, dim: np.argmin(a, axis=dim), None),
    "softmax": Op(_softmax, (lambda g, y, a, dim: y * (g - total(g * y, dim, keepdim=True)),), "y"),
    "log_softmax": Op(_log_softmax, (lambda g, y, a, dim: g - exp(y) * total(g, dim, keepdim=True),), "y"),
    # Places.  `reshape`, `permute`, `expand` and a `getitem` of numbers and slices share memory with their argument, as in torch.
    "reshape": Op(lambda a, shape: a.reshape(shape), (lambda g, y, a, shape: g.reshape(a.shape),), view=True),
    "permute": Op(np.transpose, (lambda g, y, a, axes: np.transpose(g, np.argsort(axes)),), view=True),
    "expand": Op(np.broadcast_to, (lambda g, y, a, shape: g,), view=True),
    "getitem": Op(_getitem, (_scatter,), view=True),
    "gather": Op(lambda a, key: a[key], (lambda g, y, a, key: _back(g, a, key),)),  # arrays of indices, no place twice
    "spread": Op(_spread, (lambda g, y, a, key, shape, value: g[key],)),  # and back, `value` elsewhere
    "flip": Op(lambda a, axis: np.flip(a, axis).copy(), (lambda g, y, a, axis: np.flip(g, axis),)),
    "cat": Op(lambda *arrays, dim: np.concatenate(arrays, axis=dim), _cat_piece),
    "stack": Op(lambda *arrays, dim: np.stack(arrays, axis=dim), lambda i: lambda g, y, *arrays, dim: np.take(g, i, axis=dim)),
    # With weights.
    "matmul": Op(_matmul, Together(_matmul_back), "b a"),
    "linear": Op(products.linear_forward, Together(products.linear_backward), "b a -"),  # x (..., I), weight (O, I), bias (O,) -> (..., O)
    "embedding": Op(lambda weight, tokens: weight[tokens], (_embedding_rows, _zero), "b -"),  # weight (V, D), tokens (...) -> (..., D)
}
_COMPARE: dict[str, Callable[..., Any]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "invert": np.invert,
    "all": np.all, "any": np.any, "isnan": np.isnan, "isfinite": np.isfinite, "isinf": np.isinf,
}  # fmt: skip
OPS |= {name: Op(compare, None) for name, compare in _COMPARE.items()}
