"""gatecell.quantize: from a trained module and calibration data to an integer model.  How integers are chosen stands in quantizer.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn import Module
from ..tensor.dtypes import Array
from .chain import float_model
from .door import numbers
from .graph import StepGraph
from .layout import timed
from .quantized import QuantizedModel
from .quantizer import activation_bits, quantize_model
from .trace import trace

STREAMS, LONG = 8, 4000
"""One long sequence is calibrated as so many streams side by side, from so many steps on."""


def quantize(model: Module | StepGraph, calibration: Any, scheme: str = "w8a8", *, input_bits: int | None = None) -> QuantizedModel:
    """An integer model of `model`: docs/arithmetic.md says what it computes, to the bit.

    calibration: real numbers as the model meets them in use, in its layout or without the batch axis; a few thousand steps do.
    scheme: "w8a8" or "w8a16", bits of weights and of what enters a recurrent layer's products.
    input_bits: 8 or 16, of the model's own input; 16 where nothing is said: a sensor's last bits are worth more than they cost.
    TypeError, ValueError: another type, shape, scheme; NaN or infinities in the data or the model; features that vary by less than
    float32 can tell.  Unsupported: a model without an integer form, and why; weights too large for one.
    """
    activation_bits(scheme)
    if input_bits is None:
        input_bits = 16
    if input_bits not in (8, 16) or isinstance(input_bits, bool):
        raise ValueError(f"input_bits: wanted 8 or 16, got {input_bits!r}")
    if not isinstance(model, (Module, StepGraph)):
        raise TypeError(f"model: a Module wanted, got {type(model).__name__}")
    graph = model if isinstance(model, StepGraph) else trace(model)
    chain = float_model(graph)
    x, _ = timed(graph.input, numbers("calibration", calibration))
    with np.errstate(over="ignore"):
        beyond = np.argwhere(~np.isfinite(x.astype(np.float32)))
    if len(beyond):
        step, row, feature = beyond[0].tolist()
        raise ValueError(f"calibration: finite numbers of float32 wanted, got {x[step, row, feature]} in feature {feature} at step {step}")
    return QuantizedModel(quantize_model(chain, streams(x), scheme, input_bits), graph.input, graph.output)


def streams(x: Array) -> Array:
    """(T, B, I), a single long sequence cut into several: calibration takes as long as its longest stream."""
    steps, batch, features = x.shape
    if batch > 1 or steps < LONG:
        return x
    each = steps // STREAMS
    return np.ascontiguousarray(x[: each * STREAMS].reshape(STREAMS, each, features).transpose(1, 0, 2))
