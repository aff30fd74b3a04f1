"""What the axes of a value are: batch, time, features, and how shape operations move them.

Not here: the operations of a step (lowering.py).  An axis is a tuple of names: () is of length 1, ("batch", "time") two flattened into one.
A value of one feature has no "feature" axis: where an operation wants one, () serves.  So every named axis is longer than 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Axis: TypeAlias = tuple[str, ...]
Axes: TypeAlias = tuple[Axis, ...]
BATCH, TIME, FEATURE = "batch", "time", "feature"


class Misfit(Exception):
    """An operation that a step graph cannot express, and why."""


@dataclass(frozen=True)
class Value:
    """A Tensor of the forward pass as the step graph sees it: the step that computes it, its features, what its axes are."""

    step: str
    size: int
    axes: Axes

    @property
    def timed(self) -> bool:
        """Whether it has a value for every step; else it is that of the last one."""
        return any(TIME in a for a in self.axes)

    @property
    def features(self) -> Axis:
        """What its feature axis looks like."""
        return (FEATURE,) if self.size > 1 else ()


@dataclass(frozen=True)
class Pile:
    """Several values stacked along a new first axis: the final states of several layers."""

    values: tuple[Value, ...]


def text(axes: Axes) -> str:
    return "(" + ", ".join("*".join(a) or "1" for a in axes) + ")"


def with_features(v: Value, step: str, size: int) -> Value:
    """A value of `size` features on the last axis in place of v's, which must be there too."""
    if not v.axes or v.axes[-1] != v.features:
        raise Misfit(f"it wants the features on the last axis; the axes are {text(v.axes)}")
    return Value(step, size, (*v.axes[:-1], (FEATURE,) if size > 1 else ()))


def over_features(v: Value, dim: int | None) -> int:
    """`dim`, where that is the feature axis."""
    if covers_time(v, dim):
        raise Misfit("it mixes time steps")
    if dim is None or v.axes[dim] != v.features:
        raise Misfit(f"it runs over another axis than the features: {text(v.axes)}, dim {dim}")
    return dim


def covers_time(v: Value, dim: Any) -> bool:
    """Whether an operation over `dim` (an axis, several, None: all) runs over time."""
    return v.timed and (dim is None or any(TIME in v.axes[d] for d in np.atleast_1d(dim)))


def broadcast(a: Value, b: Value) -> Axes:
    """The axes of a pointwise operation of two values."""
    if a.timed != b.timed:
        raise Misfit("it joins the value of the last step to those of every step")
    rank = max(len(a.axes), len(b.axes))
    pairs = list(zip(*(((),) * (rank - len(v.axes)) + v.axes for v in (a, b)), strict=True))
    if any(p != q and p and q for p, q in pairs):
        raise Misfit(f"it joins axes of different meaning: {text(a.axes)} and {text(b.axes)}")
    axes = tuple(p or q for p, q in pairs)
    named = [name for axis in axes for name in axis]
    if len(named) != len(set(named)):
        raise Misfit(f"it pairs every step or row with every other: {text(axes)}")
    return axes


def regroup(v: Value, lengths: Mapping[str, int], shape: Sequence[int]) -> Axes:
    """The axes after a reshape, which may only split and join whole axes and move those of length 1."""
    names = [name for axis in v.axes for name in axis]
    axes: list[Axis] = []
    for want in shape:
        axis: Axis = ()
        n = 1
        while n < want and names:
            axis += (names.pop(0),)
            n *= v.size if axis[-1] == FEATURE else lengths[axis[-1]]
        if n != want:
            raise Misfit(f"it cuts through the axes {text(v.axes)}")
        axes.append(axis)
    if names:
        raise Misfit(f"it cuts through the axes {text(v.axes)}")
    return tuple(axes)


def select(v: Value, lengths: Mapping[str, int], key: Sequence[Any]) -> tuple[Axes, slice | None]:
    """The axes after indexing, and the slice of the features that it takes (None: all)."""
    if any(isinstance(k, (np.ndarray, list)) for k in key):
        raise Misfit("it picks single rows, steps or features by a list")
    given = sum(k is not None and k is not Ellipsis for k in key)
    filled = list(key) if Ellipsis in key else [*key, Ellipsis]
    where = filled.index(Ellipsis)
    filled[where : where + 1] = [slice(None)] * (len(v.axes) - given)
    rest, features = list(v.axes), None
    axes: list[Axis] = []
    for k in filled:
        if k is None:
            axes.append(())
            continue
        axis = rest.pop(0)
        n = _length(axis, v.size, lengths)
        start, stop, step = k.indices(n) if isinstance(k, slice) else (range(n)[k], range(n)[k] + 1, 1)
        kept: Axis = axis
        if (start, stop, step) == (0, n, 1):
            pass
        elif axis == (TIME,):
            if (start, stop, step) != (n - 1, n, 1):
                raise Misfit("it reads other steps than the last one")
            kept = ()
        elif axis == (FEATURE,) and step == 1 and start < stop:
            features = slice(start, stop)
            kept = (FEATURE,) if stop - start > 1 else ()
        else:
            raise Misfit(f"it picks from an axis that is not the features: {text((axis,))}")
        axes += [kept] if isinstance(k, slice) else []
    return tuple(axes), features


def _length(axis: Axis, size: int, lengths: Mapping[str, int]) -> int:
    return int(np.prod([size if name == FEATURE else lengths[name] for name in axis], dtype=np.int64))
