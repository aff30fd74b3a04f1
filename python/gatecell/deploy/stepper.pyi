"""Types of stepper.pyx."""

from ..tensor.dtypes import Array
from ..tensor.engine import Layer

class Stepper:
    batch: int
    inputs: int
    units: int
    row: int
    threads: int
    def __init__(self, layer: Layer, batch: int) -> None: ...
    def __call__(self, x: Array) -> Array: ...
    @property
    def state(self) -> dict[str, Array]: ...
