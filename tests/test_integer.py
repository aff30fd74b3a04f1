"""Integer models: the Python definition against the arithmetic written by hand, intervals, what quantisation costs, bad input.

Not here: files (test_integer_files.py), the hand-written layers' own tests (test_textbook_integers.py), C (test_c.py).
"""

import json
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import budgets
import gatecell
import pages
import textbook_integers
from gatecell import nn
from gatecell.algebra.integer import INT32, OPERATIONS, IntegerProgram, Vector, prove
from gatecell.algebra.lower import Given, lower
from gatecell.algebra.model import FloatLayer, FloatModel, quantize_input
from gatecell.algebra.ops import exp, lerp, sigmoid, tanh
from gatecell.algebra.source import lines
from gatecell.algebra.table import sigmoid_q, table, tanh_q
from gatecell.cells import cells, record
from gatecell.deploy.integer import Runner, requantize
from gatecell.deploy.plain import pack, unpack
from gatecell.deploy.quantize import quantize
from gatecell.deploy.quantizer import quantize_model
from gatecell.tensor.integers import CoreModel

INTEGER = [c.name for c in pages.INTEGER if c.name in cells]
STEADY = [c.name for c in pages.INTEGER if not c.program.params and c.name != "lstm_1997"]
"""Those in which an error fades: peepholes feed a memory back to its own gates, and some never forget; there it may grow."""
SCHEMES = ["w8a8", "w8a16"]
SIZES = [(3, 5), (1, 1), (13, 50)]


class First(nn.Module):
    """Of a recurrent layer's results the output."""

    def forward(self, pair):
        return pair[0]


class Net(nn.Module):
    """Standardisation, stacked recurrent layers, a hidden linear layer and a head."""

    def __init__(self, cell, inputs, hidden, layers=1, last=False):
        super().__init__()
        self.standardize = nn.Standardize(np.linspace(-5, 900, inputs), np.linspace(0.1, 30, inputs))
        self.recurrent = nn.Recurrent(cell, inputs, hidden, layers)
        self.middle, self.head, self.last = nn.Linear(hidden, 7), nn.Linear(7, 2), last

    def forward(self, x):
        y, _ = self.recurrent(self.standardize(x))
        return self.head(gatecell.relu(self.middle(y[-1] if self.last else y)))


def series(rng, inputs, T=300, B=1):
    """Bounded, slow and quick at once, in the units that Net standardises."""
    t = np.arange(T)[:, None, None]
    z = np.sin(t / rng.uniform(2, 40, (1, B, inputs)) + rng.uniform(0, 6, (1, B, inputs))) + rng.normal(0, 0.5, (T, B, inputs))
    return (np.linspace(-5, 900, inputs) + np.linspace(0.1, 30, inputs) * z).astype(np.float32)


def with_rails(rng, q, x):
    """The model's integers for x, stretches of them at the rails and at random."""
    top = 2 ** (q.model.input_bits - 1) - 1
    xi = q.quantize_input(x).copy()
    xi[20:40] = rng.choice([-top, top], xi[20:40].shape)
    xi[60:90] = rng.integers(-top, top + 1, xi[60:90].shape)
    xi[100:140] = top
    return xi


# --- the pieces -----------------------------------------------------------------------------------------------------


def test_every_entry_of_the_table_is_the_documents():
    np.testing.assert_array_equal(table(), textbook_integers.TABLE)


def test_tanh_and_sigmoid_are_the_textbooks_everywhere():
    a = np.arange(-32768, 32768)
    np.testing.assert_array_equal(tanh_q(a), textbook_integers.integer_tanh(a))
    np.testing.assert_array_equal(sigmoid_q(a), textbook_integers.integer_sigmoid(a))


@pytest.mark.parametrize("sh", [1, 2, 9, 15, 30])
def test_requantisation_against_rationals(rng, sh):
    acc = np.concatenate([rng.integers(*INT32, 60), [INT32[0], INT32[1], 0, -1, 1, 65535, -65536]])
    m = np.concatenate([rng.integers(1, 32768, len(acc) - 2), [1, 32767]])
    exact = [floor((Fraction(int(a) * int(k)) + 2 ** (15 + sh)) / 2 ** (16 + sh)) for a, k in zip(acc, m, strict=True)]
    np.testing.assert_array_equal(requantize(acc, m, sh), [max(-32768, min(32767, v)) for v in exact])


@given(st.data())
def test_no_instruction_leaves_its_proven_interval(data):
    """Any operation on any arguments within their intervals."""
    op = data.draw(st.sampled_from(sorted(OPERATIONS)))
    row = OPERATIONS[op]
    low, high = (-32768, 32767) if op in ("tanh", "sigmoid", "mul", "lerp", "shl") else (-(2**30), 2**30)
    arity = 3 if op == "lerp" else 2 if op in ("add", "sub", "mul", "max") else 1
    ends = [sorted(data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))) for _ in range(arity)]
    if op == "lerp":
        ends[0] = sorted(data.draw(st.tuples(st.integers(0, 32767), st.integers(0, 32767))))
    shift = [data.draw(st.integers(0, 15))]
    n = {"clamp": [-300, 500], "lerp": [15], "shl": shift, "shr": shift, "round": shift}.get(op, [])
    span = row.span(*(tuple(e) for e in ends), *n)
    values = [data.draw(st.integers(*e)) for e in ends]
    assert span[0] <= int(row.of(*map(np.int64, values), *n)) <= span[1]


# --- whole layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("input_bits", [8, 16])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cell", INTEGER)
def test_nothing_leaves_its_proven_interval_at_the_rails(rng, cell, scheme, input_bits):
    """Every register of every step is compared, over inputs that the calibration never saw."""
    for inputs, hidden in SIZES:
        x = series(rng, inputs)
        q = quantize(Net(cell, inputs, hidden, layers=2), x, scheme, input_bits=input_bits)
        for layer in q.model.layers:
            prove(layer.program)
        y = Runner(q.model, 1, check=True).run(with_rails(rng, q, x))
        assert len(np.unique(y)) > 100 or hidden == 1  # one rectified unit may be dead


def by_hand(q, number=0):
    """A layer as textbook_integers.py takes it."""
    layer = q.model.layers[number]
    w = {k: v.astype(np.int64) for k, v in layer.weights.items()}
    for a, _ in layer.program.accumulators:
        shifts = {s.weight[0]: s.shift for s in a.sources}
        w |= {f"{a.name}.m": layer.m[a.name].astype(np.int64), f"{a.name}.b": layer.b[a.name].astype(np.int64), f"{a.name}.SH": a.sh}
        w |= {f"{a.name}.kW": shifts.get("W", 0), f"{a.name}.kR": shifts.get("R", 0), f"{a.name}.P": layer.program.vectors[a.name].frac}
    states = layer.program.of_kind("state")
    return w | ({"CF": states["c"].frac} if "c" in states else {})


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("I", "H"), SIZES)
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_before"])
def test_two_layers_and_a_head_equal_the_textbook(rng, cell, I, H, scheme):
    x = series(rng, I)
    q = quantize(Net(cell, I, H, layers=2), x, scheme)
    xi = with_rails(rng, q, x)
    h, zero, a8 = xi.astype(np.int64), np.zeros((1, H), np.int64), scheme == "w8a8"
    for k in range(2):
        if cell == "lstm":
            h = textbook_integers.integer_lstm(h, by_hand(q, k), a8, zero, zero, first=k == 0)["h"]
        else:
            h = textbook_integers.integer_gru(h, by_hand(q, k), a8, zero, reset_after=cell == "gru", first=k == 0)["h"]
    h = np.maximum(textbook_integers.integer_linear(h, by_hand(q, 2)), 0)
    want = textbook_integers.integer_linear(h, by_hand(q, 3))
    np.testing.assert_array_equal(q.run(xi), want)
    np.testing.assert_array_equal(q.quantize_input(x), textbook_integers.integer_input(x, q.model.scale, q.model.offset, 32767))


@record(title="MGU")
def mgu(W, R, x, h):
    f = sigmoid(W.f(x) + R.f(h))
    n = tanh(W.n(x) + R.n(f * h))
    return lerp(f, h, n)


@record(title="LSTM with peepholes and a projection", axes="P:M h:M", bias="W R")
def projected(W, R, P, p, x, h, c):
    i = sigmoid(W.i(x) + R.i(h) + p.i * c)
    c = (1 - i) * c + i * tanh(W.g(x) + R.g(h))
    o = sigmoid(W.o(x) + R.o(h) + p.o * c)
    return P.h(o * tanh(c)), c


@record(title="a page beyond the integers")
def exponential(W, x, h):
    return tanh(exp(W.a(x)) + h)


def program_of(cell, view=False):
    p = cell.program
    params = {k: Vector("param", axis, 14, -16000, 16000) for k, axis in p.params.items()}
    return lower(p, Given(Vector("input", "I", 0, -127, 127), view, True, dict.fromkeys(p.nodes, 2.0), params), lines(cell.signature))


def test_any_page_gets_a_program():
    """Kept values, a second loop, parameters, a projection onto another axis; JSON and back, proven again."""
    for cell in (mgu, projected):
        program = program_of(cell)
        assert unpack(IntegerProgram, json.loads(json.dumps(pack(program, {}))), {}) == program
        prove(program)
    assert len(program_of(mgu).loops) == 2
    assert [loop.axis for loop in program_of(projected).loops] == ["H", "M"]


@record(title="a page with a number of its own", axes="")
def scaled(W, R, s, x, h):
    return tanh(W.a(x) + s.k * R.a(h))


def test_a_parameter_for_all_units(rng):
    """The core runs it as the definition does."""
    weights = {k: rng.normal(0, 0.7, shape).astype(np.float32) for k, shape in scaled.shapes({"I": 3, "H": 19}).items()}
    layer = FloatLayer(scaled.signature, scaled.program, weights, {"I": 3, "H": 19})
    model = quantize_model(FloatModel((layer,), np.zeros(3), np.ones(3)), rng.normal(size=(50, 1, 3)), "w8a16", 16)
    x = rng.integers(-32767, 32768, (30, 2, 3))
    core = CoreModel(model)
    np.testing.assert_array_equal(core.run(x, core.start(2)), Runner(model, 2, check=True).run(x))


def test_a_primitive_without_integers_is_named_with_its_line():
    with pytest.raises(gatecell.Unsupported, match=r"exp has no integer meaning yet in line \d+: return tanh\(exp"):
        program_of(exponential)


@record(title="a sum that fits int32 until it is rounded")
def brim(W, R, x, h):
    return tanh(tanh(W.a(x)) * tanh(R.a(h)) + 0.99999)


@record(title="a share far from [0, 1]")
def beyond(W, R, x, h):
    return lerp(3e5, h, tanh(W.a(x) + R.a(h)))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (brim, r"brim: round would leave int32 in line \d+: return tanh\(tanh"),
        (beyond, r"a share from 0 to 1, got one that can be 300000 in line"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(page, said):
    with pytest.raises(gatecell.Unsupported, match=said):
        program_of(page)


# --- what it costs, layouts, streaming ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cell", INTEGER)
def test_quantisation_costs_little(rng, cell, scheme):
    """Random weights, the hardest case: the output's error relative to its deviation."""
    net, x = Net(cell, 4, 32), series(rng, 4, T=600)
    want = net(x).numpy()
    got = quantize(net, x, scheme)(x)
    budget = budgets.QUANTISED[scheme] if cell in STEADY else budgets.QUANTISED_SUMMED
    assert np.sqrt(((got - want) ** 2).mean() / want.var()) <= budget


def test_layouts_streams_and_last_steps_agree(rng):
    x = series(rng, 3, T=50, B=4)
    every, last = Net("gru", 3, 6), Net("gru", 3, 6, last=True)
    last.load_state_dict(every.state_dict())
    q, ql = quantize(every, x), quantize(last, x)
    y = q(x)
    assert y.shape == (50, 4, 2)
    np.testing.assert_array_equal(ql(x), y[-1])
    np.testing.assert_array_equal(q(x[:, 2]), y[:, 2])
    s = q.stream(batch=4)
    np.testing.assert_array_equal([s.step(row) for row in x], y)
    s.reset()
    np.testing.assert_array_equal(s.step(x[0]), y[0])
    bare = nn.LSTM(3, 5, batch_first=True)
    xb = np.ascontiguousarray(x.transpose(1, 0, 2)) / 100
    assert quantize(bare, xb)(xb).shape == (4, 50, 5)
    assert abs(quantize(bare, xb, "w8a16")(xb) - bare(xb)[0].numpy()).max() < 0.01


def test_outputs_with_features_first(rng):
    """Every output row has a fraction of its own, wherever the layout has the rows."""

    class Turned(Net):
        def forward(self, x):
            return super().forward(x).permute(2, 1, 0)

    x = series(rng, 3, T=50, B=4)
    turned, plain = Turned("gru", 3, 6), Net("gru", 3, 6)
    with gatecell.no_grad():
        turned.head.weight[1] *= 100
    plain.load_state_dict(turned.state_dict())
    q, want = quantize(turned, x), quantize(plain, x)(x)
    assert len(set(q.model.fraction)) == 2
    np.testing.assert_array_equal(q(x), want.transpose(2, 1, 0))
    np.testing.assert_array_equal(q(x[:, 1]), want[:, 1].T)
    s = gatecell.Stream(q, 4)
    np.testing.assert_array_equal([s.step(row) for row in x], want.transpose(0, 2, 1))


def test_streams_write_into_out_and_go_on_from_a_state(rng):
    x = series(rng, 3, T=20, B=2)
    q = quantize(Net("lstm", 3, 5), x)
    s, y = gatecell.Stream(q, 2), q(x)
    out = np.empty((2, 2), np.float32)
    for t in range(8):
        assert s.step(x[t], out=out) is out
        np.testing.assert_array_equal(out, y[t])
    states = s.states
    assert {k: (a.shape, a.dtype.name) for k, a in states.items()} == {"0.h": ((2, 5), "int16"), "0.c": ((2, 5), "int16")}
    other = q.stream(2)
    other.states = {k: a.astype(np.int64) for k, a in states.items()}
    for bad, error, match in [
        ([], TypeError, "mapping"),
        ({}, ValueError, "names 0.h, 0.c wanted, got none"),
        (states | {"0.h": states["0.h"][:1]}, ValueError, r"0.h: shape \(2, 5\)"),
        (states | {"0.h": states["0.h"] / 2}, TypeError, "0.h: whole numbers"),
        (states | {"0.c": states["0.c"] + np.int64(2**16)}, ValueError, "0.c: values in"),
    ]:
        with pytest.raises(error, match=match):
            other.states = bad
    locked = np.empty((2, 2), np.float32)
    locked.flags.writeable = False
    for bad, error in [(np.empty((2, 2)), TypeError), (np.empty((2, 3), np.float32), ValueError), ([0.0], TypeError), (locked, ValueError)]:
        with pytest.raises(error, match="out: "):
            other.step(x[8], out=bad)
    for stream in (s, other):  # what was refused has moved nothing, and the copies are copies
        np.testing.assert_array_equal([stream.step(row) for row in x[8:]], y[8:])
    assert set(q.stream().states) == {"0.h", "0.c"}


def test_the_input_is_rounded_as_the_document_says(rng):
    q = quantize(nn.GRU(2, 3), series(rng, 2), input_bits=8)
    x = np.array([[np.nan, np.inf], [-np.inf, 1e30], [0, 2.5]], np.float32)
    want = textbook_integers.integer_input(x, q.model.scale, q.model.offset, 127)
    np.testing.assert_array_equal(quantize_input(q.model.scale, q.model.offset, 8, x), want)
    np.testing.assert_array_equal(q.quantize_input(x[1:]), want[1:])
    assert want[0].tolist() == [-127, 127]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cell", INTEGER)
@pytest.mark.parametrize("seen", [(30, 0.0), (1, 2.0), (30, -7.5)], ids=["zeros", "one step", "a constant"])
def test_calibration_that_says_little(cell, scheme, seen):
    """What was seen comes out right, zeros as zeros; what was not is some finite number."""
    x = np.full((seen[0], 1, 3), seen[1])
    for net in (Net(cell, 3, 5), nn.Sequential(nn.Recurrent(cell, 3, 5, bias=False), First(), nn.Linear(5, 2, bias=False))):
        q, want = quantize(net, x, scheme), net(x).numpy()
        assert cell not in STEADY or abs(q(x) - want).max() <= budgets.QUANTISED_STILL * abs(want).max()
        assert np.isfinite(q(np.linspace(-1e3, 1e3, 60).reshape(20, 1, 3))).all()


# --- bad input ------------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_with_words(rng):
    """Beside the rows of test_errors.py."""
    x = series(rng, 3)
    net = Net("lstm", 3, 5)
    for error, match, call in [
        (gatecell.Unsupported, "w4a8", lambda: quantize(net, x, "w4a8")),
        (TypeError, "scheme", lambda: quantize(net, x, 8)),
        (ValueError, "8 or 16, got 12", lambda: quantize(net, x, input_bits=12)),
        (ValueError, "at least one step", lambda: quantize(net, x[:0])),
        (ValueError, "3 features", lambda: quantize(net, x)(x[..., :2])),
        (TypeError, "real numbers", lambda: quantize(net, x)(x + 1j)),
        (TypeError, "int16 wanted", lambda: quantize(net, x).run(x)),
        (ValueError, "at least -32767", lambda: quantize(net, x).run(np.full((2, 1, 3), -32768, np.int16))),
        (ValueError, "batch", lambda: quantize(net, x).stream(0)),
        (ValueError, r"shape \(1, 3\)", lambda: quantize(net, x).stream().step(x[0, 0, :2])),
    ]:
        with pytest.raises(error, match=match):
            call()


def test_a_chain_that_branches_names_its_line(rng):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(3, 3)

        def forward(self, x):
            y, _ = self.r(x)
            return y + x

    with pytest.raises(gatecell.Unsupported, match=r"add in .*test_integer\.py:\d+: wanted a chain"):
        quantize(Residual(), series(rng, 3))


def test_constants_around_layers_are_folded(rng):
    """Arithmetic with constants before and after layers changes weights, not the model."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.h = nn.LSTM(3, 8), nn.Linear(8, 2)

        def forward(self, x):
            y, _ = self.r((x - 100.0) * 0.01)
            return self.h(y * 2.0) * 10.0 - 3.0

    net, x = Scaled(), series(rng, 3)
    assert abs(quantize(net, x, "w8a16")(x) - net(x).numpy()).max() < 0.05
