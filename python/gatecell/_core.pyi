"""Types of the compiled module, python/bindings.cpp.  Not here: what the functions do (cpp/include/gatecell/gatecell.h)."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Placed: TypeAlias = tuple[Array, int, int, int, int]
"""An array, the element at which its slot 0 begins, and step, row and slots of gatecell_array."""

PAD: int
__version__: str
functions: object

def cpu() -> str: ...
def peak() -> float: ...
def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array: ...
def clear(a: Array, lengths: Array) -> None: ...
def memory(forget: bool = False) -> tuple[int, int, int]: ...
def function(name: str, x: Array) -> Array: ...
def sum(x: Array) -> Array: ...
def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]: ...
def mask(
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    key: tuple[int, int],
    step: int,
    samples: Array | None,
    below: int,
    kept: float,
    threads: int,
) -> Array: ...
def outer(
    T: int,
    B: int,
    gradients: Sequence[Placed],
    N: int,
    argument: Placed,
    M: int,
    out: Sequence[Array],
    sums: Sequence[Array | None],
    threads: int,
    lengths: Array | None = None,
    late: bool = False,
) -> None: ...

class Extent:
    def __init__(self, slots: int, units: int) -> None: ...

class Plan:
    def __init__(self, code: Sequence[int], constants: Sequence[float]) -> None: ...
    @property
    def steps(self) -> tuple[int, int]: ...

class Layer:
    def __init__(self, plan: Plan, sizes: Sequence[int], weights: Sequence[tuple[Array, Array | None]], interpret: bool) -> None: ...
    @property
    def lent(self) -> object: ...
    def run(
        self,
        T: int,
        B: int,
        arrays: Sequence[Placed | None],
        extents: Sequence[Extent],
        threads: int,
        lengths: Array | None = None,
        late: bool = False,
    ) -> None: ...
    def table(self, T: int, B: int, arrays: Sequence[Placed | None], extents: Sequence[Extent]) -> object: ...

def quantize(x: Array, offset: Array, scale: Array, largest: int) -> tuple[Array, bool]: ...
def dequantize(q: Array, scale: Array) -> Array: ...

class Integer:
    def __init__(self, code: Sequence[int], arrays: Sequence[Array], table: Array, interpret: bool) -> None: ...
    @property
    def steps(self) -> tuple[int, int]: ...
    @property
    def lent(self) -> object: ...
    def run(self, x: Array, start: Sequence[Array], threads: int) -> Array: ...
