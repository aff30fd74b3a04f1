"""Coefficients of float C's tanh and exp, made here: `python -m gatecell.emit.c_minimax` prints what c_float.py holds.

Rational and polynomial approximations of small relative error by Lawson's (1961) reweighted least squares: where the error of a fit
is large, its weight grows, until the error is level.  NumPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray

Array = NDArray[Any]
TOP = 8.9  # tanh is 1 - 2^-25 there: 1 in float32
ROUNDS = 400


def powers(coefficients: Array, top: float, centred: bool) -> Array:
    """Of Chebyshev polynomials over [0, top] or [-top, top]: the same in powers of t."""
    line = np.polynomial.Polynomial([0, 1 / top] if centred else [-1, 2 / top])
    out: Array = np.polynomial.Polynomial(chebyshev.cheb2poly(coefficients))(line).coef
    return out


def rational(f: Array, factor: Array, t: Array, p: int, q: int, top: float) -> tuple[Array, Array]:
    """P, Q of degrees p, q with factor P(t) / Q(t) ~ f, t in [0, top], least relative error; P(0) = Q(0) = 1."""
    u = 2 * t / top - 1
    over, under = factor[:, None] * chebyshev.chebvander(u, p), -f[:, None] * chebyshev.chebvander(u, q)
    weight, divisor = np.ones_like(t), np.ones_like(t)
    best: tuple[float, Array, Array] | None = None
    for _ in range(ROUNDS):
        rows = np.hstack([over, under[:, 1:]]) * (weight**0.5 / (f * divisor))[:, None]
        sizes = np.abs(rows).max(0)
        found = np.linalg.lstsq(rows / sizes, -under[:, 0] * weight**0.5 / (f * divisor), rcond=None)[0] / sizes
        a, b = found[: p + 1], np.r_[1.0, found[p + 1 :]]
        divisor = -(under @ b) / f
        error = np.abs(over @ a / divisor / f - 1)
        if best is None or error.max() < best[0]:
            best = float(error.max()), a, b
        weight *= error / error.max() + 1e-3
        weight /= weight.mean()
    assert best is not None
    over_t, under_t = powers(best[1], top, False), powers(best[2], top, False)
    return over_t / over_t[0], under_t / under_t[0]


def exponential(degree: int) -> Array:
    """2^f for |f| <= 1/2 by a polynomial with constant term 1."""
    f = 0.5 * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 2000))
    rows = f[:, None] * chebyshev.chebvander(2 * f, degree - 1) / np.exp2(f)[:, None]
    target = (np.exp2(f) - 1) / np.exp2(f)
    weight, least = np.ones_like(f), np.inf
    best: Array = np.zeros(degree)
    for _ in range(ROUNDS):
        c = np.linalg.lstsq(rows * weight[:, None] ** 0.5, target * weight**0.5, rcond=None)[0]
        error = np.abs(rows @ c - target)
        if error.max() < least:
            least, best = float(error.max()), c
        weight *= error / error.max() + 1e-3
        weight /= weight.mean()
    out: Array = np.r_[1.0, powers(best, 0.5, True)]
    return out


def main() -> None:
    x = np.sort(TOP * np.sin(np.linspace(1e-4, np.pi / 2, 3000)) ** 2)
    p, q = (c.astype(np.float32).astype(float) for c in rational(np.tanh(x), x, x * x, 4, 4, TOP * TOP))
    e = exponential(6).astype(np.float32).astype(float)
    f = np.linspace(-0.5, 0.5, 10001)
    for name, c in (("TANH_P", p), ("TANH_Q", q), ("EXP2", e)):
        print(f"{name} = ({', '.join(f'{v:#.9g}' for v in c)})")
    tanh = np.abs(x * polyval(x * x, p) / polyval(x * x, q) / np.tanh(x) - 1).max()
    print(f"# relative errors: tanh {tanh:.1e}, 2^f {np.abs(polyval(f, e) / np.exp2(f) - 1).max():.1e}; half a step of float32 is 6e-08")


if __name__ == "__main__":
    main()
