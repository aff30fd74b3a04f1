"""Small models whose generated C is committed in firmware/golden: `PYTHONPATH=python:tests python tests/golden.py` writes it anew.

Their integers come from a counter, not from a quantiser, so that no machine's arithmetic has a say.  Not a test: test_c.py compares.
"""

import numpy as np

from conftest import ROOT
from gatecell.algebra.integer import Accumulator, Vector
from gatecell.algebra.lower import Given, lower
from gatecell.algebra.model import FloatLayer, FloatModel, IntegerLayer, IntegerModel, check
from gatecell.algebra.source import lines
from gatecell.cells import cells
from gatecell.deploy.chain import linear
from gatecell.deploy.integer import Runner
from gatecell.emit.c import Golden, float_c, integer_c

FOLDER = ROOT / "firmware" / "golden"


def numbers(count, low, high, seed):
    """Integers of a linear congruential generator (Numerical Recipes' constants)."""
    out = []
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) % 2**32
        out.append(low + (seed >> 8) % (high - low + 1))
    return np.array(out)


def integer_layer(cell, sizes, x, a8, raw, seed):
    """A layer with invented integers; every magnitude that calibration would see is 3."""
    p = cell.program
    text = lines(cell.signature)
    program = lower(p, Given(x, a8, raw, dict.fromkeys(p.nodes, 3.0), {}), text)
    shapes = cell.shapes(sizes, bias=False)
    weights = {f: numbers(int(np.prod(shapes[f])), -127, 127, seed + k) for k, f in enumerate(p.families)}
    weights = {f: w.astype(np.int8).reshape(shapes[f]) for f, w in weights.items()}
    m, b, accumulators = {}, {}, {}
    for k, (a, axis) in enumerate(program.accumulators):
        m[a.name] = numbers(sizes[axis], 9000, 32767, seed + 10 + k).astype(np.int16)
        b[a.name] = numbers(sizes[axis], -4000, 4000, seed + 20 + k).astype(np.int32)
        sources = tuple(s.__class__(s.weight, s.arg, s.view, shift=k % 2 if s.arg == "x" else 0) for s in a.sources)
        accumulators[a.name] = Accumulator(a.name, sources, sh=2 if a8 or (raw and x.hi == 127) else 9)
    quotes = {i.line: text.quote(i.line) for loop in program.loops for i in loop.points if i.line}
    return IntegerLayer(program.with_accumulators(accumulators), sizes, weights, m, b, {}, {**quotes})


def integer_model(cell, a8):
    """2 inputs, 3 units, a linear layer with 1 output."""
    top = 127 if a8 else 32767
    first = integer_layer(cells[cell], {"I": 2, "H": 3}, Vector("input", "I", 0, -top, top), a8, True, 1)
    out = first.program.vectors[first.program.output]
    head = integer_layer(linear, {"I": 3, "O": 1}, Vector("input", "I", out.frac, out.lo, out.hi), False, False, 2)
    scale, offset = np.array([0.25, 0.5], np.float32) / top, np.array([1, -2], np.float32)
    model = IntegerModel((first, head), f"w8a{8 if a8 else 16}", 8 if a8 else 16, scale, offset, np.array([12], np.int32))
    check(model)
    return model


def float_model(cell):
    record = cells[cell]
    layers = []
    for k, (c, sizes) in enumerate([(record, {"I": 2, "H": 3}), (linear, {"I": 3, "O": 1})]):
        shapes = c.shapes(sizes).items()
        weights = {n: numbers(int(np.prod(s)), -128, 128, k).reshape(s).astype(np.float32) / 128 for n, s in shapes}
        layers.append(FloatLayer(c.signature, c.program, weights, sizes))
    return FloatModel(tuple(layers), np.array([1.0, -2.0]), np.array([0.5, 4.0]))


def texts():
    """File name -> text."""
    out = {}
    for cell, a8, target in CASES:
        model = integer_model(cell, a8)
        top = 127 if a8 else 32767
        x = numbers(6, -top, top, 7).reshape(3, 2).astype(np.int8 if a8 else np.int16)
        name = f"{cell}_{model.scheme}_{target.replace('-', '_')}"
        files = integer_c(model, name, target, Golden(x, Runner(model, check=True).run(x[:, None])[:, 0]))
        out |= {f"{name}.h": files.header, f"{name}.c": files.source}
    # The float outputs are to 3 digits: the selftest allows more, and no libm reaches the text.
    golden = Golden(np.array([[1.0, -2.0]], np.float32), np.array([[FLOAT_OUTPUT]], np.float32))
    files = float_c(float_model("lstm"), "lstm_float", "generic", golden)
    return out | {"lstm_float.h": files.header, "lstm_float.c": files.source}


CASES = [("lstm", True, "cortex-m4"), ("lstm", True, "generic"), ("gru", False, "generic"), ("gru_before", True, "generic")]
"""Cell, whether int8 enters its products, target."""
FLOAT_OUTPUT = -1.03784
"""Of the first step, to the digits that the selftest compares."""

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
