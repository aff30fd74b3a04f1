"""Streaming: the numbers of forward, the state kept, set and forgotten, bad input.  Not here: which models can stream (test_graph.py)."""

import numpy as np
import pytest

import gatecell as gc
from gatecell import nn
from networks import NETWORKS, H, Of, seq


def by_steps(network, stream, x):
    """Outputs over time, stacked along the axis that time has in x."""
    axis = 0 if network.time_first else 1
    return np.stack([np.array(stream.step(xt)) for xt in np.moveaxis(x, axis, 0)])


def prefixes(network, model, x):
    """What forward gives for every beginning of the sequence, at its last step."""
    axis, outs = (0 if network.time_first else 1), []
    for t in range(x.shape[axis]):
        with gc.no_grad():
            y = model(gc.tensor(np.take(x, range(t + 1), axis)))
        y = np.asarray(y[0] if isinstance(y, tuple) else y)
        outs.append(y if network.last else y[:, :, -1] if y.ndim == 3 and network is NETWORKS["features first"] else np.take(y, -1, axis))
    return np.stack(outs)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_gives_what_forward_gives_at_every_step(name, batch, rng):
    network = NETWORKS[name]
    model = network.make().eval()
    x = network.input(rng, batch, 5)
    want = prefixes(network, model, x)
    stream = gc.Stream(model, batch)
    got = by_steps(network, stream, x)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got, want)
    stream.reset()
    np.testing.assert_array_equal(by_steps(network, stream, x), got)


def test_the_recurrence_streams_the_same_bits(rng):
    for cell in gc.cells:
        layer = nn.Recurrent(cell, 3, 17, 2, batch_first=True)
        x = rng.normal(size=(2, 50, 3)).astype(np.float32)
        stream = gc.Stream(layer, 2)
        got = np.stack([stream.step(x[:, t]) for t in range(50)], 1)
        np.testing.assert_array_equal(got, np.asarray(layer(gc.tensor(x))[0]))


@pytest.mark.parametrize("outputs", [1, 17])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_linear_head_streams_the_same_bits(outputs, batch, rng):
    model = Of(lambda m, x: m.fc(m.rnn(x)[0]), rnn=nn.LSTM(3, 67, batch_first=True), fc=nn.Linear(67, outputs, bias=outputs > 1))
    x = rng.normal(size=(batch, 40, 3)).astype(np.float32)
    stream = gc.Stream(model, batch)
    got = np.stack([stream.step(x[:, t]) for t in range(40)], 1)
    np.testing.assert_array_equal(got, np.asarray(model(gc.tensor(x))))


def test_state_goes_out_and_in(rng):
    model = NETWORKS["forecaster"].make()
    x = rng.normal(size=(6, 2, 3))
    stream, other = gc.Stream(model, 2), gc.Stream(model, 2)
    for xt in x[:3]:
        stream.step(xt)
    kept = stream.state
    after = [stream.step(xt) for xt in x[3:]]
    other.state = kept
    for xt, y in zip(x[3:], after, strict=True):
        np.testing.assert_array_equal(other.step(xt), y)
    stream.state = {name: a.astype(np.float64) for name, a in kept.items()}  # types are converted
    np.testing.assert_array_equal(stream.step(x[3]), after[0])
    for a in kept.values():
        a[:] = 0  # a copy
    np.testing.assert_array_equal(stream.step(x[4]), after[1])


def test_results_are_the_callers():
    stream = gc.Stream(nn.LSTM(2, 3, batch_first=True))
    first = stream.step([0.5, -1.0])
    copy = first.copy()
    stream.step([3.0, 3.0])
    np.testing.assert_array_equal(first, copy)
    stream.reset()
    state = stream.state
    first[:] = 9
    assert all(not a.any() for a in state.values())


def test_out_is_written_and_returned():
    stream = gc.Stream(nn.GRU(2, 3, batch_first=True), batch=4)
    x, out = np.ones((4, 2), np.float32), np.full((4, 3), 7, np.float32)
    assert stream.step(x, out=out) is out
    stream.reset()
    np.testing.assert_array_equal(out, stream.step(x))


def test_a_batch_of_one_may_be_left_out():
    stream = gc.Stream(NETWORKS["every step, squeezed"].make())
    assert stream.step(np.zeros((1, 3))).shape == (1,)
    assert stream.step(np.zeros(3)).shape == ()
    words = gc.Stream(NETWORKS["language model"].make())
    assert words.step(3).shape == (9,)
    assert words.step([3]).shape == (1, 9)
    assert words.step(gc.tensor([3])).shape == (1, 9)


def test_inputs_may_lie_anyhow(rng):
    """Strides, byte order and type are the caller's: what enters a step is a copy."""
    x = rng.normal(size=(3, 4)).astype(np.float32)
    for given in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4"), x.astype(np.float64), gc.tensor(x)):
        stream = gc.Stream(nn.GRU(4, 5), 3)
        want = stream.step(x)
        stream.reset()
        np.testing.assert_array_equal(stream.step(given), want)


def test_results_stand_apart_from_the_state(rng):
    """A result that is a recurrence's output, or a part of it, is no view of the state."""
    for model in (nn.LSTM(3, 4, batch_first=True), seq(lambda m, x: m.rnn(x)[0][..., 1:3])()):
        stream, x = gc.Stream(model), rng.normal(size=(4, 1, 3))
        want = [stream.step(xt).copy() for xt in x]
        stream.reset()
        for xt, y in zip(x, want, strict=True):
            got = stream.step(xt)
            np.testing.assert_array_equal(got, y)
            got[:] = 9


def test_later_training_does_not_change_a_stream():
    model = nn.GRU(2, 3, batch_first=True)
    stream = gc.Stream(model)
    before = stream.step([1.0, 2.0])
    with gc.no_grad():
        for p in model.parameters():
            p.zero_()
    stream.reset()
    np.testing.assert_array_equal(stream.step([1.0, 2.0]), before)


ONE, FOUR, WORDS = (lambda: gc.Stream(nn.GRU(2, 3, batch_first=True))), (lambda: gc.Stream(nn.GRU(2, 3), 4)), (
    lambda: gc.Stream(NETWORKS["language model"].make(), 2)
)
BAD = {
    "no module": (lambda: gc.Stream(3), TypeError, "Module"),
    "batch": (lambda: gc.Stream(nn.GRU(2, 3), 0), ValueError, "at least 1"),
    "batch's kind": (lambda: gc.Stream(nn.GRU(2, 3), 1.5), TypeError, "whole number"),
    "bidirectional": (lambda: gc.Stream(nn.GRU(2, 3, bidirectional=True)), gc.Unsupported, "from its end"),
    "features": (lambda: ONE().step(np.ones(3)), ValueError, r"\(1, 2\) wanted, or \(2,\), got \(3,\)"),
    "rows": (lambda: FOUR().step(np.ones((3, 2))), ValueError, r"\(4, 2\) wanted, got \(3, 2\)"),
    "a missing batch of four": (lambda: FOUR().step(np.ones(2)), ValueError, "wanted"),
    "a whole sequence": (lambda: ONE().step(np.ones((1, 5, 2))), ValueError, "wanted"),
    "text": (lambda: ONE().step("ab"), TypeError, "real numbers"),
    "complex": (lambda: ONE().step(np.ones(2) * 1j), TypeError, "real numbers"),
    "nothing": (lambda: ONE().step(None), TypeError, "real numbers"),
    "tokens that are no whole numbers": (lambda: WORDS().step([1.0, 2.0]), TypeError, "whole numbers"),
    "token beyond": (lambda: WORDS().step([1, 9]), ValueError, "0 to 8 wanted, got 1 to 9"),
    "token below": (lambda: WORDS().step([-1, 0]), ValueError, "0 to 8"),
    "out's shape": (lambda: FOUR().step(np.ones((4, 2)), out=np.ones(4, np.float32)), ValueError, "out"),
    "out's dtype": (lambda: FOUR().step(np.ones((4, 2)), out=np.ones((4, 3))), TypeError, "out"),
    "out's kind": (lambda: FOUR().step(np.ones((4, 2)), out=[0] * 12), TypeError, "out"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, text = BAD[name]
    with pytest.raises(error, match=text):
        call()


def test_a_refused_step_or_state_changes_nothing(rng):
    stream = gc.Stream(NETWORKS["forecaster"].make(), 2)
    x = rng.normal(size=(2, 3))
    stream.step(x)
    kept = stream.state
    name = next(iter(kept))
    for wrong in ({}, {**kept, "more": kept[name]}, {**kept, name: kept[name][:1]}, {**kept, name: "a"}, 3):
        with pytest.raises((TypeError, ValueError)):
            stream.state = wrong
    locked = np.ones((2, 2), np.float32)
    locked.flags.writeable = False
    for call in (lambda: stream.step(x[0]), lambda: stream.step(x, out=np.ones(3)), lambda: stream.step(x, out=locked)):
        with pytest.raises((TypeError, ValueError)):
            call()
    for a, b in zip(stream.state.values(), kept.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_long_stream_equals_one_pass(rng):
    model = seq(lambda m, x: m.fc(m.rnn(x)[0]))()
    x = rng.normal(size=(1, 2000, 3)).astype(np.float32)
    stream = gc.Stream(model)
    got = np.stack([stream.step(xt) for xt in x[0]])
    np.testing.assert_array_equal(got, np.asarray(model(gc.tensor(x)))[0])
    assert stream.state["recurrence_0.h"].shape == (1, H)
