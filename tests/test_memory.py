"""Memory of training: numbers per unit and step at the peak, ways to need fewer with the same bits, and that nothing stays behind.

Long sequences in chunks and streamed are here, too.  Not here: lengths alone (test_core.py), version counters (test_versions.py).
"""

import gc
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import budgets
import gatecell
import pages
from campaigns import flat_memory
from gatecell import _core, cells, nn
from gatecell.cells import reference
from gatecell.tensor import bptt, engine, recompute

EVERY = (*pages.EVERY, pages.delay)
every = pytest.mark.parametrize("cell", EVERY, ids=lambda c: c.name)


def cast(values, dtype):
    return {k: v.astype(dtype) for k, v in values.items()}


def ways(cell, w, x, start, sizes, **options):
    """{way: (output, last, what it left)}: everything kept, the states alone, marks at every 1, 7 and 40 steps."""

    def layer():
        return engine.Layer(engine.form(cell, sizes), w)

    made = {"states": recompute.forward_states(layer(), x, start, **options)}
    made |= {k: recompute.forward_marks(layer(), x, start, k, **options) for k in (1, 7, 40)}
    return bptt.forward(layer(), x, start, training=True, **options), made


def drawn(cell, rng, T, B, sizes, dtype):
    """Weights, input, start, and gradients of the output and of the last states."""
    w, x, start = pages.draw(cell, rng, T, B, sizes, scale=1 / np.sqrt(sizes["H"] + sizes["I"]))
    dy = rng.normal(size=(T, B, start[cell.states[0]].shape[1])).astype(dtype)
    return cast(w, dtype), x.astype(dtype), cast(start, dtype), dy, {s: rng.normal(size=v.shape).astype(dtype) for s, v in start.items()}


@every
@settings(max_examples=10)
@given(
    T=st.sampled_from([1, 2, 31, 40, 75]), B=st.sampled_from([1, 2, 3, 20, 32]), H=st.sampled_from([1, 9, 16, 35]), I=st.integers(1, 20),
    dtype=st.sampled_from([np.float32, np.float64]), reverse=st.booleans(), uneven=st.booleans(), parts=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_what_is_computed_again_is_the_same_bits(cell, T, B, H, I, dtype, reverse, uneven, parts, seed):
    """Outputs, states, gradients of inputs and states in any case; weights' where all rows are as long as the sequence."""
    rng, sizes = np.random.default_rng(seed), {"I": I, "H": H, "M": 5}
    w, x, start, dy, dlast = drawn(cell, rng, T, B, sizes, dtype)
    lengths = rng.integers(1, T + 1, B) if uneven else None
    (y, last, saved), made = ways(cell, w, x, start, sizes, reverse=reverse, lengths=lengths)
    want = saved.backward(x, dy, dlast)
    budget = budgets.CORE_GRADIENT if dtype == np.float32 else budgets.CORE_DOUBLE
    for way, (y2, last2, left) in made.items():
        assert np.array_equal(y, y2) and all(np.array_equal(last[s], last2[s]) for s in last), way
        if way == "states":  # parts of its own choice are long; here they are many
            left.parts = lambda left=left: bptt.parts(T, B, parts, left.saved.reverse)
        for _ in range(2):  # what it left is not used up
            got = left.backward(x, dy, dlast)
            assert set(got) == set(want)
            for name, g in got.items():
                if lengths is None or name == "x" or name in start:
                    assert np.array_equal(g, want[name]), (way, name)
                else:
                    assert abs(g - want[name]).max() <= budget * max(1, abs(want[name]).max()), (way, name)


@every
@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_computed_again_is_the_reference(cell, reverse, rng):
    """The NumPy reference in float64, independent of parts and of the core."""
    sizes = {"I": 6, "H": 19, "M": 7}
    w, x, start, dy, dlast = drawn(cell, rng, 50, 4, sizes, np.float64)
    turned = (lambda a: a[::-1]) if reverse else (lambda a: a)
    over = reference.forward(cell, w, turned(x), start)
    dover = {s: np.zeros_like(v[1:]) for s, v in over.items()}
    dover[cell.states[0]] += turned(dy)
    for s in dover:
        dover[s][-1] += dlast[s]
    want = reference.backward(cell, w, turned(x), over, dover)
    want["x"] = turned(want["x"])
    for y, last, left in ways(cell, w, x, start, sizes, reverse=reverse)[1].values():
        assert abs(y - turned(over[cell.states[0]][1:])).max() <= budgets.CORE_DOUBLE
        assert all(abs(last[s] - over[s][-1]).max() <= budgets.CORE_DOUBLE for s in last)
        for name, g in left.backward(x, dy, dlast).items():
            assert abs(g - want[name]).max() <= budgets.CORE_DOUBLE * max(1, abs(want[name]).max()), name


@pytest.mark.parametrize("steps", [1, 2, 31, 40, 100])
@pytest.mark.parametrize("most", [1, 7, 64, 200])
@pytest.mark.parametrize("rows", [1, 6, 20, 32, 64])
def test_parts(steps, most, rows):
    """They follow each other, all but the first that runs have as many rows as weights' sums want, and no more steps than that takes."""
    for reverse in (False, True):
        ran = bptt.parts(steps, rows, most, reverse)
        in_time = ran[::-1] if reverse else ran
        assert [0, *(end for _, end in in_time)] == [*(begin for begin, _ in in_time), steps]
        assert all((end - begin) * rows % 32 == 0 for begin, end in ran[1:])
        assert all(end - begin <= most + 31 // math.gcd(rows, 32) for begin, end in ran)


OPTIONS = ({"recompute": True}, {"checkpoint_every": 1}, {"checkpoint_every": 9}, {"recompute": True, "checkpoint_every": 100})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "make", [nn.RNN, nn.LSTM, nn.GRU, lambda *a, **k: nn.Recurrent(pages.three, *a, **k)], ids=["RNN", "LSTM", "GRU", "page"]
)
def test_layers_train_to_the_same_bits(make, batch_first, options, rng):
    """Two layers, two directions, dropout between them; a second way back with retain_graph."""
    plain = make(5, 21, num_layers=2, bidirectional=True, batch_first=batch_first, dropout=0.3)
    other = make(5, 21, num_layers=2, bidirectional=True, batch_first=batch_first, dropout=0.3, **options)
    assert all(f"{k}={v}" in repr(other) for k, v in options.items()) and "recompute" not in repr(plain)
    other.load_state_dict(plain.state_dict())
    values, seen = rng.normal(size=(6, 33, 5)).astype(np.float32), []
    for model in (plain, other):
        gatecell.manual_seed(4)
        x = gatecell.tensor(values, requires_grad=True)
        y, last = model(x)
        loss = (y * y).sum() + sum((h * h * h).sum() for h in (last if isinstance(last, tuple) else (last,)))
        for retain in (True, False):
            x.grad = None
            model.zero_grad()
            loss.backward(retain_graph=retain)
            seen.append([np.array(a) for a in (y.data, x.grad, *(p.grad for p in model.parameters()))])
    for other in seen[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(seen[0], other, strict=True))


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("4", TypeError), (True, TypeError)])
def test_checkpoint_every_checks(value, error):
    with pytest.raises(error, match="checkpoint_every"):
        nn.LSTM(2, 3, checkpoint_every=value)


# -- the peak -----------------------------------------------------------------------------------------------------------------------------

T, B, I, H = 512, 64, 8, 64
NUMBERS = {
    "rnn_tanh": (1, 0.13, 1.1),  # h; for an eighth of the steps the gradient of its sum
    "gru": (5, 0, 1.2),  # h, r, z, n, and what r multiplies, overwritten by gradients
    "gru_before": (4, 0.26, 1.2),  # h, r, z, n; for an eighth two gradients that find no place
    "lstm": (6, 0, 2.2),  # h, c, and four gates, overwritten by gradients
}
"""Numbers per unit and step at the peak, above inputs, weights and gradients: everything kept, and what comes to it; the states alone."""


def most(run):
    """Numbers per unit and step in arrays of the core at once, at the most, while this runs."""
    before = _core.memory(forget=True)[0]
    run()
    return (_core.memory()[1] - before) / (4 * T * B * H)


@pytest.mark.parametrize("cell", NUMBERS)
def test_numbers_per_unit_and_step(cell, rng):
    x = gatecell.tensor(rng.normal(size=(T, B, I)).astype(np.float32))
    weight = gatecell.tensor(rng.normal(size=(T, B, H)).astype(np.float32))
    every = 16
    whole, states, marks = (most(lambda m=m: (m(x)[0] * weight).sum().backward()) for m in (
        nn.Recurrent(cell, I, H), nn.Recurrent(cell, I, H, recompute=True), nn.Recurrent(cell, I, H, checkpoint_every=every),
    ))  # fmt: skip
    kept, more, fewest = NUMBERS[cell]
    assert kept <= whole <= kept + more + 0.02, "a step more than T, and what flows back"
    assert states <= fewest
    assert marks <= 1 + kept * every / T + len(cells[cell].states) / every + 0.05, "the output, a stretch, and the marks"


def test_units_that_fill_no_vector_need_room_for_whole_ones_and_no_more(rng):
    """100 units lie in rows of 112; the gradient that comes in is copied into such rows, an eighth of the steps at a time."""
    x, wide = gatecell.tensor(rng.normal(size=(T, B, I)).astype(np.float32)), 112 / H
    assert 6 * wide <= most(lambda: nn.LSTM(I, 100)(x)[0].sum().backward()) <= (6 + 1 / 8) * wide + 0.02


PEAK = f"""
import re, sys
import numpy as np
from gatecell.cells import cells
from gatecell.tensor import bptt, engine, recompute
cell, how, T, B, I, H = cells[sys.argv[1]], sys.argv[2], 4 * {T}, {B}, {I}, {H}
rng = np.random.default_rng(0)
w = {{k: (rng.normal(size=s) * 0.1).astype(np.float32) for k, s in cell.shapes({{"I": I, "H": H}}).items()}}
def memory(what):
    return int(re.search(what + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
def run(T):
    x, dy = (np.full((T, B, n), 0.01, np.float32) for n in (I, H))
    start = {{s: np.zeros((B, H), np.float32) for s in cell.states}}
    before = memory("VmRSS")
    forward = {{"whole": lambda *a: bptt.forward(*a, training=True), "states": recompute.forward_states,
                "marks": lambda *a: recompute.forward_marks(*a, 32)}}[how]
    left = forward(engine.Layer(engine.form(cell, {{"I": I, "H": H}}), w), x, start)[2]
    left.backward(x, dy, {{}}, False)
    return memory("VmHWM") - before
run(8)
print(run(T) / (4 * T * B * H))
"""


@pytest.mark.parametrize(("how", "least", "most"), [("whole", 5.95, 6.15), ("states", 2, 2.2), ("marks", 0.95, 1.2)])
def test_the_system_sees_the_same_peak(how, least, most):
    """Pages that the process had at the most, as the kernel counts them; nothing keeps the output that marks leave."""
    r = subprocess.run([sys.executable, "-c", PEAK, "lstm", how], capture_output=True, text=True, check=True, timeout=300)
    assert least <= float(r.stdout) <= most


# -- nothing stays behind -----------------------------------------------------------------------------------------------------------------


def test_calls_of_random_shapes_leave_memory_flat():
    """What campaigns/flat_memory.py does ten thousand times."""
    gc.collect()  # what earlier tests left in cycles goes now, not while this one counts
    before = _core.memory()[0]
    _, early, late = flat_memory.campaign(450, 3, 3)
    assert late - early < 10e6, "what 150 calls on average would leave is five times that"
    gc.collect()
    assert _core.memory()[0] <= before, "arrays of the core that nobody has any more"


def test_calls_of_one_shape_leave_nothing():
    model = nn.LSTM(7, 30, 2, bidirectional=True, recompute=True)
    x = np.ones((20, 5, 7), np.float32)

    def calls(n):
        for _ in range(n):
            model(x)[0].sum().backward()
        return flat_memory.held()

    calls(200)
    before = calls(50)
    assert calls(300) - before < 1e6, "300 calls of 250 KB each"


def test_arrays_that_wait_add_nothing_to_the_peak():
    """Blocks of one size make room for those of another; as many bytes as were in use at once are never exceeded by in use and waiting."""
    float32 = np.dtype(np.float32)
    used, _, _ = _core.memory(forget=True)
    first = [_core.empty((1 << 20,), float32) for _ in range(3)]
    del first
    now, peak, idle = _core.memory()
    assert (now, peak) == (used, used + 3 * (4 << 20)) and idle >= 3 * (4 << 20)
    second = _core.empty((1 << 21,), float32)
    now, peak, idle = _core.memory()
    assert now == used + (8 << 20) and peak == used + (12 << 20) and now + idle <= peak
    where = second.ctypes.data
    del second
    assert _core.empty((1 << 21,), float32).ctypes.data == where


# -- long sequences -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [c for c in cells if cells[c].fused or c in ("mgu", "mingru", "cifg", "slstm", "lstm_layer_norm")])
def test_a_hundred_thousand_steps_in_chunks_and_streamed(cell, rng):
    """Chunks of odd sizes with the state carried on, and a stream: the bits of the whole."""
    steps = 100_000
    model = nn.Recurrent(cell, 3, 18)
    x = rng.normal(size=(steps, 1, 3)).astype(np.float32)
    with gatecell.no_grad():
        whole, end = model(x)
        outputs, state, at = [], None, 0
        while at < steps:
            n = int(rng.integers(1, 9_000))
            y, state = model(x[at : at + n], state)
            outputs.append(y.data)
            at += n
    assert np.array_equal(np.concatenate(outputs), whole.data)
    for a, b in zip(end if isinstance(end, tuple) else (end,), state if isinstance(state, tuple) else (state,), strict=True):
        assert np.array_equal(a.data, b.data)
    stream, y = gatecell.Stream(model), np.empty(18, np.float32)
    for xt, want in zip(x[:, 0], whole.data[:, 0], strict=True):
        assert np.array_equal(stream.step(xt, out=y), want)
