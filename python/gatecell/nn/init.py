"""Initialisation in place, under torch's names: each writes into the Tensor given and returns it. Numbers come from manual_seed()'s stream.
Recurrent layers as a whole, by their cell's gates: gates.py.

fan_in is the number of inputs of a weight (out, in), fan_out that of its outputs. ValueError: a weight of fewer than two dimensions.
"""

from __future__ import annotations

import math
from typing import TypeVar

from ..tensor import random
from ..tensor.checks import wants
from ..tensor.tensor import Tensor
from .gates import chrono_ as chrono_
from .gates import forget_bias_ as forget_bias_
from .gates import orthogonal_gates_ as orthogonal_gates_
from .gates import orthonormal

T = TypeVar("T", bound=Tensor)

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}


@wants("tensor")
def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    tensor.data[...] = random.uniform(a, b, tensor.shape)
    return tensor.changed()


@wants("tensor")
def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    tensor.data[...] = random.normal(tensor.shape) * std + mean
    return tensor.changed()


@wants("tensor")
def constant_(tensor: T, val: float) -> T:
    tensor.data[...] = val
    return tensor.changed()


def zeros_(tensor: T) -> T:
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    return constant_(tensor, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Standard deviation that keeps a signal's scale through the nonlinearity; `param` is leaky_relu's slope (0.01)."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"nonlinearity: wanted one of {', '.join([*_GAINS, 'leaky_relu'])}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Uniform with variance 2 gain^2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """Normal with variance 2 gain^2 / (fan_in + fan_out)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))))


def kaiming_uniform_(tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Uniform with variance gain^2 / fan (He et al. 2015)."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Normal with variance gain^2 / fan."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """Rows or columns, whichever are fewer, orthonormal times gain (Saxe, McClelland & Ganguli 2014)."""
    _fans(tensor)
    rows = tensor.shape[0]
    tensor.data[...] = gain * orthonormal(rows, tensor.numel() // rows).reshape(tensor.shape)
    return tensor.changed()


@wants("tensor")
def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2 or not tensor.numel():
        raise ValueError(f"wanted a weight of at least two dimensions, none empty, got shape {tuple(tensor.shape)}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode: wanted 'fan_in' or 'fan_out', got {mode!r}")
    return _fans(tensor)[mode == "fan_out"]
