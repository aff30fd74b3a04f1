"""Gradients and parameters as a whole: clipping, and parameters as one vector; packed sequences: rnn. Names and meaning are torch's."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ...tensor.checks import tensor_of
from ...tensor.dtypes import Array
from ...tensor.functions import cat
from ...tensor.numerics import total
from ...tensor.tensor import Tensor
from . import rnn

__all__ = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "rnn", "vector_to_parameters"]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients in place by one factor, so that their joint norm is at most max_norm; returns the norm before, a scalar.

    norm_type: p of the p-norm, inf for the largest absolute value. Parameters without a gradient do not count.
    ValueError: max_norm not positive or NaN; a norm that is not finite, if error_if_nonfinite (otherwise it spreads, as in torch).
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm wants a positive number, got {max_norm}")
    tensors = [p.grad for p in _tensors(parameters) if p.grad is not None]
    gradients = [t.data for t in tensors]
    total = _norm(gradients, norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"the gradients' norm of order {norm_type} is {total}, wanted a finite one; nothing was scaled")
    factor = max_norm / (total + 1e-6)  # torch's guard against 0
    if not factor >= 1:
        with np.errstate(invalid="ignore"):  # inf * 0 is the NaN that is to spread
            for t in tensors:
                t.data *= factor
                t.changed()
    return _scalar(total, gradients)


def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The joint norm of tensors, a scalar, as if they were one vector. ValueError: not finite, if error_if_nonfinite."""
    arrays = [t.data for t in _tensors(tensors)]
    total = _norm(arrays, norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"the norm of order {norm_type} is {total}, wanted a finite one")
    return _scalar(total, arrays)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut every element of the gradients to [-clip_value, clip_value], in place."""
    if not clip_value > 0:
        raise ValueError(f"clip_value wants a positive number, got {clip_value}")
    for p in _tensors(parameters):
        if p.grad is not None:
            np.clip(p.grad.data, -clip_value, clip_value, out=p.grad.data)
            p.grad.changed()


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters as one vector, differentiably, in their order."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy a vector into parameters, in place. ValueError, and no change, when it has another length than they have elements."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"vec wants a Tensor, got {type(vec).__name__}")
    targets = _tensors(parameters)
    total = sum(p.numel() for p in targets)
    if vec.shape != (total,):
        raise ValueError(f"vec wants shape {(total,)}, got {tuple(vec.shape)}")
    start = 0
    for p in targets:
        p.data[...] = vec.data[start : start + p.numel()].reshape(p.shape)
        p.changed()
        start += p.numel()


def _tensors(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else [tensor_of("parameters", p) for p in parameters]


def _scalar(value: float, like: list[Array]) -> Tensor:
    return Tensor(np.asarray(value, like[0].dtype if like else np.float32))


def _norm(arrays: list[Array], order: float) -> float:
    """The norm of all elements together. Sums run in the arrays' precision within an array, in float64 across arrays."""
    if not order > 0:
        raise ValueError(f"norm_type wants a positive number, got {order}")
    if order == math.inf:
        return float(np.max([np.abs(a).max() for a in arrays], initial=0.0))
    if order == 2:
        return math.sqrt(sum(float(total(a * a)) for a in arrays))
    return float(sum(float(total(np.abs(a) ** order)) for a in arrays) ** (1 / order))
