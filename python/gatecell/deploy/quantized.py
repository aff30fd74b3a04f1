"""An integer model as its users hold it: arrays in and out in the model's own layout, streaming, arrays for files.

Not here: the arithmetic (integer.py), how it was made (quantizer.py).  Letters: T time, B batch, I input, O output.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..algebra.integer import IntegerProgram, prove
from ..algebra.model import IntegerLayer, IntegerModel, check, check_rule, quantize_input
from ..tensor.dtypes import Array
from ..tensor.integers import CoreModel
from .axes import BATCH, FEATURE
from .door import numbers
from .graph import Input, Output, check_ends
from .layout import arranged, timed
from .plain import pack, unpack

if TYPE_CHECKING:
    from .stream import Stream


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedModel:
    """y = q(x): float32 in the layout of the model that was quantised, computed in integers (docs/arithmetic.md)."""

    model: IntegerModel
    input: Input
    output: Output

    def __call__(self, x: Any) -> Array:
        """x: real numbers in the model's layout, or without its batch axis -> float32, laid out as the model's output.

        TypeError: no real numbers; ValueError: a wrong shape, NaN.
        """
        a = self.readings(x)
        with np.errstate(over="ignore"):
            rows, bare = timed(self.input, a.astype(np.float32, copy=False))
        q, nan = self.core.quantize(rows)
        if nan:
            refuse_nan(a)
        y = self.core.run(q, self.core.start(rows.shape[1]))
        return arranged(self.output, self.core.dequantize(y), bare)

    def run(self, x: Array) -> Array:
        """The integers: `quantize_input`'s in the model's layout -> int16 in the output's.

        TypeError, ValueError: another type; another shape, or numbers that `quantize_input` never gives.
        """
        if x.dtype != self.input_type:
            raise TypeError(f"x: {self.input_type} wanted, as quantize_input gives it, got {x.dtype}")
        if x.size and int(x.min()) == np.iinfo(x.dtype).min:
            raise ValueError(f"x: at least {np.iinfo(x.dtype).min + 1} wanted, as quantize_input gives it, got {x.min()}")
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
        """Real numbers (..., I) to the integers that the model reads; what lies beyond their range, infinities too, to its ends.

        TypeError: no real numbers; ValueError: a wrong shape, NaN (a device takes it for the lower end).
        """
        a = self.readings(x)
        refuse_nan(a)
        return quantize_input(self.model.scale, self.model.offset, self.model.input_bits, a)

    def readings(self, x: Any) -> Array:
        """x as an array.  TypeError: no real numbers; ValueError: another number of features."""
        a = numbers("x", x)
        if self.model.inputs > 1 and (a.ndim == 0 or a.shape[-1] != self.model.inputs):
            raise ValueError(f"x: {self.model.inputs} features wanted in the last dimension, got shape {a.shape}")
        return a

    def dequantize_output(self, y: Array) -> Array:
        """The output's integers, in its layout or (..., O), to float32."""
        a, axes = np.asarray(y), self.output.axes
        own = next((of for of in (axes, tuple(n for n in axes if n != BATCH)) if len(of) == a.ndim), ())
        if FEATURE not in own:
            return self.dequantize_rows(a[..., None])[..., 0] if self.model.outputs == 1 else self.dequantize_rows(a)
        return np.moveaxis(self.dequantize_rows(np.moveaxis(a, own.index(FEATURE), -1)), -1, own.index(FEATURE))

    def dequantize_rows(self, y: Array) -> Array:
        """(..., O) to float32, whatever the output's layout."""
        out: Array = y.astype(np.float32) * np.exp2(-self.model.fraction.astype(np.float64)).astype(np.float32)
        return out

    def stream(self, batch: int = 1) -> Stream:
        """`batch` sequences, a step at a time."""
        from .stream import Stream  # which reads this file

        return Stream(self, batch)

    def to_arrays(self) -> dict[str, Array]:
        """Everything as arrays by name, for a file; docs/arithmetic.md, section 10."""
        m = self.model
        layers = tuple(LayerDescription(p.program, p.sizes, p.quotes) for p in m.layers)
        text = json.dumps(pack(Description(m.rule, m.scheme, m.input_bits, self.input, self.output, layers), {}))
        out = {"input.scale": m.scale, "input.offset": m.offset, "output.fraction": m.fraction}
        for k, layer in enumerate(m.layers):
            out |= {name: getattr(layer, kind)[key] for kind, names in stored(k, layer.program).items() for key, name in names.items()}
        return out | {"description": np.frombuffer(text.encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> QuantizedModel:
        """The inverse; everything is checked first.

        ValueError, saying what was wanted: a description that is none, arrays that are missing or of another type, shape or range, a step
        whose values could leave int32, layers that do not fit together.
        """
        d = described(arrays)
        names = [stored(k, each.program) for k, each in enumerate(d.layers)]
        wanted = {n for kinds in names for of in kinds.values() for n in of.values()} | {"description", *ENDS}
        if wrong := sorted(wanted ^ set(arrays), key=str):
            raise ValueError(f"not an integer model: array {wrong[0]!r} is {'missing' if wrong[0] in wanted else 'none of its own'}")
        layers = []
        for each, kinds in zip(d.layers, names, strict=True):
            of = {kind: {key: arrays[name] for key, name in inner.items()} for kind, inner in kinds.items()}
            layers.append(IntegerLayer(each.program, each.sizes, quotes=each.quotes, **of))
        scale, offset, fraction = (arrays[name] for name in ENDS)
        model = IntegerModel(tuple(layers), d.scheme, d.input_bits, scale, offset, fraction, d.rule)
        check(model)
        check_ends(d.input, d.output)
        if (d.input.kind, d.input.size, d.output.size) != ("real", model.inputs, model.outputs):
            raise ValueError(f"wanted {model.inputs} real inputs and {model.outputs} outputs, got {d.input} and {d.output}")
        return cls(model, d.input, d.output)


def refuse_nan(a: Array) -> None:
    """ValueError: where the first one is."""
    if a.dtype.kind == "f" and len(holes := np.argwhere(np.isnan(a))):
        raise ValueError(f"x: numbers wanted, got NaN at {tuple(holes[0].tolist())}")


ENDS = ("input.scale", "input.offset", "output.fraction")


@dataclasses.dataclass(frozen=True)
class LayerDescription:
    """What a file says of a layer beside its arrays."""

    program: IntegerProgram
    sizes: Mapping[str, int]
    quotes: Mapping[int, str]


@dataclasses.dataclass(frozen=True)
class Description:
    """What a file says of an integer model beside its arrays."""

    rule: int
    scheme: str
    input_bits: int
    input: Input
    output: Output
    layers: tuple[LayerDescription, ...]


def stored(k: int, p: IntegerProgram) -> dict[str, dict[str, str]]:
    """Field of IntegerLayer -> its keys -> the names of their arrays in a file, for layer k."""
    names = [a.name for a, _ in p.accumulators]
    plain = {"weights": {f: f"{k}.{f}" for f in p.families}, "params": {n: f"{k}.{n}" for n in p.of_kind("param")}}
    return plain | {kind: {n: f"{k}.{n}.{kind}" for n in names} for kind in ("m", "b")}


def described(arrays: Mapping[str, Array]) -> Description:
    """The description among the arrays, every value of its type, every step proven.  ValueError."""
    if foreign := [n for n, a in arrays.items() if not isinstance(a, np.ndarray)]:
        raise ValueError(f"not an integer model: arrays wanted, {foreign[0]!r} is none")
    text = arrays.get("description", np.empty(0))
    if text.dtype != np.uint8 or text.ndim != 1:
        raise ValueError(f"not an integer model: a description of bytes wanted, got {text.dtype} of shape {text.shape}")
    try:
        plain = json.loads(text.tobytes().decode())
    except (ValueError, RecursionError) as e:
        raise ValueError(f"not an integer model: its description is no JSON: {e}") from None
    if isinstance(plain, dict):
        check_rule(plain.get("rule"))  # first: another version may have other fields
    d = unpack(Description, plain, {})
    for each in d.layers:
        prove(each.program)  # its names are those of arrays
    return d
