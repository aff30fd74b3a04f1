"""The one table of the integer arithmetic, and tanh and sigmoid by it (docs/arithmetic.md, section 6).  Not here: any other primitive.

Largest error over all 65,536 arguments: tanh 1.217, sigmoid 0.911 steps of 2^-15.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 514
"""Entries: tanh at steps of 1/64 from 0 to 8, one more for the argument 8 itself, and one for its neighbour."""


def entry(n: int) -> int:
    """tanh(n / 64) in Q0.15, moved by half of what a chord over one step loses in its middle.

    The chord's error there is f'' h^2 / 8 with f'' = -2 t (1 - t^2) and h = 1/64.  Decimal arithmetic, so that no
    machine's libm has a say in a model's bits.
    """
    with localcontext(prec=40):
        e = (Decimal(n) / 32).exp()
        t = (e - 1) / (e + 1)
        v = 32768 * (t + t * (1 - t * t) / 32768) + Decimal("0.5")
        return min(32767, int(v.to_integral_value(rounding=ROUND_FLOOR)))


@cache
def table() -> NDArray[np.int64]:
    """The 514 entries (read-only)."""
    out = np.array([entry(n) for n in range(SIZE)], np.int64)
    out.flags.writeable = False
    return out


def _chord(magnitude: Any, bits: int, shift: int) -> Any:
    t = table()
    at = magnitude >> bits
    return ((t[at] << bits) + (t[at + 1] - t[at]) * (magnitude & ((1 << bits) - 1)) + (1 << (shift - 1))) >> shift


def tanh_q(a: Any) -> Any:
    """Q3.12 in [-32768, 32767] -> Q0.15; integers or arrays of them."""
    y = _chord(abs(a), 6, 6)
    return np.where(np.asarray(a) < 0, -y, y)


def sigmoid_q(a: Any) -> Any:
    """Q3.12 in [-32768, 32767] -> Q0.15; integers or arrays of them."""
    y = _chord(abs(a), 7, 8)
    return 16384 + np.where(np.asarray(a) < 0, -y, y)
