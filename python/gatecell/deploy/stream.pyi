"""Types of stream.pyx; from Cython see stream.pxd."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..nn import Module
from ..tensor.dtypes import Array
from .graph import StepGraph
from .quantized import QuantizedModel

class Stream:
    batch: int
    inputs: int
    outputs: int
    model: StepGraph | QuantizedModel
    dtype: np.dtype[Any]
    result_dtype: np.dtype[Any]
    threads: int
    states: Mapping[str, Array]
    def __init__(self, model: Module | StepGraph | QuantizedModel, batch: int = 1) -> None: ...
    def step(self, x: Any, out: Any = None) -> Any: ...
    def reset(self) -> None: ...
    @property
    def state(self) -> bytes: ...
    @state.setter
    def state(self, state: bytes | bytearray | memoryview) -> None: ...

def streamed(model: Module | StepGraph | QuantizedModel, x: Array) -> Array: ...
