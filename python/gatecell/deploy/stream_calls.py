"""A model's step as a flat list of calls: each function, what it reads and writes, laid out in memory once.  Stream runs them.

Not here: the running (stream.pyx), a step graph's operations (stream_graph.py).
A state has two slots: a step reads one and writes the other, so that it can fail half-way and nothing is lost.  A step of turn 0 reads
slot 0, one of turn 1 slot 1; every place is given for both.  Letters: B batch, I input, N units, O output, n length of a value.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from ..tensor.dtypes import Array
from .graph import StepGraph
from .plain import pack
from .quantized import QuantizedModel

Turns: TypeAlias = tuple[Array, Array]
"""A place at turn 0 and at turn 1."""


@dataclass(frozen=True)
class Call:
    """One function on its places, arrays (B, n); axes of length 1 are broadcast.  By kind:

    layer       `of`: the core's stepper, a capsule, which knows the places
    scan        `of`: the core's stepper of a scan, a capsule, which knows the places
    integer     `of`: the core's integer stepper, a capsule, which knows the places
    loop        `of`: a ufunc; on its inputs and its output; an output of length 1 that is the first input too collects the second
    sum         from, to (B, 1)
    copy        from, to
    lookup      tokens, rows of the table, to
    argmax      from, to
    quantize    `of`: the largest integer; x, offset, scale, to
    dequantize  from, scale, to
    """

    kind: str
    on: tuple[Turns, ...] = ()
    of: Any = None


@dataclass
class Calls:
    """A model, ready for Stream.

    x, y     where a step's input (B, I) is put, and where its output (B, O) is found; x may be int64: tokens below `tokens`
    states   name -> its slots (B, N); start: name -> what they begin with, (B or 1, N); bounds: least and largest value of integers
    work     multiply-adds of a step
    """

    model: StepGraph | QuantizedModel
    x: Array
    y: Turns
    tokens: int = 0
    states: dict[str, Turns] = field(default_factory=dict)
    start: dict[str, Array] = field(default_factory=dict)
    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    work: int = 0

    @cached_property
    def identity(self) -> bytes:
        """16 bytes for what is computed and with which weights: states of models that differ in them mean different things."""
        plain, arrays = None, dict[str, Array]()
        if isinstance(self.model, QuantizedModel):
            arrays = self.model.to_arrays()
        else:
            plain, arrays = pack(replace(self.model, parameters={}), {}), dict(self.model.parameters)
        digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16)
        for name, a in sorted(arrays.items()):
            digest.update(json.dumps([name, a.dtype.str, a.shape]).encode())
            digest.update(np.ascontiguousarray(a).tobytes())
        return digest.digest()


def both(a: Array) -> Turns:
    return a, a


def integer_calls(q: QuantizedModel, batch: int) -> Calls:
    """Floats to integers, the layers, integers to floats; docs/arithmetic.md."""
    m = q.model
    x, h = np.zeros((batch, m.inputs), np.float32), np.zeros((batch, m.inputs), np.int16)
    y = np.zeros((batch, m.outputs), np.float32)
    made = Calls(q, x, both(y))
    top = 2 ** (m.input_bits - 1) - 1
    offset, scale = (np.ascontiguousarray(a)[None] for a in (m.offset, m.scale))
    made.calls.append(Call("quantize", (both(x), both(offset), both(scale), both(h)), top))
    for k, (layer, core) in enumerate(zip(m.layers, q.core.layers, strict=True)):
        program, out = layer.program, np.zeros((batch, layer.width), np.int16)
        lent, slots = core.stepper(h, out)
        for name in (s for s in core.states if s in program.read_states):
            v = program.vectors[name]
            made.states[f"{k}.{name}"], made.bounds[f"{k}.{name}"] = slots[name], (v.lo, v.hi)
            made.start[f"{k}.{name}"] = np.zeros((1, core.sizes[name]), np.int16)
        made.calls.append(Call("integer", of=lent))
        made.work += batch * sum(w.size for w in layer.weights.values())
        h = out
    scale = np.exp2(-m.fraction.astype(np.float64)).astype(np.float32)
    made.calls.append(Call("dequantize", (both(h), both(scale[None]), both(y))))
    return made
