"""Whole sequences between a model's own layout and (T, B, n): T time, B batch, n features.  Not here: single steps, what is computed."""

from __future__ import annotations

import numpy as np

from ..tensor.dtypes import Array
from .axes import BATCH, FEATURE, TIME
from .graph import Input, Output


def timed(spec: Input, x: Array) -> tuple[Array, bool]:
    """x in the layout of `spec`, its batch axis may be missing -> (T, B, n), and whether it was.  ValueError: another shape."""
    axes = list(spec.axes)
    bare = BATCH in axes and x.ndim == len(axes) - 1
    if bare:
        axes.remove(BATCH)
    if x.ndim != len(axes) or (FEATURE in axes and x.shape[axes.index(FEATURE)] != spec.size) or 0 in x.shape:
        raise ValueError(f"x: ({', '.join(spec.axes)}) with {spec.size} features and at least one step wanted, got shape {x.shape}")
    for missing in (BATCH, FEATURE):
        if missing not in axes:
            x, axes = x[..., None], [*axes, missing]
    return np.ascontiguousarray(np.transpose(x, [axes.index(a) for a in (TIME, BATCH, FEATURE)])), bare


def arranged(spec: Output, y: Array, bare: bool) -> Array:
    """Outputs (T, B, n) in the layout of `spec`; the last step alone where it has no time."""
    own = [TIME, BATCH, FEATURE]
    if TIME not in spec.axes:
        y, own = y[-1], own[1:]
    if FEATURE not in spec.axes:
        y, own = y[..., 0], own[:-1]
    if bare or BATCH not in spec.axes:
        y = y.take(0, own.index(BATCH))
        own.remove(BATCH)
    return np.ascontiguousarray(np.transpose(y, [own.index(a) for a in spec.axes if a in own]))
