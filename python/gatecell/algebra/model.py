"""Chains of steps with their arrays, in floats and in integers: plain data that quantiser, Python definition and emitters hand each other.

Not here: how either is made or run, files, a user's modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import Node, is_leaf
from .integer import RULE, IntegerProgram
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
    batch_first: bool = False
    last: bool = False
    """Whether the model's answer is the last step's output alone."""

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
    batch_first: bool = False
    last: bool = False
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


def reads(p: Program, n: Node) -> bool:
    """Whether a step of the program reads a leaf."""
    return is_leaf(n) and n in p.nodes
