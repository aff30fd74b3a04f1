"""Pages, their programs and gradients in NumPy, against the papers' loops.  Not here: the C++ core (test_core.py)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import budgets
import pages
from gatecell import cells
from gatecell.algebra.graph import Graph
from gatecell.algebra.ops import OPS, maximum, sigmoid, tanh
from gatecell.algebra.ranges import ranges
from gatecell.cells import record, reference
from gatecell.cells.cell import Registry

every = pytest.mark.parametrize("cell", pages.EVERY, ids=lambda c: c.name)
SHAPE = st.tuples(*(st.integers(1, n) for n in (5, 3, 4, 6, 4)))


def at(shape):
    T, B, I, H, M = shape
    return T, B, {"I": I, "H": H, "M": M}


@every
@settings(max_examples=12)
@given(shape=SHAPE, bias=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_reference_is_the_papers_loop(cell, shape, bias, seed):
    T, B, sizes = at(shape)
    w, x, start = pages.draw(cell, np.random.default_rng(seed), T, B, sizes, bias)
    got, want = reference.forward(cell, w, x, start), pages.run_textbook(cell, w, x, start)
    for s in cell.states:
        assert abs(got[s][1:] - want[s]).max() <= budgets.REFERENCE


@every
@settings(max_examples=4)
@given(shape=SHAPE, bias=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_derived_gradients_are_the_complex_step_of_the_papers_loop(cell, shape, bias, seed):
    """Every entry of every weight, parameter, input and start state; losses on all states over time."""
    T, B, sizes = at(shape)
    rng = np.random.default_rng(seed)
    w, x, start = pages.draw(cell, rng, T, B, sizes, bias)
    dover = {s: rng.normal(size=(T, *v.shape)) for s, v in start.items()}
    got = reference.backward(cell, w, x, reference.forward(cell, w, x, start), dover)
    values = {**w, **start, "x": x}
    assert set(got) == set(values)
    for name, v in values.items():
        scale = max(1.0, abs(got[name]).max())
        for i in np.ndindex(v.shape):
            q = {k: a.astype(complex) for k, a in values.items()}
            q[name][i] += 1e-30j
            over = pages.run_textbook(cell, {k: q[k] for k in w}, q["x"], {s: q[s] for s in start})
            want = sum((dover[s] * over[s]).sum().imag for s in start) / 1e-30
            assert abs(want - got[name][i]) <= budgets.COMPLEX_STEP * scale, (name, i)


def test_a_state_that_only_moves_keeps_its_gradient(rng):
    """A delay line by hand: the third step's loss reaches the start state `older` two steps later."""
    cell = pages.delay
    w, x, start = pages.draw(cell, rng, 3, 2, {"I": 2, "H": 3})
    over = reference.forward(cell, w, x, start)
    assert (over["older"][2] == start["h"]).all() and (over["old"][3] == over["h"][2]).all()
    dover = {s: np.zeros((3, 2, 3)) for s in start}
    dover["older"][1] = 1.0
    assert (reference.backward(cell, w, x, over, dover)["h"] == 1.0).all()


@pytest.mark.parametrize(
    ("name", "stages", "kept"),
    [("rnn_tanh", 1, 0), ("lstm", 1, 4), ("gru", 1, 4), ("gru_before", 2, 3), ("mgu", 2, 2), ("mingru", 1, 2), ("slstm", 1, 5)],
)
def test_stages_and_kept_values(name, stages, kept):
    """What the mathematics needs: one product stage more where a product reads another's result; the fewest values kept."""
    cell = cells[name]
    assert len([s for s in cell.program.stages if s.joins]) == stages
    assert len(cell.backward.keep) == kept


@pytest.mark.parametrize(("name", "state", "bound"), [("lstm", "h", 1), ("lstm", "c", np.inf), ("gru", "h", 1), ("rnn_relu", "h", np.inf)])
def test_intervals(name, state, bound):
    p = cells[name].program
    assert max(map(abs, ranges(p)[p.states[state]])) == bound


@pytest.mark.parametrize("op", [o for o in OPS if not OPS[o].joins])
def test_intervals_hold_for_random_values(op, rng):
    row = OPS[op]
    n = row.of.__code__.co_argcount if hasattr(row.of, "__code__") else 1
    for _ in range(200):
        ends = [np.sort(rng.normal(size=2) * 3) for _ in range(n)]
        if op == "lerp":
            ends[0] = np.sort(rng.uniform(size=2))
        if op == "rsqrt":
            ends[0] = abs(ends[0]) + 1e-3
            ends[0].sort()
        if op == "div" and ends[1][0] <= 0 <= ends[1][1]:
            continue
        if op == "within":
            ends[1:] = [np.array([-9.0, -9.0]), np.array([9.0, 9.0])]
        args = [np.append(rng.uniform(*e, size=50), e) for e in ends]
        low, high = row.span(*map(tuple, ends))
        y = row.of(*args)
        assert np.all(y >= low - 1e-12) and np.all(y <= high + 1e-12)


def breaks(page, message, **options):
    with pytest.raises(TypeError, match=message):
        Registry().add(record(**options)(page))


def test_pages_that_break_the_grammar_say_so():
    def branch(W, x, h):
        return W.a(x) if h > 0 else h

    def python_max(W, x, h):
        return max(W.a(x), h)

    def power(W, x, h):
        return W.a(x) ** 2

    def two_states(W, x, h, c):
        return tanh(W.a(x) + h)

    def wrong_axis(W, x, h):
        return sigmoid(x)

    def mixed(W, x, h):
        return W.a(x) + x

    def two_arguments(W, R, x, h, c):
        return R.a(h) + R.a(x), c

    breaks(branch, "cannot branch")
    breaks(python_max, "cannot branch")
    breaks(power, "product of factors")
    breaks(two_states, "states h c, got 1")
    breaks(wrong_axis, "wants to be over H, got I")
    breaks(mixed, "one axis")
    breaks(two_arguments, "one axis, got H and I")


def test_names_are_registered_once():
    r = Registry()

    @record()
    def one(W, x, h):
        return maximum(W.a(x), h)

    r.add(one)
    with pytest.raises(ValueError, match="registered already"):
        r.add(one)
    with pytest.raises(KeyError, match="registered: one"):
        r["two"]


def test_constants_and_numpy_scalars_become_nodes():
    x = Graph().node("x", attr="x", axis="I")
    assert (np.float64(2) * x).op == "mul" and (1 - x).args[0].attr == 1.0
