"""Chains of steps with their arrays, in floats and in integers: plain data that quantiser, Python definition and emitters hand each other.

Not here: how either is made or run, files, a user's modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .integer import FRACTIONS, INT32, RULE, VIEW, Accumulator, IntegerProgram, Source, Vector, prove
from .program import Program, Signature
from .source import Lines, lines

Array = NDArray[Any]
SCHEMES = {"w8a8": 8, "w8a16": 16}
"""Scheme -> bits of what enters a recurrent layer's products."""
LENGTH = 1 << 24
"""Longest axis of an integer layer."""


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
        return self.length(self.program.output)

    def length(self, vector: str) -> int:
        """Of one of the program's vectors."""
        axis = self.program.vectors[vector].axis
        return 1 if axis == "1" else self.sizes[axis]

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
        """Largest magnitude of every row of an accumulator, (N,) int64, in any order of summation (section 9).

        What is beyond int32 may be given as less than it is, but stays beyond: a forged shift must not wrap int64.
        """
        total: Array = np.abs(self.b[a.name].astype(np.int64))
        for s in a.sources:
            dot = self.argument(s) * np.abs(self.matrix(s.weight).astype(np.int64)).sum(1)
            total = total + np.minimum(np.minimum(dot, 2**31) << s.shift, 2**31)
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


def check_rule(rule: object) -> None:
    """ValueError: another version of docs/arithmetic.md."""
    if rule != RULE:
        raise ValueError(f"wanted a model of arithmetic version {RULE}, got version {rule}")


def check(model: IntegerModel) -> None:
    """That everything fits and every bound of docs/arithmetic.md holds.  ValueError says what does not: a file may hold anything."""
    check_rule(model.rule)
    if model.input_bits not in (8, 16) or not model.layers or model.scheme not in SCHEMES:
        got = f"{len(model.layers)} layers, {model.input_bits} bits, {model.scheme!r}"
        raise ValueError(f"wanted layers, an input of 8 or 16 bits and a scheme of {', '.join(SCHEMES)}, got {got}")
    into = model.scale.size
    _want("input.scale", model.scale, ("float32",), (into,))
    _want("input.offset", model.offset, ("float32",), (into,))
    if not (np.isfinite(model.scale).all() and (model.scale > 0).all() and np.isfinite(model.offset).all()):
        raise ValueError("input.scale: wanted positive numbers, and finite offsets")
    top = 2 ** (model.input_bits - 1) - 1
    given = Vector("input", "I", 0, -top, top)
    for k, layer in enumerate(model.layers):
        p = layer.program
        prove(p)
        x = p.vectors["x"]
        if ugly := [line for line in layer.quotes.values() if not line.replace("\t", " ").isprintable()]:
            raise ValueError(f"layer {k}: wanted single lines of text as quotes, got {ugly[0][:60]!r}")  # they stand in C comments
        if not (x.lo <= given.lo and given.hi <= x.hi and x.frac == given.frac):
            raise ValueError(f"layer {k}: wanted an input for [{given.lo}, {given.hi}] with fraction {given.frac}, got {x}")
        _check_sizes(k, layer, into)
        _check_matrices(k, layer, SCHEMES[model.scheme])
        _check_accumulators(k, layer)
        for name, v in p.of_kind("param").items():
            _want(f"{k}.{name}", layer.params[name], ("int16",), (layer.length(name),))
            if int(layer.params[name].min()) < v.lo or int(layer.params[name].max()) > v.hi:
                raise ValueError(f"{k}.{name}: wanted values in [{v.lo}, {v.hi}]")
        into, given = layer.width, p.vectors[p.output]
    _want("output.fraction", model.fraction, ("int32",), (into,))
    if not FRACTIONS[0] <= int(model.fraction.min()) <= int(model.fraction.max()) <= FRACTIONS[1]:
        raise ValueError(f"output.fraction: wanted values in {FRACTIONS}")


def _want(what: str, array: Array, kinds: tuple[str, ...], shape: tuple[int, ...]) -> None:
    if array.dtype not in [np.dtype(k) for k in kinds] or array.shape != shape:
        raise ValueError(f"{what}: wanted {' or '.join(kinds)} of shape {shape}, got {array.dtype} of shape {array.shape}")


def _check_sizes(k: int, layer: IntegerLayer, into: int) -> None:
    """Every axis has a length, and an array behind it: a few bytes of text must not ask for gigabytes of state."""
    p = layer.program
    backed = {"I", "1"} | {v.axis for v in p.vectors.values() if v.kind in ("acc", "param")}
    lengths = {**layer.sizes, "1": layer.sizes.get("1", 1)}
    if any(not 1 <= n <= LENGTH for n in lengths.values()) or lengths["1"] != 1 or lengths.get("I") != into:
        raise ValueError(f"layer {k}: wanted sizes from 1 to {LENGTH} and {into} inputs, got {dict(layer.sizes)}")
    for axis in {v.axis for v in p.vectors.values()} | {loop.axis for loop in p.loops}:
        if axis not in lengths or axis not in backed:
            raise ValueError(f"layer {k}: wanted a size for axis {axis}, and arrays over it, got {dict(layer.sizes)}")


def _check_matrices(k: int, layer: IntegerLayer, bits: int) -> None:
    """Sections 2, 4 and 5: shapes, the bits of weights, what enters products.  `bits`: the scheme's, of what enters a recurrent layer's."""
    p = layer.program
    kinds = ("int8",) if p.read_states else ("int8", "int16")
    for a, axis in p.accumulators:
        for s in a.sources:
            family, _ = s.weight.split(".")
            weights = layer.weights[family]
            _want(f"{k}.{family}", weights, kinds, (layer.sizes[axis] * len(p.families[family]), layer.length(s.arg)))
            if int(weights.min()) < -np.iinfo(weights.dtype).max:
                raise ValueError(f"{k}.{family}: wanted weights within +-{np.iinfo(weights.dtype).max}")
            if s.view != (bits == 8 and bool(p.read_states) and not (k == 0 and s.arg == "x")):
                raise ValueError(f"layer {k}: {a.name} wants the {'int16' if s.view else 'int8 view'} of {s.arg}")


def _check_accumulators(k: int, layer: IntegerLayer) -> None:
    for a, axis in layer.program.accumulators:
        shape = (layer.sizes[axis],)
        _want(f"{k}.{a.name}.m", layer.m[a.name], ("int16",), shape)
        _want(f"{k}.{a.name}.b", layer.b[a.name], ("int32",), shape)
        if int(layer.m[a.name].min()) < 1:
            raise ValueError(f"{k}.{a.name}.m: wanted multipliers in 1..32767")
        if int(layer.bounds(a).max()) > INT32[1]:
            raise ValueError(f"layer {k}: {a.name} can leave int32")
