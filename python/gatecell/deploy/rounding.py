"""From the real matrices of one accumulator to integers: scales, shifts, multipliers, and rounding that mends its own errors.

Not here: pages, calibration, formats.  What is chosen here changes how well a model does, never what its integers mean.
Letters: N units (rows), K columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Unsupported

Array = NDArray[Any]
LIMIT = 2**31 - 1


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

    Columns are rounded one after the other; what a column lost is made up by those after it, the bias last, by the
    second moments (K + 1, K + 1) of the arguments (optimal brain surgeon, Hassibi & Stork 1993; over columns,
    Frantar et al. 2022).  tops (K,): largest magnitudes; last (N,): real biases.
    """
    columns = w.shape[1]
    moments = moments + np.diag(np.full(columns + 1, 1e-3 * np.trace(moments) / (columns + 1) + 1e-12))
    upper = np.linalg.cholesky(np.linalg.inv(moments)[::-1, ::-1])[::-1, ::-1].T  # inverse = upper' upper, upper triangular
    rest = np.concatenate([w, last[:, None]], axis=1)
    out = np.empty(w.shape, np.int64)
    for k in range(columns):
        out[:, k] = np.clip(np.rint(rest[:, k]), -tops[k], tops[k])
        rest[:, k + 1 :] -= ((rest[:, k] - out[:, k]) / upper[k, k])[:, None] * upper[k, k + 1 :]
    return out, np.rint(rest[:, columns])


def round_accumulator(matrices: list[Matrix], bias: Array, fraction: Array, moments: Array, what: str) -> Rounded:
    """Integers for one accumulator; `fraction` (N,) of its requantised rows; moments (K + 1, K + 1) of all arguments and 1.

    Unsupported: a row whose sum fits int32 at no scale that a multiplier can express.
    """
    widths = [a.w.shape[1] for a in matrices]
    starts = np.cumsum([0, *widths])
    energy = [float(np.trace(moments[a:b, a:b])) + (b - a) / 12 for a, b in pairwise(starts)]
    shifts = shifts_of(matrices, energy)
    unit = np.exp2(-fraction.astype(np.float64))
    need = np.max([np.abs(a.w).max(1) / a.top / 2.0**s for a, s in zip(matrices, shifts, strict=True)], axis=0) / unit
    need = np.maximum(need, np.abs(bias) / unit / 2**30)
    need = np.maximum(need, max(float(need.max()), 2.0**-40) / 2**14)
    tops = np.concatenate([np.full(n, a.top) for a, n in zip(matrices, widths, strict=True)])
    for _ in range(200):
        sh, up = multiplier_shift(float(need.max()))
        now = [s + up for s in shifts]
        m = np.clip(np.ceil(need / 2.0**up * 2.0 ** (16 + sh) - 1e-6), 1, 32767)
        step = m * 2.0 ** -(16 + sh) * unit  # what one step of the accumulator is worth
        weight = np.repeat([2.0**s for s in now], widths)
        real = np.concatenate([a.w for a in matrices], axis=1) / step[:, None] / weight
        scaled = np.append(weight, 1.0)
        noise = np.diag(np.append(np.repeat(1 / 12, sum(widths)) * weight**2, 0.0))
        w, b = compensated(real, moments * scaled * scaled[:, None] + noise, tops, bias / step)
        bound = np.abs(b) + sum(
            2.0**s * a.argument * np.abs(w[:, i:j]).sum(1) for a, s, (i, j) in zip(matrices, now, pairwise(starts), strict=True)
        )
        fails = bound > LIMIT
        if not fails.any():
            parts = [w[:, i:j] for i, j in pairwise(starts)]
            return Rounded(parts, now, m.astype(np.int64), sh, b.astype(np.int64), bound.astype(np.int64))
        need = np.where(fails, need * np.maximum(bound / LIMIT, 1.0) * 1.002, need)
    raise Unsupported(f"{what}: no scale keeps its sums inside int32")


def multiplier_shift(need: float) -> tuple[int, int]:
    """(SH, how far all sources shift up) so that need = m / 2^(16 + SH) has m up to 32767 and SH >= 1."""
    sh = math.floor(math.log2(32767 / need)) - 16
    return (sh, 0) if 1 <= sh <= 30 else (30, 0) if sh > 30 else (1, 1 - sh)
