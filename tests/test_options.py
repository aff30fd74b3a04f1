"""Zoneout, dropout inside the recurrence and bounds on states, for every cell: against the papers' loops with the masks given, their
gradients by complex step.  Not here: what the masks are, and what of the options travels (test_option_masks.py).
"""

import numpy as np
import pytest

import budgets
import gatecell
import pages
import textbook
import textbook_options
from gatecell import cells, nn
from gatecell.cells import record, reference
from gatecell.cells.options import inference, options, training
from gatecell.tensor.recurrence import recurrence

every = pytest.mark.parametrize("cell", pages.EVERY, ids=lambda c: c.name)
T, B, SIZES = 6, 3, {"I": 4, "H": 5, "M": 3}


def tensors(arrays):
    return {k: gatecell.tensor(a, requires_grad=True) for k, a in arrays.items()}


def judge(cell, loop, w, x, start, given, rng):
    """Core and reference in float64 against loop(x, start, w): states, and every gradient by complex step; backwards the same bits."""
    want = loop(x, start, w)
    over = reference.forward(cell, w, x, start, given)
    assert all(abs(over[s][1:] - want[s]).max() <= budgets.REFERENCE for s in start)
    xs, ss, ws = gatecell.tensor(x, requires_grad=True), tensors(start), tensors(w)
    y, last = recurrence(cell, xs, ss, ws, given=given)
    first = cell.states[0]
    assert abs(y.data - want[first]).max() <= budgets.CORE_DOUBLE
    assert all(abs(last[s].data - want[s][-1]).max() <= budgets.CORE_DOUBLE for s in start)
    dy, dlast = rng.normal(size=y.shape), {s: rng.normal(size=v.shape) for s, v in start.items()}
    ends = [(last[s] * gatecell.tensor(d)).sum() for s, d in dlast.items()]
    sum(ends, (y * gatecell.tensor(dy)).sum()).backward()
    turned_x, turned_w = gatecell.tensor(x[::-1].copy(), requires_grad=True), tensors(w)
    turned = {name: a[::-1] if a.ndim == 3 else a for name, a in (given or {}).items()}
    z, end = recurrence(cell, turned_x, tensors(start), turned_w, given=turned, reverse=True)
    sum([(end[s] * gatecell.tensor(d)).sum() for s, d in dlast.items()], (z * gatecell.tensor(dy[::-1].copy())).sum()).backward()
    assert np.array_equal(z.data[::-1], y.data) and np.array_equal(turned_x.grad.data[::-1], xs.grad.data)
    assert all(np.array_equal(turned_w[k].grad.data, ws[k].grad.data) for k in w)
    dover = {s: np.zeros((T, *v.shape)) for s, v in start.items()}
    dover[first] += dy
    for s, d in dlast.items():
        dover[s][-1] += d
    by_reference = reference.backward(cell, w, x, over, dover, given)
    values = {**w, **start, "x": x}
    got = {k: t.grad.data for k, t in {**ws, **ss, "x": xs}.items()}
    for name, v in values.items():
        scale = max(1.0, abs(got[name]).max())
        assert abs(got[name] - by_reference[name]).max() <= budgets.CORE_DOUBLE * scale
        for i in [tuple(rng.integers(0, v.shape)) for _ in range(4)]:
            q = {k: a.astype(complex) for k, a in values.items()}
            q[name][i] += 1e-30j
            moved = loop(q["x"], {s: q[s] for s in start}, {k: q[k] for k in w})
            wanted = sum((dover[s] * moved[s]).sum().imag for s in start) / 1e-30
            assert abs(wanted - got[name][i]) <= budgets.CORE_DOUBLE * scale, (name, i)


def by_pages(cell, own):
    """A page's loop, as textbook.py has it or with something of `own` around it."""
    loop, renamed = pages.TEXTBOOK[cell.name]
    return lambda x, start, w: own(loop, x, start, renamed(w))


@every
def test_zoneout_is_the_papers(cell, rng):
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    keeps = {s: rng.integers(0, 2, (T, *v.shape)).astype(float) for s, v in start.items()}
    trained = training(cell, options(cell, zoneout=0.5))
    given = {f"mask_{s}": 1 - d for s, d in keeps.items()}
    loop = by_pages(cell, lambda loop, x, start, w: textbook_options.zoneout(loop, x, start, w, keeps))
    judge(trained, loop, w, x, start, given, rng)
    kept = reference.forward(trained, w, x, start, given)
    for s, d in keeps.items():  # whose unit is kept is kept to the bit
        assert np.array_equal(kept[s][1:][d == 1], kept[s][:-1][d == 1])


@every
def test_zoneout_at_inference_is_its_expectation(cell, rng):
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    shares = dict(zip(cell.states, (0.1, 0.35, 0.6, 0.2, 0.8), strict=False))
    loop = by_pages(cell, lambda loop, x, start, w: textbook_options.zoneout(loop, x, start, w, {s: [p] * T for s, p in shares.items()}))
    judge(inference(cell, options(cell, zoneout=shares)), loop, w, x, start, None, rng)


# Not of heads: this loop has the mask as a part of the recurrent matrices, and theirs are cut.
@pytest.mark.parametrize("cell", [c for c in pages.EVERY if "R" in c.program.families and not c.heads], ids=lambda c: c.name)
def test_recurrent_dropout_is_the_papers(cell, rng):
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    axis = cell.axis(cell.states[0])
    mask = rng.integers(0, 2, (B, SIZES[axis])) / 0.5
    masked = lambda loop, x, start, w: textbook_options.recurrent_dropout(loop, x, start, w, mask, [k for k in w if k[0] == "R"])
    judge(training(cell, options(cell, recurrent=0.5)), by_pages(cell, masked), w, x, start, {f"mask_over_{axis}": mask}, rng)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_candidate_dropout_is_the_papers(name, rng):
    cell = cells[name]
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    mask = rng.integers(0, 2, (T, B, SIZES["H"])) / 0.75
    loop = by_pages(cell, lambda _, x, start, w: getattr(textbook_options, name)(x, start, w, mask))
    judge(training(cell, options(cell, candidate=0.25)), loop, w, x, start, {"mask_candidate": mask}, rng)


def test_a_bound_holds_for_what_reads_the_state(rng):
    """The output reads the bounded cell; in intervals the state has a bound then, and so a format that needs no calibration."""
    cell = cells["lstm"]
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    clipped = inference(cell, options(cell, clip=0.25))
    judge(clipped, by_pages(cell, lambda _, x, s, w: textbook_options.lstm(x, s, w, bound=0.25)), w, x, start, None, rng)
    over = reference.forward(clipped, w, x, start)["c"][1:]
    assert (abs(over) == 0.25).any() and (abs(over) < 0.25).any()
    assert clipped.name == "lstm with clip c 0.25" and inference(cell, options(cell, clip={"c": 0.25})) is clipped


@every
def test_any_state_can_be_bounded(cell, rng):
    """Even one that only moves; NaN is not hidden by a bound."""
    o = options(cell, clip=dict.fromkeys(cell.states, 0.125))
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    over = reference.forward(inference(cell, o), w, x, start)
    assert all(abs(v[1:]).max() <= 0.125 for v in over.values())
    y, _ = recurrence(inference(cell, o), gatecell.tensor(x), tensors(start), tensors(w))
    assert abs(y.data - over[cell.states[0]][1:]).max() <= budgets.CORE_DOUBLE
    x[2, 1] = np.nan
    y, _ = recurrence(inference(cell, o), gatecell.tensor(x), tensors(start), tensors(w))
    assert np.isnan(y.data[2:, 1]).any() and np.isfinite(y.data[:, 0]).all()


def test_all_at_once(rng):
    """Bounded first, then zoned out; the mask of the candidate inside, that of the products around."""
    cell = cells["lstm"]
    w, x, start = pages.draw(cell, rng, T, B, SIZES)
    trained = training(cell, options(cell, zoneout={"c": 0.5}, recurrent=0.5, candidate=0.5, clip=0.4))
    keep, inside = rng.integers(0, 2, (2, T, B, SIZES["H"])).astype(float)
    read = rng.integers(0, 2, (B, SIZES["H"])) / 0.5

    def loop(x, start, w):
        over = {"h": [[] for _ in range(T)], "c": [[] for _ in range(T)]}
        for b in range(B):
            own = {k: v * read[b] if k == "R" else v for k, v in renamed(w).items()}
            states = {s: v[b : b + 1] for s, v in start.items()}
            for t in range(T):
                one = (slice(t, t + 1), slice(b, b + 1))
                new = {s: v[0] for s, v in textbook_options.lstm(x[one], states, own, inside[one], 0.4).items()}
                states = {"h": new["h"], "c": keep[t, b] * states["c"] + (1 - keep[t, b]) * new["c"]}
                for s, v in states.items():
                    over[s][t].append(v[0])
        return {s: np.array(v) for s, v in over.items()}

    renamed = pages.TEXTBOOK["lstm"][1]
    judge(trained, loop, w, x, start, {"mask_c": 1 - keep, "mask_over_H": read, "mask_candidate": inside}, rng)


@record()
def no_memory_of_products(W, x, h):
    return textbook_free(W.a(x) + 0.5 * h)


def textbook_free(v):
    return v / (1.0 + v * v)


def test_what_is_wrong_is_said():
    for error, match, given in (
        (TypeError, "zoneout wants a number", {"zoneout": "h"}),
        (TypeError, "zoneout of h wants a number", {"zoneout": {"h": None}}),
        (TypeError, "recurrent_dropout wants a number", {"recurrent_dropout": None}),
        (ValueError, "zoneout of c wants a probability, 0 to 1, got 1.5", {"zoneout": {"c": 1.5}}),
        (ValueError, "zoneout: states of lstm wanted, h, c, got 'd'", {"zoneout": {"d": 0.5}}),
        (ValueError, "recurrent_dropout wants a probability", {"recurrent_dropout": -0.1}),
        (ValueError, "candidate_dropout wants a probability", {"candidate_dropout": float("nan")}),
        (ValueError, "clip of c wants a finite bound above 0, got 0.0", {"cell_clip": 0}),
        (ValueError, "clip of c wants a finite bound above 0, got inf", {"cell_clip": float("inf")}),
        (TypeError, "unexpected keyword", {"zone_out": 0.5}),
    ):
        with pytest.raises(error, match=match):
            nn.LSTM(2, 3, **given)
    with pytest.raises(gatecell.Unsupported, match="bounded by its equations: name one, as {'h': bound}"):
        nn.GRU(2, 3, cell_clip=1.0)
    with pytest.raises(gatecell.Unsupported, match="no candidate"):
        nn.RNN(2, 3, candidate_dropout=0.5)
    with pytest.raises(gatecell.Unsupported, match="no product of no_memory_of_products reads a state"):
        nn.Recurrent(no_memory_of_products, 2, 3, recurrent_dropout=0.5)
    trained = training(cells["gru"], options(cells["gru"], zoneout=0.5))
    w, x, start = pages.draw(trained, np.random.default_rng(0), T, B, SIZES)
    with pytest.raises(ValueError, match="wants further inputs of float64"):
        recurrence(trained, gatecell.tensor(x), tensors(start), tensors(w), given={"mask_h": np.ones((T, B, 4))})


def test_a_zoned_unit_of_an_elman_network_by_hand(rng):
    """The definition once more without any loop of ours: h stays where its mask says so."""
    w, x, start = pages.draw(cells["rnn_tanh"], rng, 1, 1, {"I": 1, "H": 2})
    h = np.tanh(w["W"] @ x[0, 0] + w["W+"] + w["R"] @ start["h"][0] + w["R+"])
    trained = training(cells["rnn_tanh"], options(cells["rnn_tanh"], zoneout=0.5))
    got = reference.forward(trained, w, x, start, {"mask_h": np.array([[[1.0, 0.0]]])})["h"][1, 0]
    np.testing.assert_allclose(got, [h[0], start["h"][0, 1]], rtol=0, atol=budgets.REFERENCE)
    assert textbook.rnn is pages.TEXTBOOK["rnn_tanh"][0]
