"""What users hand to a deployed model, looked at before anything is changed: numbers, a batch, states.

Not here: whole sequences (layout.py), modules (trace.py), one step's input and `out` (stream_faces.pxd).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tensor.dtypes import Array
from ..tensor.tensor import Tensor

KINDS = {"real": "fiub", "whole": "iu"}
"""Numbers -> NumPy's letters for the types that have them."""


def numbers(what: str, x: Any, kind: str = "real") -> Array:
    """A Tensor, an array or what NumPy makes one of, as it is.  TypeError: no numbers of the kind."""
    a = x.data if isinstance(x, Tensor) else np.asarray(x)
    if a.dtype.kind not in KINDS[kind]:
        raise TypeError(f"{what}: {kind} numbers wanted, got {a.dtype}")
    return a


def batch_size(batch: int) -> int:
    """TypeError, ValueError: no int of at least 1."""
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)):
        raise TypeError(f"batch: a whole number wanted, got {type(batch).__name__}")
    if batch < 1:
        raise ValueError(f"batch: at least 1 wanted, got {batch}")
    return int(batch)


def new_states(given: Mapping[str, Any], own: Mapping[str, Array], kind: str = "real") -> dict[str, Array]:
    """A stream's states by name, as arrays.  TypeError: no mapping, no numbers of the kind; ValueError: other names, other shapes."""
    if not isinstance(given, Mapping):
        raise TypeError(f"state: a mapping of names to arrays wanted, got {type(given).__name__}")
    if set(given) != set(own):
        raise ValueError(f"state: the names {', '.join(own) or 'none'} wanted, got {', '.join(map(str, given)) or 'none'}")
    new = {name: numbers(f"state {name}", given[name], kind) for name in own}
    for name, value in new.items():
        if value.shape != own[name].shape:
            raise ValueError(f"state {name}: shape {own[name].shape} wanted, got {value.shape}")
    return new
