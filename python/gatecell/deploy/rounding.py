"""From the real matrices of one accumulator to integers: scales, shifts, multipliers, and rounding that mends its own errors.

Not here: pages, calibration, formats.  What is chosen here changes how well a model does, never what its integers mean.
Letters: N units (rows), K columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..errors import Unsupported
from ..tensor.dtypes import Array

LIMIT = 2**31 - 1
REACH = LIMIT * 32767 * 2.0**-17
"""Largest sum that an accumulator can stand for, in steps of its result: of these, its own step is 32767 / 2^17 at most."""
SCALES = tuple(1 + k / 50 for k in range(1, 16))
DAMPING = 1e-5
"""Added to the moments' diagonal, of its mean: directions that calibration hardly saw are not relied upon."""


@dataclass(frozen=True)
class Matrix:
    """One product's matrix in units of its integer argument: real result = w @ integer argument."""

    w: Array
    """(N, K) float64."""
    top: int
    """Largest magnitude of an integer weight, 127 or 32767."""
    argument: int
    """Largest magnitude of an integer argument."""


@dataclass(frozen=True)
class Rounded:
    """An accumulator's integers."""

    w: list[Array]
    """One matrix per source, int64."""
    shifts: list[int]
    m: Array
    """(N,) in 1..32767."""
    sh: int
    b: Array
    """(N,) in int32."""
    bound: Array
    """(N,) the largest magnitude of the accumulator, proven."""


def shifts_of(matrices: list[Matrix], energy: list[float]) -> list[int]:
    """Powers of two between the sources' row scales that make the expected error of rounding least; the smallest is 0.

    A row's scale is what its most demanding source needs; an error of one step of source s weighs 4^shift times the
    energy (mean square sum) of its arguments.
    """
    if len(matrices) < 2:
        return [0] * len(matrices)
    peaks = [np.abs(a.w).max(1) / a.top for a in matrices]
    best, chosen = math.inf, [0] * len(matrices)
    for k in range(-12, 13):
        shifts = [max(k, 0)] + [max(-k, 0)] * (len(matrices) - 1)
        scale = np.max([p / 2.0**s for p, s in zip(peaks, shifts, strict=True)], axis=0)
        error = float((scale**2).sum()) * sum(e * 4.0**s for e, s in zip(energy, shifts, strict=True))
        if error < best:
            best, chosen = error, shifts
    return chosen


def compensated(w: Array, moments: Array, tops: Array, last: Array) -> tuple[Array, Array]:
    """Integers near w (N, K) such that a row's errors cancel over its typical arguments, and the bias that goes with them.

    Columns are rounded one after the other, the most energetic first; what a column lost is made up by those after it, the
    bias last, by the second moments (K + 1, K + 1) of the arguments (Hassibi & Stork 1993; for rounding, Frantar et al. 2022).
    A zero stays a zero, so that pruned weights remain sparse.
    tops (K,): largest magnitudes; last (N,): real biases.
    """
    columns = w.shape[1]
    order = np.append(np.argsort(-np.diag(moments)[:columns], kind="stable"), columns)
    damped = moments + np.diag(np.full(columns + 1, DAMPING * np.trace(moments) / (columns + 1) + 1e-12))
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T  # inverse = upper' upper
    rest = np.concatenate([w, last[:, None]], axis=1)[:, order]
    out = np.empty(w.shape, np.int64)
    for k, column in enumerate(order[:columns]):
        rounded = np.where(w[:, column] == 0, 0, np.clip(np.rint(rest[:, k]), -tops[column], tops[column]))
        out[:, column] = rounded
        rest[:, k + 1 :] -= ((rest[:, k] - rounded) / upper[k, k])[:, None] * upper[k, k + 1 :]
    return out, np.rint(rest[:, columns])


class Rows:
    """An accumulator's real rows, rounded at any scale."""

    def __init__(self, matrices: list[Matrix], bias: Array, fraction: Array, moments: Array) -> None:
        self.matrices, self.bias, self.moments = matrices, bias, moments
        self.unit = np.exp2(-fraction.astype(np.float64))
        self.widths = [a.w.shape[1] for a in matrices]
        self.starts = np.cumsum([0, *self.widths])
        energy = [float(np.trace(moments[a:b, a:b])) + (b - a) / 12 for a, b in pairwise(self.starts)]
        self.shifts = shifts_of(matrices, energy)
        self.tops = np.concatenate([np.full(n, a.top) for a, n in zip(matrices, self.widths, strict=True)])

    def least(self) -> Array:
        """(N,) the finest steps of the accumulator, in steps of its result, at which every weight and bias has its integer."""
        peaks = [np.abs(a.w).max(1) / a.top / 2.0**s for a, s in zip(self.matrices, self.shifts, strict=True)]
        need = np.maximum(np.max(peaks, axis=0), np.abs(self.bias) / 2**30) / self.unit
        floored: Array = np.maximum(need, max(float(need.max()), 2.0**-40) / 2**14)
        return floored

    def rounded(self, need: Array) -> tuple[Rounded, Array]:
        """Integers at these steps or the next coarser ones, and the expected square error of each row."""
        sh, up = multiplier_shift(float(need.max()))
        shifts = [s + up for s in self.shifts]
        m = np.clip(np.ceil(need / 2.0**up * 2.0 ** (16 + sh) - 1e-6), 1, 32767)
        step = m * 2.0 ** -(16 + sh) * self.unit  # what one step of the accumulator is worth
        weight = np.append(np.repeat([2.0**s for s in shifts], self.widths), 1.0)
        real = np.concatenate([a.w for a in self.matrices], axis=1) / step[:, None] / weight[:-1]
        # The arguments are rounded themselves, which adds 1/12 to their moments.
        moments = self.moments * weight * weight[:, None] + np.diag(np.append(weight[:-1] ** 2 / 12, 0.0))
        w, b = compensated(real, moments, self.tops, self.bias / step)
        error = np.concatenate([real - w, (self.bias / step - b)[:, None]], axis=1)
        parts = [w[:, i:j] for i, j in pairwise(self.starts)]
        bound = np.abs(b) + sum(2.0**s * a.argument * np.abs(p).sum(1) for a, s, p in zip(self.matrices, shifts, parts, strict=True))
        out = Rounded(parts, shifts, m.astype(np.int64), sh, b, bound)
        return out, ((error @ moments) * error).sum(1) * step**2


def round_accumulator(matrices: list[Matrix], bias: Array, fraction: Array, moments: Array, what: str) -> Rounded:
    """Integers for one accumulator; `fraction` (N,) of its requantised rows; moments (K + 1, K + 1) of all arguments and 1.

    Each row takes the best of some scales, from the finest one up: where its few large weights fall near integers.
    Unsupported: a row whose sum fits int32 at no scale that a multiplier can express.
    """
    rows = Rows(matrices, bias, fraction, moments)
    least = rows.least()
    need, best = least, rows.rounded(least)[1]
    for factor in SCALES:
        error = rows.rounded(least * factor)[1]
        need, best = np.where(error < best, least * factor, need), np.minimum(error, best)
    for _ in range(200):
        found = rows.rounded(need)[0]
        if (found.bound <= LIMIT).all():
            return found
        need = np.where(found.bound > LIMIT, need * np.maximum(found.bound / LIMIT, 1.0) * 1.002, need)
    raise Unsupported(f"{what}: no scale keeps its sums inside int32")


def multiplier_shift(need: float) -> tuple[int, int]:
    """(SH, how far all sources shift up) so that need = m / 2^(16 + SH) has m up to 32767 and SH >= 1."""
    sh = math.floor(math.log2(32767 / need)) - 16
    return (sh, 0) if 1 <= sh <= 30 else (30, 0) if sh > 30 else (1, 1 - sh)
