"""An integer model as its users hold it: arrays in and out in the model's own layout, streaming, arrays for files.

Not here: the arithmetic (integer.py), how it was made (quantize.py).  Letters: T time, B batch, I input, O output.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra.integer import from_plain, to_plain
from ..algebra.model import IntegerLayer, IntegerModel, check, quantize_input
from ..tensor.integers import CoreModel
from .graph import Input, Output
from .layout import arranged, timed

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedModel:
    """y = q(x): float32 in the layout of the model that was quantised, computed in integers (docs/arithmetic.md)."""

    model: IntegerModel
    input: Input
    output: Output

    def __call__(self, x: Any) -> Array:
        """x: real numbers in the model's layout, or without its batch axis -> float32, laid out as the model's output.

        TypeError: no real numbers; ValueError: a wrong shape.
        """
        y = self.run(self.quantize_input(x))
        return self.dequantize_output(y)

    def run(self, x: Array) -> Array:
        """The integers: `quantize_input`'s in the model's layout -> int16 in the output's.  TypeError: another type."""
        if x.dtype != self.input_type:
            raise TypeError(f"x: {self.input_type} wanted, as quantize_input gives it, got {x.dtype}")
        rows, bare = timed(self.input, x)
        y = self.core.run(rows, self.core.start(rows.shape[1]))
        return arranged(self.output, y, bare)

    @cached_property
    def core(self) -> CoreModel:
        """The model on the SIMD core, whose bits are the definition's."""
        return CoreModel(self.model)

    @property
    def input_type(self) -> np.dtype[Any]:
        """int8 or int16."""
        return np.dtype(f"int{self.model.input_bits}")

    @property
    def scheme(self) -> str:
        return self.model.scheme

    def quantize_input(self, x: Any) -> Array:
        """Real numbers (..., I) to the integers that the model reads."""
        a = np.asarray(getattr(x, "data", x) if not isinstance(x, np.ndarray) else x)
        if a.dtype.kind not in "fiub":
            raise TypeError(f"x: real numbers wanted, got {a.dtype}")
        if self.model.inputs > 1 and (a.ndim == 0 or a.shape[-1] != self.model.inputs):
            raise ValueError(f"x: {self.model.inputs} features wanted in the last dimension, got shape {a.shape}")
        return quantize_input(self.model.scale, self.model.offset, self.model.input_bits, a)

    def dequantize_output(self, y: Array) -> Array:
        """The output's integers (..., O) to float32."""
        step = np.exp2(-self.model.fraction.astype(np.float64)).astype(np.float32)
        out: Array = np.asarray(y).astype(np.float32) * (step if self.model.outputs > 1 else step[0])
        return out

    def stream(self, batch: int = 1) -> QuantizedStream:
        """`batch` sequences, a step at a time."""
        return QuantizedStream(self, batch)

    def to_arrays(self) -> dict[str, Array]:
        """Everything as arrays by name, for a file; docs/arithmetic.md, section 10."""
        m = self.model
        description = {
            "rule": m.rule,
            "scheme": m.scheme,
            "input_bits": m.input_bits,
            "input": dataclasses.asdict(self.input),
            "output": dataclasses.asdict(self.output),
            "layers": [{"program": to_plain(p.program), "sizes": dict(p.sizes), "quotes": dict(p.quotes)} for p in m.layers],
        }
        out = {"input.scale": m.scale, "input.offset": m.offset, "output.fraction": m.fraction}
        for k, layer in enumerate(m.layers):
            out |= {f"{k}.{name}": a for name, a in {**layer.weights, **layer.params}.items()}
            out |= {f"{k}.{name}.m": a for name, a in layer.m.items()} | {f"{k}.{name}.b": a for name, a in layer.b.items()}
        return out | {"description": np.frombuffer(json.dumps(description).encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> QuantizedModel:
        """The inverse; everything is checked first.  ValueError: arrays that are no integer model of this version."""
        try:
            d = json.loads(bytes(np.asarray(arrays["description"], np.uint8)).decode())
            layers = []
            for k, each in enumerate(d["layers"]):
                p = from_plain(each["program"])
                weights = {f: arrays[f"{k}.{f}"] for f in p.families}
                m, b = ({a.name: arrays[f"{k}.{a.name}.{kind}"] for a, _ in p.accumulators} for kind in "mb")
                params = {name: arrays[f"{k}.{name}"] for name in p.of_kind("param")}
                layers.append(IntegerLayer(p, each["sizes"], weights, m, b, params, {int(n): str(t) for n, t in each["quotes"].items()}))
            scale, offset, fraction = arrays["input.scale"], arrays["input.offset"], arrays["output.fraction"]
            model = IntegerModel(tuple(layers), d["scheme"], d["input_bits"], scale, offset, fraction, d["rule"])
            given = Input(**{**d["input"], "axes": tuple(d["input"]["axes"])})
            answer = Output(**{**d["output"], "axes": tuple(d["output"]["axes"])})
            check(model)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as e:
            raise ValueError(f"not an integer model: {type(e).__name__}: {e}") from e
        return cls(model, given, answer)


class QuantizedStream:
    """s = q.stream(); y = s.step(x): the integer model one step at a time, as a device runs it."""

    def __init__(self, q: QuantizedModel, batch: int = 1) -> None:
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)):
            raise TypeError(f"batch: a whole number wanted, got {type(batch).__name__}")
        if batch < 1:
            raise ValueError(f"batch: at least 1 wanted, got {batch}")
        self.q, self.batch = q, int(batch)
        self.reset()

    def step(self, x: Any) -> Array:
        """Real numbers (B, I), with a batch of 1 also (I,) -> float32 (B, O) or (O,)."""
        a = np.asarray(x)
        want = (self.batch, self.q.model.inputs)
        if a.shape != want and not (self.batch == 1 and a.shape == want[1:]):
            raise ValueError(f"x: shape {want} wanted, got {a.shape}")
        y = self.q.core.run(self.q.quantize_input(a).reshape(1, *want), self.states)
        return self.q.dequantize_output(y).reshape((*a.shape[:-1], self.q.model.outputs))

    def reset(self) -> None:
        """Back to the state that a sequence begins with."""
        self.states = self.q.core.start(self.batch)

    @property
    def state(self) -> list[dict[str, Array]]:
        """Of each layer, name -> (B, N) integers."""
        return self.states
