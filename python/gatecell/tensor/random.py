"""The one stream of random numbers, from a NumPy generator seeded by `manual_seed`.  Not here: tensors of them (create.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import Array

_generator = np.random.Generator(np.random.PCG64())


def manual_seed(seed: int) -> np.random.Generator:
    """Start the stream again from `seed`, an integer >= 0 (negative ones count from 2**64, as in torch); the numbers are not torch's."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"manual_seed: an integer wanted, got {type(seed).__name__}")
    _generator.bit_generator.state = np.random.PCG64(int(seed) % 2**64).state
    return _generator


def generator() -> np.random.Generator:
    """The stream itself: whoever draws from it advances it for all."""
    return _generator


def get_rng_state() -> dict[str, Any]:
    """Where the stream stands; plain numbers and strings, for checkpoints."""
    return dict(_generator.bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Go back to where `get_rng_state` stood."""
    _generator.bit_generator.state = state


def normal(shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.floating[Any]] = np.float32) -> Array:
    return np.asarray(_generator.standard_normal(shape, np.float64).astype(dtype))


def uniform(low: float, high: float, shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.floating[Any]] = np.float32) -> Array:
    """Uniform in [low, high), rounded to `dtype`.  ValueError: bounds that are not finite."""
    if not np.isfinite(high - low):
        raise ValueError(f"uniform numbers between finite bounds wanted, got {low} and {high}")
    return np.asarray(_generator.uniform(low, high, shape).astype(dtype))
