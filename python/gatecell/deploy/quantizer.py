"""From a float model and calibration data to an integer model (docs/arithmetic.md says what its integers mean).

Not here: reading a user's module (chain.py), the rounding itself (rounding.py), running it (integer.py).
Letters: T time, B batch, I input, N units of an axis.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..algebra.graph import Node
from ..algebra.integer import FRACTIONS, INT16, VIEW, Accumulator, IntegerProgram, Source, Vector
from ..algebra.lower import HEADROOM, Given, lower
from ..algebra.model import SCHEMES, FloatLayer, FloatModel, IntegerLayer, IntegerModel, check
from ..errors import Unsupported
from ..tensor.dtypes import Array
from .calibration import Seen, observe
from .rounding import REACH, Matrix, round_accumulator

PLANNED = ("w4a8", "w4a16")
HEAD = 32
"""A last linear layer with at most so many outputs has int16 weights: they decide the answer and weigh little in flash."""


def activation_bits(scheme: str) -> int:
    """Of what enters a recurrent layer's products.  ValueError for a name that is none, Unsupported for one to come."""
    if not isinstance(scheme, str):
        raise TypeError(f"scheme: wanted a name, got {type(scheme).__name__}")
    if scheme in PLANNED:
        raise Unsupported(f"scheme {scheme}: 4-bit weights are not there yet; wanted one of {', '.join(SCHEMES)}")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: wanted one of {', '.join(SCHEMES)}, got {scheme!r}")
    return SCHEMES[scheme]


def quantize_model(model: FloatModel, x: Array, scheme: str, input_bits: int) -> IntegerModel:
    """x (T, B, I): calibration data in raw units.  Unsupported: a page without integer meaning."""
    bits = activation_bits(scheme)
    seen = observe(model, x)
    top = 2 ** (input_bits - 1) - 1
    lo, hi = (f(x.reshape(-1, model.inputs).astype(np.float64), axis=0) for f in (np.min, np.max))
    span = np.where(hi > lo, hi - lo, np.maximum(np.abs(hi), 1.0))
    offset = ((hi + lo) / 2).astype(np.float32)
    scale = (HEADROOM * span / 2 / top).astype(np.float32)
    if len(narrow := np.flatnonzero(scale < np.finfo(np.float32).tiny)):
        raise ValueError(f"calibration: feature {narrow[0]} varies by {span[narrow[0]]:.3g}, too little for float32")
    # A standardised input z = (scale q + offset - mean) / std: in the first layer's products, q counts and the rest is bias.
    step, zero = scale.astype(np.float64) / model.std, (offset - model.mean) / model.std
    layers: list[IntegerLayer] = []
    given = Vector("input", "I", 0, -top, top)
    for k, (layer, data) in enumerate(zip(model.layers, seen, strict=True)):
        last = k == len(model.layers) - 1
        made, fraction = integer_layer(layer, data, given, (step, zero) if k == 0 else None, bits == 8 and layer.recurrent, last)
        layers.append(made)
        given = dataclasses.replace(made.program.vectors[made.program.output], kind="input", axis="I")
    whole = IntegerModel(tuple(layers), scheme, input_bits, scale, offset, fraction)
    check(whole)
    return whole


def integer_layer(
    layer: FloatLayer, seen: Seen, x: Vector, raw: tuple[Array, Array] | None, view: bool, last: bool
) -> tuple[IntegerLayer, Array]:
    """-> the layer, and the fraction of every output row.  `raw`: step and zero of a model's own input."""
    params = {name: parameter(np.asarray(layer.weights[name], np.float64), axis) for name, axis in layer.program.params.items()}
    text = layer.lines()
    program = lower(layer.program, Given(x, view, raw is not None, seen.peak, {k: v for k, (v, _) in params.items()}), text)
    head = last and not layer.recurrent and layer.width <= HEAD
    weights = {f: np.zeros(layer.weights[f].shape, np.int16 if head else np.int8) for f in layer.program.families}
    blank = IntegerLayer(program, layer.sizes, weights, {}, {}, {k: v for k, (_, v) in params.items()})
    out = np.full(layer.width, program.vectors[program.output].frac)
    direct = written_by_accumulator(program) if last else ""
    done: dict[str, Accumulator] = {}
    m: dict[str, Array] = {}
    b: dict[str, Array] = {}
    for a, axis in program.accumulators:
        matrices, means, arguments = zip(*(source(layer, seen, program, s, raw, 32767 if head else VIEW) for s in a.sources), strict=True)
        bias = np.sum(means, axis=0)
        reach = np.abs(bias) + np.sum([each.argument * np.abs(each.w).sum(1) for each in matrices], axis=0)
        fraction = np.full(layer.sizes[axis], program.vectors[a.name].frac)
        if a.name == direct:
            out = fraction = row_fractions(seen.output, reach)
        check_reach(layer, a, bias, reach, fraction)
        stacked = np.concatenate([*arguments, np.ones((len(arguments[0]), 1))], axis=1)
        moments = stacked.T @ stacked / len(stacked)
        r = round_accumulator(list(matrices), bias, fraction, moments, f"{layer.program.name}: {a.name}")
        for s, w in zip(a.sources, r.w, strict=True):
            blank.matrix(s.weight)[:] = w
        done[a.name] = Accumulator(a.name, tuple(dataclasses.replace(s, shift=k) for s, k in zip(a.sources, r.shifts, strict=True)), r.sh)
        m[a.name], b[a.name] = r.m.astype(np.int16), r.b.astype(np.int32)
    quotes = {i.line: text.quote(i.line) for loop in program.loops for i in loop.points if i.line}
    full = dataclasses.replace(blank, program=program.with_accumulators(done), m=m, b=b, quotes=quotes)
    return full, out.astype(np.int32)


def source(
    layer: FloatLayer, seen: Seen, program: IntegerProgram, s: Source, raw: tuple[Array, Array] | None, top: int
) -> tuple[Matrix, Array, Array]:
    """A product's matrix in units of its integer argument, what it adds to the bias, and its integer arguments as seen."""
    w, bias = (None if v is None else v.astype(np.float64) for v in layer.matrix(s.weight))
    assert w is not None
    add = np.zeros(len(w)) if bias is None else bias
    product = next(n for n in layer.program.nodes if n.op == "product" and n.attr[0] == s.weight and argument_of(layer, n) in (s.arg, ""))
    values = seen.arguments[product.args[0]]
    if s.arg == "x" and raw is not None:
        step, zero = raw
        return Matrix(w * step, top, program.vectors["x"].hi), add + w @ zero, (values - zero) / step
    v = program.vectors[s.arg]
    step = np.full(w.shape[1], (32768 / VIEW if s.view else 1.0) * 2.0**-v.frac)
    return Matrix(w * step, top, VIEW if s.view else max(-v.lo, v.hi)), add, values / step


def check_reach(layer: FloatLayer, a: Accumulator, bias: Array, reach: Array, fraction: Array) -> None:
    """Unsupported: a row whose sum, up to `reach` with its arguments at their largest, leaves int32 at the coarsest multiplier's step."""
    most = REACH * np.exp2(-fraction.astype(np.float64))
    if (reach > most).any():
        row = int(np.argmax(reach / most))
        sizes = [f"weights {s.weight} up to {np.abs(layer.matrix(s.weight)[0]).max():.3g}" for s in a.sources]
        raise Unsupported(
            f"{layer.program.name}: {', '.join(sizes)} and a bias of {bias[row]:.3g} can take the sum {a.name} to {reach[row]:.3g}; "
            f"at most {most[row]:.3g} fits its integers"
        )


def argument_of(layer: FloatLayer, product: Node) -> str:
    """The vector that a product multiplies, by name; "" where it is a value of the step."""
    n = product.args[0]
    return "x" if n is layer.program.x else n.attr if n.op == "state" else ""


def written_by_accumulator(program: IntegerProgram) -> str:
    """The accumulator that is the layer's output as it is, or "": then its rows may have fractions of their own."""
    for loop in program.loops:
        for i in loop.points:
            if i.op == "write" and i.name == program.output and loop.points[i.args[0]].op == "read":
                name = loop.points[i.args[0]].name
                reads = [p for every in program.loops for p in every.points if p.op == "read" and p.name == name]
                return name if program.vectors[name].kind == "acc" and len(reads) == 1 else ""
    return ""


def row_fractions(output: Array, reach: Array) -> Array:
    """(T, B, O) -> (O,): the finest fraction at which each output, and a quarter more, is an int16, and its sum, up to `reach`, fits.

    An output that is always 0 tells nothing: it gets room for 1.
    """
    peak = np.abs(output).max(axis=(0, 1))
    step = np.maximum(HEADROOM * np.where(peak == 0, 1.0, peak) / 32767, reach / REACH)
    fraction: Array = np.clip(np.floor(-np.log2(step)), FRACTIONS[0], 40)
    return fraction


def parameter(values: Array, axis: str) -> tuple[Vector, Array]:
    """A parameter as int16 at the finest fraction up to 15."""
    peak = float(np.abs(values).max())
    frac = 15 if peak == 0 else int(min(15, np.floor(np.log2(32767 / peak))))
    q = np.clip(np.rint(values * 2.0**frac), *INT16).astype(np.int16)
    return Vector("param", axis, frac, int(q.min()), int(q.max())), q
