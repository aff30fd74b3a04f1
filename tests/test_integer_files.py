"""Integer models as arrays: what comes back, what is refused and with which words.

Not here: what the integers mean (test_integer.py), files and their checksums (test_files.py).
"""

import dataclasses
import json

import numpy as np
import pytest

from campaigns import forged_integers
from gatecell import nn
from gatecell.algebra.integer import INT32, Instr, IntegerProgram, Loop, Vector, prove
from gatecell.algebra.model import check
from gatecell.deploy.quantize import quantize
from gatecell.deploy.quantized import QuantizedModel
from test_integer import Net, series


def test_arrays_there_and_back(rng):
    x = series(rng, 3)
    q = quantize(Net("lstm", 3, 5), x)
    arrays = q.to_arrays()
    again = QuantizedModel.from_arrays(arrays)
    np.testing.assert_array_equal(again(x), q(x))
    assert (again.input, again.output, again.scheme) == (q.input, q.output, "w8a8")


def spoiled(arrays):
    """(name of the trouble, arrays) for arrays that are no model."""
    copy = lambda: {k: v.copy() for k, v in arrays.items()}
    for name in arrays:
        yield f"{name} is missing", {k: v for k, v in arrays.items() if k != name}
    for name in ("0.W", "0.i.m", "0.i.b", "input.scale", "output.fraction"):
        yield f"{name} of another shape", copy() | {name: arrays[name][:-1]}
        yield f"{name} of another type", copy() | {name: arrays[name].astype(np.float64)}
    big = copy()
    big["0.i.b"][:] = 2**31 - 1
    yield "a bound broken", big
    zero = copy()
    zero["0.i.m"][0] = 0
    yield "a multiplier of 0", zero
    low = copy()
    low["0.W"][0, 0] = -128
    yield "a weight of -128", low
    text = bytes(arrays["description"]).decode()
    changes = [('"rule": 1', '"rule": 2'), ('"tanh"', '"tan"'), ('"n": [15]', '"n": [40]'), ('"kind": "acc"', '"kind": "input"'), ("{", "")]
    for old, new in changes:
        assert old in text
        yield f"{old} -> {new}", copy() | {"description": np.frombuffer(text.replace(old, new, 1).encode(), np.uint8)}
    nan = copy()
    nan["input.scale"][0] = np.nan
    yield "a NaN", nan


def test_arrays_that_are_no_model_are_refused(rng):
    arrays = quantize(nn.LSTM(3, 5), series(rng, 3) / 100).to_arrays()
    for trouble, bad in spoiled(arrays):
        try:
            QuantizedModel.from_arrays(bad)
        except ValueError:
            continue
        pytest.fail(f"{trouble}: accepted")


@pytest.mark.parametrize("seed", range(4))
def test_any_forgery_is_refused_or_runs(seed):
    """What campaigns/forged_integers.py does for as long as one likes."""
    ends = forged_integers.campaign(seed, count=600)
    assert set(ends) == {"refused", "ran"}
    assert min(ends.values()) > 20


def test_a_forged_shift_does_not_wrap_the_bound(rng):
    """64 matrices of 2^15 * 128 * 64 << 30 each are 2^64, which int64 takes for 0."""
    layer = quantize(nn.GRU(128, 2), series(rng, 128) / 100).model.layers[0]
    layer.weights["W"][:] = 64
    x = dataclasses.replace(layer.program.vectors["x"], lo=-32768)
    program = dataclasses.replace(layer.program, vectors={**layer.program.vectors, "x": x})
    a = next(a for a, _ in program.accumulators)
    many = dataclasses.replace(a, sources=(dataclasses.replace(a.sources[0], shift=30),) * 64)
    assert dataclasses.replace(layer, program=program).bounds(many).min() > INT32[1]


def test_check_refuses_a_model_of_another_version(rng):
    q = quantize(nn.GRU(2, 3), series(rng, 2) / 100)
    check(q.model)
    with pytest.raises(ValueError, match="version 1, got version 2"):
        check(dataclasses.replace(q.model, rule=2))


def field(*path, to):
    def change(arrays, d):
        *inside, last = path
        for k in inside:
            d = d[k]
        d[last] = to

    return change


def array(name, change):
    return lambda arrays, d: arrays.update({name: change(arrays[name])})


STEP = ("layers", 0, "program")
FORGED = {
    "a scheme": (field("scheme", to="w2a2"), "a scheme of w8a8, w8a16, got 1 layers, 16 bits, 'w2a2'"),
    "bits that are no number": (field("input_bits", to="16"), "input_bits: int wanted, got str"),
    "a bool for a number": (field("rule", to=True), "rule: int wanted, got bool"),
    "a view that is no bool": (field(*STEP, "loops", 0, "accumulators", 0, "sources", 0, "view", to=1), "view: bool wanted, got int"),
    "a view where there is none": (field(*STEP, "loops", 0, "accumulators", 0, "sources", 0, "view", to=True), "i wants the int16 of x"),
    "int16 for an int8 view": (field(*STEP, "loops", 0, "accumulators", 0, "sources", 1, "view", to=False), "i wants the int8 view of h"),
    "an axis of the layout": (field("input", "axes", to=["batch", "depth", "feature"]), "input: kind"),
    "axes of the output": (field("output", "axes", to=["time", "time"]), "output: the axes"),
    "a size of the output": (field("output", "size", to=4), "3 real inputs and 5 outputs"),
    "tokens": (field("input", to={"kind": "tokens", "size": 3, "axes": ["time", "batch"]}), "3 real inputs"),
    "an axis of a vector": (field(*STEP, "vectors", "h", "axis", to="Z"), "instruction|axis Z"),
    "a size of 0": (field("layers", 0, "sizes", "H", to=0), "sizes from 1"),
    "another size": (field("layers", 0, "sizes", "H", to=6), r"0\.W: wanted int8 of shape \(24, 3\), got int8 of shape \(20, 3\)"),
    "an interval that a product leaves": (field(*STEP, "vectors", "i", "lo", to=-5), "all of int16 for an accumulator"),
    "a state that cannot be 0": (field(*STEP, "vectors", "c", "lo", to=1), "a 0 inside for a state"),
    "an input beyond its interval": (field(*STEP, "vectors", "x", "hi", to=100), r"an input for \[-32767, 32767\]"),
    "a matrix of another step": (
        field(*STEP, "loops", 0, "accumulators", 0, "sources", 0, "weight", to="W.q"),
        "step's own matrices",
    ),
    "a name that is C": (field(*STEP, "name", to="*/ int x; /*"), "name is an identifier"),
    "a quote of two lines": (field("layers", 0, "quotes", to={"1": "*\\\n/ int x;"}), "single lines"),
    "no operand": (field(*STEP, "loops", 0, "points", 1, "args", to=[]), "with its registers"),
    "an array too many": (lambda arrays, d: arrays.update({"0.Q": np.zeros(3)}), "array '0.Q' is none of its own"),
    "an array too few": (lambda arrays, d: arrays.pop("0.i.m"), "array '0.i.m' is missing"),
    "int16 weights of a recurrence": (array("0.R", lambda a: a.astype(np.int16)), "0.R: wanted int8"),
    "big-endian numbers": (array("0.i.b", lambda a: a.astype(">i4")), "0.i.b: wanted int32"),
    "a list": (array("0.W", lambda a: a.tolist()), "arrays wanted, '0.W' is none"),
    "a fraction": (array("output.fraction", lambda a: a + 1000), "output.fraction: wanted values"),
    "no features": (array("input.scale", lambda a: a[:0]), "input.offset: wanted float32 of shape"),
}


@pytest.mark.parametrize("name", FORGED)
def test_the_trouble_is_named(rng, name):
    change, words = FORGED[name]
    arrays = quantize(nn.LSTM(3, 5), series(rng, 3) / 100).to_arrays()
    d = json.loads(arrays.pop("description").tobytes())
    change(arrays, d)
    arrays["description"] = np.frombuffer(json.dumps(d).encode(), np.uint8)
    with pytest.raises(ValueError, match=words):
        QuantizedModel.from_arrays(arrays)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "1", "{", '{"rule": NaN}', "\ud800"], ids=lambda t: t[:10])
def test_descriptions_that_are_none(text):
    with pytest.raises(ValueError, match="."):
        QuantizedModel.from_arrays({"description": np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)})


def test_half_a_step_is_in_the_proof():
    """A sum within int32 that leaves it when half is added for rounding: the core's int32 would wrap."""
    vectors = {"x": Vector("input", "I", 0, -32768, 32767), "h": Vector("state", "I", 0, -32768, 32767)}

    def step(shift):
        points = (
            Instr("read", name="x", lo=-32768, hi=32767),
            Instr("shl", (0,), (16,), lo=INT32[0], hi=INT32[1]),
            Instr("round", (1,), (shift,), lo=INT32[0], hi=INT32[1]),
            Instr("clamp", (2,), (-32768, 32767), lo=-32768, hi=32767),
            Instr("write", (3,), name="h", lo=-32768, hi=32767),
        )
        return IntegerProgram("step", "h", vectors, (Loop("I", (), points),), {})

    prove(step(16))  # 32767 * 2^16 + 2^15 fits
    with pytest.raises(ValueError, match="leaves int32 on the way"):
        prove(step(18))
