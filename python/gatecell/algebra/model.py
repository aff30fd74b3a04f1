"""Chains of steps with their arrays, in floats and in integers: plain data that quantiser, Python definition and emitters hand each other.

Not here: how either is made or run, files, a user's modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .integer import RULE, VIEW, Accumulator, IntegerProgram, Source, prove
from .program import Program, Signature
from .source import Lines, lines

Array = NDArray[Any]


@dataclass(frozen=True)
class FloatLayer:
    """One step with its weights, by the keys of a cell's `shapes`: "W" (G*out, into), "W+" (G*out,), "p.name" (N,)."""

    signature: Signature
    program: Program
    weights: Mapping[str, Array]
    sizes: Mapping[str, int]
    """Axis -> length."""

    @property
    def output(self) -> str:
        return next(iter(self.program.states))

    @property
    def width(self) -> int:
        """Length of the output."""
        return self.sizes[self.program.states[self.output].axis]

    @property
    def recurrent(self) -> bool:
        """Whether a step reads a state; a linear or pointwise layer does not."""
        return any(n.op == "state" for n in self.program.nodes)

    def matrix(self, weight: str) -> tuple[Array, Array | None]:
        """The matrix (out, into) of one product, "W.i", and its bias (out,)."""
        family, gate = weight.split(".")
        gates = self.program.families[family]
        stacked, bias = self.weights[family], self.weights.get(family + "+")
        each = len(stacked) // len(gates)
        rows = slice(gates.index(gate) * each, (gates.index(gate) + 1) * each)
        return stacked[rows], None if bias is None else bias[rows]

    def lines(self) -> Lines:
        return lines(self.signature)


@dataclass(frozen=True)
class FloatModel:
    """Standardisation, then layers: y = layers((x - mean) / std)."""

    layers: tuple[FloatLayer, ...]
    mean: Array
    """(I,) float64; zeros where the model standardises nothing."""
    std: Array
    """(I,) float64."""

    @property
    def inputs(self) -> int:
        return len(self.mean)


@dataclass(frozen=True)
class IntegerLayer:
    """One integer step with its arrays."""

    program: IntegerProgram
    sizes: Mapping[str, int]
    weights: Mapping[str, Array]
    """Family -> (G*out, into), int8 or int16."""
    m: Mapping[str, Array]
    """Accumulator -> multipliers (N,) int16, 1..32767."""
    b: Mapping[str, Array]
    """Accumulator -> biases (N,) int32."""
    params: Mapping[str, Array]
    """Parameter -> (N,) int16."""
    quotes: Mapping[int, str] = field(default_factory=dict)
    """Line of the page -> its text, for comments in emitted code."""

    @property
    def width(self) -> int:
        return self.sizes[self.program.vectors[self.program.output].axis]

    def matrix(self, weight: str) -> Array:
        """The integer matrix (out, into) of one product, "W.i"."""
        family, gate = weight.split(".")
        gates = self.program.families[family]
        each = len(self.weights[family]) // len(gates)
        return self.weights[family][gates.index(gate) * each : (gates.index(gate) + 1) * each]

    def argument(self, s: Source) -> int:
        """Largest magnitude of what the source's matrix multiplies."""
        v = self.program.vectors[s.arg]
        return VIEW if s.view else max(-v.lo, v.hi)

    def bounds(self, a: Accumulator) -> Array:
        """Largest magnitude of every row of an accumulator, (N,) int64, in any order of summation (section 9)."""
        total: Array = np.abs(self.b[a.name].astype(np.int64))
        for s in a.sources:
            total = total + (self.argument(s) * np.abs(self.matrix(s.weight).astype(np.int64)).sum(1) << s.shift)
        return total


@dataclass(frozen=True)
class IntegerModel:
    """Layers, and what input and output integers stand for."""

    layers: tuple[IntegerLayer, ...]
    scheme: str
    input_bits: int
    scale: Array
    """(I,) float32: one step of an input integer."""
    offset: Array
    """(I,) float32: what the input integer 0 stands for."""
    fraction: Array
    """(O,) int32: output integer y stands for y / 2^fraction."""
    rule: int = RULE

    @property
    def inputs(self) -> int:
        return len(self.scale)

    @property
    def outputs(self) -> int:
        return len(self.fraction)


def quantize_input(scale: Array, offset: Array, bits: int, x: Array) -> Array:
    """float32 (..., I) -> integers (..., I); docs/arithmetic.md, section 3, all in float32."""
    top = np.float32(2 ** (bits - 1) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        t = (x.astype(np.float32) - offset) / scale
    t = np.where(t > -top, t, -top)  # a NaN is not above, and becomes the lower end
    t = np.where(t < top, t, top)
    half = np.float32(0.5)
    return np.trunc(np.where(t < 0, t - half, t + half)).astype(np.int8 if bits == 8 else np.int16)


def check(model: IntegerModel) -> None:
    """That everything fits and every bound of docs/arithmetic.md holds.  ValueError says what does not: a file may hold anything."""

    def want(what: str, array: Array, kinds: tuple[str, ...], shape: tuple[int, ...]) -> None:
        if array.dtype.name not in kinds or array.shape != shape:
            raise ValueError(f"{what}: wanted {' or '.join(kinds)} of shape {shape}, got {array.dtype} of shape {array.shape}")

    if model.rule != RULE:
        raise ValueError(f"wanted a model of arithmetic version {RULE}, got version {model.rule}")
    if model.input_bits not in (8, 16) or not model.layers:
        raise ValueError(f"wanted layers and an input of 8 or 16 bits, got {len(model.layers)} layers, {model.input_bits} bits")
    want("input.scale", model.scale, ("float32",), (model.inputs,))
    want("input.offset", model.offset, ("float32",), (model.inputs,))
    if not (np.isfinite(model.scale).all() and (model.scale > 0).all() and np.isfinite(model.offset).all()):
        raise ValueError("input.scale: wanted positive numbers, and finite offsets")
    into = model.inputs
    for k, layer in enumerate(model.layers):
        p, vectors = layer.program, layer.program.vectors
        prove(p)
        if layer.sizes.get("I") != into or any(v.axis not in (*layer.sizes, "1") for v in vectors.values()):
            raise ValueError(f"layer {k}: wanted sizes for all axes and {into} inputs, got {dict(layer.sizes)}")
        rows = dict.fromkeys(p.families, 0)
        for a, axis in p.accumulators:
            for s in a.sources:
                family, gate = s.weight.split(".")
                if gate not in p.families.get(family, ()):
                    raise ValueError(f"layer {k}: {a.name} wants one of its own matrices, got {s.weight!r}")
                rows[family] = layer.sizes[axis] * len(p.families[family])
                want(f"{k}.{family}", layer.weights[family], ("int8", "int16"), (rows[family], layer.sizes[vectors[s.arg].axis]))
                top = np.iinfo(layer.weights[family].dtype).max
                if layer.weights[family].size and int(layer.weights[family].min()) < -top:
                    raise ValueError(f"{k}.{family}: wanted weights within +-{top}")
            want(f"{k}.{a.name}.m", layer.m[a.name], ("int16",), (layer.sizes[axis],))
            want(f"{k}.{a.name}.b", layer.b[a.name], ("int32",), (layer.sizes[axis],))
            if int(layer.m[a.name].min()) < 1:
                raise ValueError(f"{k}.{a.name}.m: wanted multipliers in 1..32767")
            if int(layer.bounds(a).max()) > 2**31 - 1:
                raise ValueError(f"layer {k}: {a.name} can leave int32")
        for name, v in p.of_kind("param").items():
            want(f"{k}.{name}", layer.params[name], ("int16",), (layer.sizes[v.axis] if v.axis != "1" else 1,))
            if int(layer.params[name].min()) < v.lo or int(layer.params[name].max()) > v.hi:
                raise ValueError(f"{k}.{name}: wanted values in [{v.lo}, {v.hi}]")
        into = layer.width
    want("output.fraction", model.fraction, ("int32",), (into,))
