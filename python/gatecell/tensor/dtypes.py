"""Element types and their promotion, with torch's names and rules.  A dtype here is NumPy's own object.  No arithmetic."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = "DTypeLike | None"
Scalar: TypeAlias = "bool | int | float | np.generic[Any]"

float32 = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
int8 = np.dtype(np.int8)
uint8 = np.dtype(np.uint8)
int16 = np.dtype(np.int16)
int32 = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
bool_ = np.dtype(np.bool_)
ALL = (float32, float64, int8, uint8, int16, int32, int64, bool_)

_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}


def as_dtype(dtype: DType) -> np.dtype[Any]:
    """The element type that `dtype` names: one of `ALL`, else TypeError."""
    if dtype is float:
        return float32  # Python's float is the working type, as in torch
    found = np.dtype(dtype)
    if found not in ALL:
        raise TypeError(f"a Tensor's dtype is one of {', '.join(map(str, ALL))}; got {found}")
    return found


def scalar_dtype(value: Scalar) -> np.dtype[Any]:
    """The type that torch gives to a Python number."""
    return bool_ if isinstance(value, (bool, np.bool_)) else int64 if isinstance(value, (int, np.integer)) else float32


def promote(*operands: Array | Scalar) -> np.dtype[Any]:
    """torch's result type: arrays with axes decide; 0-d arrays and numbers only lift them to a higher kind (bool < integer < float)."""
    groups: list[np.dtype[Any] | None] = [None, None, None]  # arrays with axes, 0-d arrays, Python numbers
    for v in operands:
        place, dtype = ((0 if v.ndim else 1), v.dtype) if isinstance(v, np.ndarray) else (2, scalar_dtype(v))
        now = groups[place]
        groups[place] = dtype if now is None else _join(now, dtype)
    result: np.dtype[Any] | None = None
    for group in groups:
        if group is not None and (result is None or _RANK[group.kind] > _RANK[result.kind]):
            result = group
    assert result is not None
    return result


def _join(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Two of the same priority: a float wins over any integer (NumPy would widen float32 with int64 to float64)."""
    if _RANK[a.kind] != _RANK[b.kind]:
        return a if _RANK[a.kind] > _RANK[b.kind] else b
    return np.promote_types(a, b)
