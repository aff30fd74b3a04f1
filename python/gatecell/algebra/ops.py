"""The table of primitives, one row each: meaning, derivative, interval, spelling in C and C++, cost.

Not here: matrix products (program.py), equations (pages), integer meanings (lower.py).
A page calls the functions at the end of this file.  With arrays, real or complex, they compute; with
nodes they build the graph.  Where a primitive compares, it decides on the real part, so that the
complex step (Squire & Trapp 1998) passes through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Node, call

Span = tuple[float, float]
INF = math.inf


def _products(a: Span, b: Span) -> Span:
    """Bounds of a * b; 0 * inf is 0, since an interval's end is a bound and not a limit."""
    p = [0.0 if 0 in (u, v) else u * v for u in a for v in b]
    return min(p), max(p)


def _quotients(a: Span, b: Span) -> Span:
    return (-INF, INF) if b[0] <= 0 <= b[1] else _products(a, (1 / b[1], 1 / b[0]))


def _growing(f: Callable[[float], float]) -> Callable[[Span], Span]:
    return lambda a: (f(a[0]), f(a[1]))


def _falling_root(a: Span) -> Span:
    return (a[1] ** -0.5 if a[1] > 0 else INF, a[0] ** -0.5 if a[0] > 0 else INF)


def _exp_bound(v: float) -> float:
    return math.exp(v) if v < 700 else INF


def _log_sigmoid(a: Any) -> Any:
    positive = np.real(a) > 0
    return np.where(positive, 0, a) - np.log(1 + np.exp(np.where(positive, -a, a)))


def _mean(a: Any) -> Any:
    return np.broadcast_to(a.mean(-1, keepdims=True), a.shape)


def _var(a: Any) -> Any:
    return _mean((a - _mean(a)) ** 2)


@dataclass(frozen=True)
class Op:
    """A row of the table."""

    of: Callable[..., Any]
    """The meaning on arrays; complex in, complex out."""
    pull: Callable[..., tuple[Any, ...]]
    """(g, y, *args) -> the gradient of each argument (None: none), in these same primitives."""
    span: Callable[..., Span]
    """The result's interval from the arguments' intervals."""
    c: str = ""
    """C spelling with {0}, {1}, {2}; "{0}" alone: the value of its argument, no operation."""
    prec: int = 9
    """How tightly the C spelling binds: 1 sums, 2 products, 3 signs, 9 calls."""
    dear: bool = False
    """Worth keeping for the backward pass rather than computing again."""
    joins: bool = False
    """Mixes units, as a product does: cuts a stage."""


# Pullbacks speak in the primitives that are defined at the end of this file.
exp: Callable[..., Any]
above: Callable[..., Any]
mean: Callable[..., Any]

OPS: dict[str, Op] = {
    "add": Op(lambda a, b: a + b, lambda g, y, a, b: (g, g), lambda a, b: (a[0] + b[0], a[1] + b[1]), "{0} + {1}", 1),
    "sub": Op(lambda a, b: a - b, lambda g, y, a, b: (g, -g), lambda a, b: (a[0] - b[1], a[1] - b[0]), "{0} - {1}", 1),
    "mul": Op(lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a), _products, "{0} * {1}", 2),
    "div": Op(lambda a, b: a / b, lambda g, y, a, b: (g / b, -(g / b) * y), _quotients, "{0} / {1}", 2),
    "neg": Op(lambda a: -a, lambda g, y, a: (-g,), lambda a: (-a[1], -a[0]), "-{0}", 3),
    # (1 - t) a + t b for 0 <= t <= 1: the one spelling whose interval shows that it stays between a and b.
    "lerp": Op(
        lambda t, a, b: a + t * (b - a),
        lambda g, y, t, a, b: (g * (b - a), g - g * t, g * t),
        lambda t, a, b: (min(a[0], b[0]), max(a[1], b[1])),
        "lerp({0}, {1}, {2})",
    ),
    "sigmoid": Op(lambda a: 1 / (1 + np.exp(-a)), lambda g, y, a: (g * (y * (1 - y)),), lambda a: (0.0, 1.0), "sigmoid({0})", dear=True),
    "tanh": Op(np.tanh, lambda g, y, a: (g * (1 - y * y),), _growing(math.tanh), "tanh({0})", dear=True),
    "exp": Op(np.exp, lambda g, y, a: (g * y,), _growing(_exp_bound), "exp({0})", dear=True),
    "log_sigmoid": Op(_log_sigmoid, lambda g, y, a: (g * (1 - exp(y)),), lambda a: (-INF, 0.0), "log_sigmoid({0})", dear=True),
    "rsqrt": Op(lambda a: a**-0.5, lambda g, y, a: (g * y * y * y * -0.5,), _falling_root, "rsqrt({0})", dear=True),
    "relu": Op(lambda a: a * (np.real(a) > 0), lambda g, y, a: (g * above(y, 0.0),), _growing(lambda v: max(v, 0.0)), "relu({0})"),
    "maximum": Op(
        lambda a, b: np.where(np.real(a) > np.real(b), a, b),
        lambda g, y, a, b: (g * above(a, b), g - g * above(a, b)),
        lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
        "maximum({0}, {1})",
    ),
    "above": Op(lambda a, b: (np.real(a) > np.real(b)) * 1.0, lambda g, y, a, b: (None, None), lambda a, b: (0.0, 1.0), "above({0}, {1})"),
    "stop_gradient": Op(np.real, lambda g, y, a: (None,), lambda a: a, "{0}"),
    # A promise that intervals cannot see (c / n of a normalised state); integers saturate there.
    "within": Op(
        lambda a, lo, hi: a,
        lambda g, y, a, lo, hi: (g, None, None),
        lambda a, lo, hi: (max(a[0], lo[0]), min(a[1], hi[1])),
        "{0}",
    ),
    # Reductions over units.  The result is a vector of equal entries, so that `mean` is its own adjoint.
    "mean": Op(_mean, lambda g, y, a: (mean(g),), lambda a: a, dear=True, joins=True),
    "var": Op(_var, lambda g, y, a: (mean(g) * 2.0 * (a - mean(a)),), lambda a: (0.0, ((a[1] - a[0]) / 2) ** 2), dear=True, joins=True),
}


def joins(n: Node) -> bool:
    """Whether the value mixes units: products, their sums, and reductions."""
    return n.op in ("product", "products") or (n.op in OPS and OPS[n.op].joins)


def is_dear(n: Node) -> bool:
    return joins(n) or OPS[n.op].dear


def _primitive(op: str) -> Callable[..., Any]:
    row = OPS[op]

    def apply(*args: Any) -> Any:
        return call(op, *args) if any(isinstance(a, Node) for a in args) else row.of(*args)

    apply.__name__ = apply.__qualname__ = op
    return apply


sigmoid, tanh, exp, log_sigmoid, rsqrt, relu, maximum, above, stop_gradient, within, lerp, mean, var = map(
    _primitive,
    ["sigmoid", "tanh", "exp", "log_sigmoid", "rsqrt", "relu", "maximum", "above", "stop_gradient", "within", "lerp", "mean", "var"],
)


def norm(a: Any, eps: float = 1e-5) -> Any:
    """Layer normalisation over units without gain and bias (Ba, Kiros & Hinton 2016, eq. 4)."""
    return (a - mean(a)) * rsqrt(var(a) + eps)
