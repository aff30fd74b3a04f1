"""Sequences of different lengths in one batch: each has the bits that it has alone, whatever lies beyond its end.

The oracle is the same network run on one sequence at a time, cut to its length, which knows nothing of lengths; for the
gradients of weights, which sum over sequences, the same in float64.  torch's packed sequences judge in test_packed.py.
"""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import budgets
import gatecell
import pages
from gatecell import nn

CELLS = pages.EVERY
"""One stage and two, a projection, reductions over units, parameters per unit."""
every = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)


@pytest.fixture(autouse=True)
def threads():
    before = gatecell.get_num_threads()
    yield
    gatecell.set_num_threads(before)


def network(cell, inputs, hidden, **options):
    projects = cell.axis(cell.states[0]) != "H"
    return nn.Recurrent(cell, inputs, hidden, proj_size=max(1, hidden // 3) if projects else 0, **options)


def starts(model, rng, rows):
    directions = model.num_layers * (1 + model.bidirectional)
    drawn = {s: rng.normal(size=(directions, rows, model._lengths[s])) for s in model.cell.states}
    return [a.astype(np.float32) for a in pages.started(model.cell, drawn).values()]


def passes(model, x, start, dy, dlast, **lengths):
    """Output, last states, the gradients of input and start states, and those of the weights."""
    x = gatecell.tensor(x, requires_grad=True)
    hx = tuple(gatecell.tensor(s, requires_grad=True) for s in start)
    y, last = model(x, hx if len(hx) > 1 else hx[0], **lengths)
    last = last if isinstance(last, tuple) else (last,)
    model.zero_grad()
    loss = (y.reshape(-1) * gatecell.tensor(dy.reshape(-1))).sum()
    for end, d in zip(last, dlast, strict=True):
        loss = loss + (end * gatecell.tensor(d)).sum()
    loss.backward()
    values = [y.data, *(e.data for e in last), np.asarray(x.grad), *(np.asarray(h.grad) for h in hx)]
    return values, [np.array(p.grad) for p in model.parameters()]


def check(model, x, start, dy, dlast, lengths):
    """`lengths` in one batch against one at a time; NaN beyond the lengths, in the input and in the output's gradient."""
    T, turn = x.shape[0], (lambda a: a.swapaxes(0, 1)) if model.batch_first else (lambda a: a)
    beyond = np.arange(T)[:, None] >= lengths
    x, dy = x.copy(), dy.copy()
    x[beyond] = dy[beyond] = np.nan
    together, weights = passes(model, turn(x), start, turn(dy), dlast, lengths=lengths)
    states = len(start)
    y, dx = turn(together[0]), turn(together[1 + states])
    assert not y[beyond].any() and not dx[beyond].any()
    with gatecell.no_grad():
        hx = tuple(map(gatecell.tensor, start))
        assert np.array_equal(model(turn(x), hx if states > 1 else hx[0], lengths=lengths)[0].data, together[0]), "inference"
    exact, sums = copy.deepcopy(model).double(), [0.0] * len(weights)
    for b, n in enumerate(lengths):
        row = slice(b, b + 1)
        cut = [turn(x[:n, row]), [s[:, row] for s in start], turn(dy[:n, row]), [d[:, row] for d in dlast]]
        alone, _ = passes(model, *cut)
        assert np.array_equal(y[:n, row], turn(alone[0])) and np.array_equal(dx[:n, row], turn(alone[1 + states]))
        for k in (*range(1, 1 + states), *range(2 + states, 2 + 2 * states)):
            assert np.array_equal(together[k][:, row], alone[k])
        wide = [np.float64(a) if isinstance(a, np.ndarray) else [np.float64(s) for s in a] for a in cut]
        sums = [s + g for s, g in zip(sums, passes(exact, *wide)[1], strict=True)]
    for (name, _), got, want in zip(model.named_parameters(), weights, sums, strict=True):
        assert abs(got - want).max() <= budgets.CORE_GRADIENT * max(1, abs(want).max()), name
    return together, weights


def drawn(rng, kind, T, B):
    uniform = rng.integers(1, T + 1, B)
    return {"uniform": uniform, "equal": np.full(B, uniform[0]), "longest last": np.sort(uniform)}[kind]


@every
@settings(max_examples=8)
@given(
    shape=st.tuples(st.integers(1, 12), st.sampled_from([1, 2, 3, 5, 8, 9, 17]), st.integers(1, 9), st.sampled_from([1, 5, 16, 19, 33])),
    kind=st.sampled_from(["uniform", "equal", "longest last"]), layers=st.sampled_from([1, 1, 2]), bidirectional=st.booleans(),
    batch_first=st.booleans(), threads=st.integers(1, 8), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_each_row_is_as_alone(cell, shape, kind, layers, bidirectional, batch_first, threads, seed):
    T, B, I, H = shape
    rng = np.random.default_rng(seed)
    gatecell.manual_seed(seed)
    gatecell.set_num_threads(threads)
    model = network(cell, I, H, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first)
    width = (1 + bidirectional) * model._lengths[cell.states[0]]
    x, dy = rng.normal(size=(T, B, I)).astype(np.float32), rng.normal(size=(T, B, width)).astype(np.float32)
    start = starts(model, rng, B)
    check(model, x, start, dy, [rng.normal(size=s.shape).astype(np.float32) for s in start], drawn(rng, kind, T, B))


# Peepholes on a memory that never forgets are chaotic over hundreds of steps: there rounding grows to any size.
@pytest.mark.parametrize("cell", [c for c in CELLS if c.name != "nfg"], ids=lambda c: c.name)
def test_long_rows_on_any_number_of_threads(cell, rng):
    """Enough work for eight: no bit of any result, the weights' gradients among them, depends on the threads."""
    T, B, I, H = 260, 58, 3, 50
    model = network(cell, I, H, bidirectional=True)
    x, dy = (rng.normal(size=(T, B, n)).astype(np.float32) for n in (I, 2 * model._lengths[cell.states[0]]))
    lengths, start = rng.integers(1, T + 1, B), starts(model, rng, B)
    lengths[17] = T
    gatecell.set_num_threads(8)
    got, weights = check(model, x, start, dy, start, lengths)
    for n in (1, 2, 3, 5):
        gatecell.set_num_threads(n)
        again, same = passes(model, x, start, dy, start, lengths=lengths)
        for a, b in zip(again + same, got + weights, strict=True):
            assert np.array_equal(a, b)
