"""The driver's options in a layer: what their masks are and depend on; what of them is left at inference, in files, streams, integers, C.

Not here: the equations (test_options.py).
"""

import copy
import pickle

import numpy as np
import pytest

import budgets
import gatecell
import pages
from gatecell import cells, nn
from gatecell.cells import reference
from gatecell.cells.options import Options, inference, options, training
from gatecell.tensor.random import dropout_mask

T, B = 6, 3
ALL = {"zoneout": 0.3, "recurrent_dropout": 0.4, "candidate_dropout": 0.2, "cell_clip": 0.4}


def test_masks_are_drawn_by_their_places():
    """Two layers, two directions: a layer's masks, in the order of the record, are those of `dropout_mask` at its place."""
    gatecell.manual_seed(4)
    m = nn.LSTM(4, 5, 2, bidirectional=True, zoneout={"c": 0.5, "h": 0.1}, recurrent_dropout=0.25, candidate_dropout=0.3, dtype=np.float64)
    x = gatecell.randn(T, B, 4, dtype=np.float64)
    with gatecell.dropout_at(9):
        y, _ = m(x)
    with gatecell.dropout_at(9):
        want = x.data
        for layer in (0, 1):
            sides = []
            for side in ("", "_reverse"):
                draw = lambda shape, p, timed, kept, k=layer: dropout_mask(shape, p, np.dtype(np.float64), k, timed=timed, kept=kept)
                given = {"mask_h": draw((T, B, 5), 0.1, True, 1.0), "mask_c": draw((T, B, 5), 0.5, True, 1.0)}
                given |= {"mask_over_H": draw((B, 5), 0.25, False, 1 / 0.75), "mask_candidate": draw((T, B, 5), 0.3, True, 1 / 0.7)}
                turn = slice(None, None, -1 if side else 1)
                names = {"W": "weight_ih", "W+": "bias_ih", "R": "weight_hh", "R+": "bias_hh"}
                w = {k: getattr(m, f"{n}_l{layer}{side}").data for k, n in names.items()}
                given = {k: a[turn] if a.ndim == 3 else a for k, a in given.items()}
                record = training(cells["lstm"], m._options)
                over = reference.forward(record, w, want[turn], dict.fromkeys("hc", np.zeros((B, 5))), given)
                sides.append(over["h"][1:][turn])
            want = np.concatenate(sides, -1)
    assert abs(y.data - want).max() <= budgets.CORE_DOUBLE


@pytest.mark.parametrize("cell", [c for c in pages.EVERY if "R" in c.program.families], ids=lambda c: c.name)
def test_masks_have_their_shares(cell):
    """Of a single step of many rows; 5 deviations; and no two masks are alike."""
    rows = 4000
    gatecell.manual_seed(1)
    m = nn.Recurrent(cell, 2, 16, proj_size=0 if cell.axis(cell.states[0]) == "H" else 16, zoneout=0.2, recurrent_dropout=0.4)
    masks = m._masks(training(cell, m._options), (1, rows), 0, np.dtype(np.float32))
    assert set(masks) == {f"mask_{s}" for s in cell.states} | {f"mask_over_{cell.axis(cell.states[0])}"}
    for name, a in masks.items():
        p, kept = (0.4, np.float32(1 / 0.6)) if "over" in name else (0.2, 1)
        assert a.shape[-2:] == (rows, 16) and set(np.unique(a)) == {0, kept}
        assert abs((a == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / a.size)
    flat = [a.reshape(-1) == 0 for a in masks.values()]
    together = [(a & b).mean() - a.mean() * b.mean() for k, a in enumerate(flat) for b in flat[:k]]
    assert all(abs(v) < 5 * 0.25 / np.sqrt(flat[0].size) for v in together)


def test_the_mean_of_training_is_inference():
    """One step of one input in many rows: the mean over masks is what inference computes, within 5 deviations."""
    rows = 20000
    m = nn.LSTM(3, 4, zoneout={"h": 0.3, "c": 0.6}, dtype=np.float64)
    x = gatecell.tensor(np.repeat(np.random.default_rng(0).normal(size=(1, 1, 3)), rows, 1))
    start = tuple(gatecell.tensor(np.repeat(np.random.default_rng(k).normal(size=(1, 1, 4)), rows, 1)) for k in (1, 2))
    _, trained = m(x, start)
    _, still = m.eval()(x, start)
    for a, b in zip(trained, still, strict=True):
        values = a.data[0]
        assert (abs(values.mean(0) - b.data[0, 0]) < 5 * values.std(0) / np.sqrt(rows)).all() and values.std(0).min() > 0.01


OPTIONS = ({"zoneout": 0.3}, {"recurrent_dropout": 0.4}, {"candidate_dropout": 0.2}, {"cell_clip": 0.1}, ALL)


def run(m, x, **other):
    m.zero_grad()
    with gatecell.dropout_at(2):
        y, last = m(x, **other)
        (y * y).sum().backward()
    ends = last if isinstance(last, tuple) else (last,)
    return [y.data, *(e.data for e in ends)], [p.grad.data.copy() for p in m.parameters()]


def equal(a, b):
    return len(a) == len(b) and all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.parametrize("given", OPTIONS, ids=lambda o: "+".join(o))
@pytest.mark.parametrize("name", ["lstm", "gru", "gru_before"])
def test_no_bit_depends_on_threads_batch_chunks_or_memory(name, given):
    cell = cells[name]
    if name != "lstm":
        given = {k: {"h": v} if k == "cell_clip" else v for k, v in given.items()}
    gatecell.manual_seed(8)
    m = nn.Recurrent(cell, 5, 37, 2, bidirectional=True, **given)
    x = gatecell.randn(29, 8, 5)
    whole = run(m, x)
    before = gatecell.get_num_threads()
    try:
        for n in (1, 3):
            gatecell.set_num_threads(n)
            assert equal(run(m, x)[0], whole[0]) and equal(run(m, x)[1], whole[1])
    finally:
        gatecell.set_num_threads(before)
    for option in ({"recompute": True}, {"checkpoint_every": 7}):
        other = nn.Recurrent(cell, 5, 37, 2, bidirectional=True, **given, **option)
        other.load_state_dict(m.state_dict())
        assert equal(run(other, x)[0], whole[0]) and equal(run(other, x)[1], whole[1])
    with gatecell.dropout_at(2, samples=[3, 4]):
        assert np.array_equal(m(x[:, 3:5])[0].data, whole[0][0][:, 3:5])
    with gatecell.dropout_at(2, batch_first=True):  # which is for arrays of others' layouts
        assert np.array_equal(m(x)[0].data, whole[0][0])
    lengths = [29, 1, 7, 28, 29, 13, 2, 3]
    padded = run(m, x, lengths=lengths)[0][0]
    for b, n in enumerate(lengths):
        with gatecell.dropout_at(2, samples=[b]):
            assert np.array_equal(m(x[:n, b : b + 1])[0].data[:, 0], padded[:n, b]) and not padded[n:, b].any()
    forward = nn.Recurrent(cell, 5, 37, **given)
    with gatecell.dropout_at(5):
        want, _ = forward(x)
    with gatecell.dropout_at(5):
        first, state = forward(x[:12])
    with gatecell.dropout_at(5, step=12):
        rest, _ = forward(x[12:], state)
    assert np.array_equal(np.concatenate([first.data, rest.data]), want.data)


def test_a_second_backward_has_the_same_masks():
    m = nn.GRU(3, 8, zoneout=0.5, recurrent_dropout=0.5)
    loss = m(gatecell.randn(9, 2, 3))[0].sum()
    loss.backward(retain_graph=True)
    first = [p.grad.data.copy() for p in m.parameters()]
    m.zero_grad()
    loss.backward()
    assert equal(first, [p.grad.data for p in m.parameters()])


@pytest.mark.parametrize("cell", cells.values(), ids=lambda c: c.name)
def test_nothing_asked_is_the_plain_layer(cell):
    """Probability 0 and no bound: its record, its bits, and no mask is drawn; dropout of training alone: so at inference."""
    plain = nn.Recurrent(cell, 3, 9)
    none = nn.Recurrent(cell, 3, 9, zoneout=dict.fromkeys(cell.states, 0.0), recurrent_dropout=0, candidate_dropout=0.0, cell_clip=None)
    none.load_state_dict(plain.state_dict())
    x = gatecell.randn(7, 2, 3)
    before = gatecell.get_rng_state()
    assert equal(run(plain, x)[0], run(none, x)[0]) and gatecell.get_rng_state() == before
    assert not none._options and training(cell, none._options) is inference(cell, none._options) is cell
    assert inference(cell, Options(recurrent=0.5, candidate=0.5)) is cell


def test_a_bound_that_nothing_reaches_changes_nothing():
    plain, bounded = nn.LSTM(3, 9), nn.LSTM(3, 9, cell_clip=1e6)
    bounded.load_state_dict(plain.state_dict())
    x = gatecell.randn(7, 2, 3)
    for a, b in zip(run(plain, x), run(bounded, x), strict=True):
        assert equal(a, b)


def model(**given):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(3, 8, 2, **given), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    return Net()


def test_files_streams_integers_and_c_have_what_is_left_at_inference(tmp_path):
    m = model(**ALL)
    plain = model()
    plain.load_state_dict(m.state_dict())
    x = gatecell.randn(40, 2, 3)
    want, other = m.eval()(x).data, plain.eval()(x).data
    assert abs(want - other).max() > 1e-3
    gatecell.save(m, tmp_path / "m")
    loaded = gatecell.load(tmp_path / "m")
    assert np.array_equal(loaded(x).data, want)
    stream = gatecell.Stream(m, batch=2)
    assert np.array_equal(np.stack([stream.step(row.data) for row in x]), want)
    c = gatecell.export_c(m, tmp_path, name="floats")
    assert abs(c.run(x.data) - want).max() <= budgets.FLOAT_C * max(1, abs(want).max())
    assert "lerp_(0.3f, c, " in c.source.read_text()  # still in the page's words
    for scheme in ("w8a8", "w8a16"):
        q = gatecell.quantize(loaded, x.data, scheme)
        y = q(x.data)
        assert np.sqrt(np.mean((y - want) ** 2)) <= budgets.QUANTISED[scheme] * want.std()
        assert np.array_equal(gatecell.export_c(q, tmp_path, name=f"q{scheme}").run(x.data), y)
        gatecell.save(q, tmp_path / "q")
        assert np.array_equal(gatecell.load(tmp_path / "q")(x.data), y)


def test_copies_and_text_keep_the_options():
    m = nn.LSTM(3, 8, **ALL)
    x = gatecell.randn(5, 2, 3)
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):  # noqa: S301
        assert equal(run(other, x)[0], run(m, x)[0])
    assert repr(m) == "LSTM(3, 8, zoneout=0.3, recurrent_dropout=0.4, candidate_dropout=0.2, cell_clip=0.4)"
    assert list(m.state_dict()) == list(nn.LSTM(3, 8).state_dict())


def test_records_are_found_by_their_spelling():
    o = options(cells["lstm"], zoneout={"c": 1e-7, "h": 0.25}, clip={"c": 3})
    made = inference(cells["lstm"], o)
    assert made.name == "lstm with clip c 3.0, zoneout h 0.25, zoneout c 1e-07" and cells[made.name] is made and made.name in cells
    assert made.name not in list(cells)
    for name in (
        "lstm with", "lstm with clip c 3", "lstm with clip c -3.0", "lstm with clip c nan", "lstm with zoneout c 0.0",
        "elm with clip c 3.0", "lstm with clip d 3.0", "lstm with zoneout c 0.5, clip c 3.0",
        "lstm with clip c 3.0, clip c 3.0", "lstm with clip c 3.0, ",
        "lstm with zoneout c 1.5", "lstm with clip c 3.0 zoneout c 0.5", "lstm with " + "clip c 3.0, " * 9, "lstm with clip c 1e999",
    ):  # fmt: skip
        assert name not in cells, name
    assert training(cells["lstm"], o).name not in cells
