"""Dropout masks: Philox against its published vectors and a loop over Python's integers, and what a mask depends on, and on what not.

The loop knows the key as random.py states it: (seed, call, number, layer) and (step, sample, unit).
"""

import itertools

import numpy as np
import pytest

import gatecell
from gatecell import _core, nn
from gatecell.nn import functional as F
from gatecell.tensor.random import dropout_mask

# Random123 1.14.0, tests/kat_vectors, the lines "philox4x32 10": counter, key, words.
PUBLISHED = {
    (0, 0, 0, 0, 0, 0): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    (2**32 - 1,) * 6: (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0): (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
}


def philox(counter, key):
    """Salmon et al. 2011, section 3.3, ten rounds, Python's integers."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k0, b % 2**32, a >> 32 ^ c[3] ^ k1, a % 2**32]
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return tuple(c)


def words(seed, call, number, layer, places):
    """The word of every place (t, b, u)."""
    key = philox((call % 2**32, call >> 32, number, layer), (seed % 2**32, seed >> 32))[:2]
    return [philox((u // 4, b, t, 0), key)[u % 4] for t, b, u in places]


@pytest.fixture
def training():
    def stack(kind="LSTM", **options):
        gatecell.manual_seed(11)
        return getattr(nn, kind)(3, 10, num_layers=3, dropout=0.4, **options)

    return stack


@pytest.mark.parametrize("numbers", PUBLISHED)
def test_published_vectors(numbers):
    assert tuple(_core.philox(numbers[:4], numbers[4:])) == philox(numbers[:4], numbers[4:]) == PUBLISHED[numbers]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (2, 7, 64), (1, 1, 131), (4, 33, 3)])
def test_a_mask_is_its_key(shape, dtype):
    seed, p = 2**40 + 12345, 0.3
    gatecell.manual_seed(seed)
    dropout_mask((1,), p, np.dtype(dtype))  # call 0
    mask = dropout_mask(shape, p, np.dtype(dtype), 2)
    want = np.array(words(seed, 1, 0, 2, np.ndindex(shape))).reshape(shape) >= round(p * 2**32)
    assert mask.dtype == dtype and np.array_equal(mask != 0, want) and set(np.unique(mask)) <= {0, dtype(1 / (1 - p))}
    with gatecell.dropout_at(2**33 + 1, step=7, samples=np.arange(shape[1]) * 3 + 5):
        dropout_mask(shape, p, np.dtype(dtype))
        inside = dropout_mask(shape, p, np.dtype(dtype))
    places = [(t + 7, b * 3 + 5, u) for t, b, u in np.ndindex(shape)]
    assert np.array_equal(inside.ravel() != 0, np.array(words(seed, 2**33 + 1, 1, 2**31, places)) >= round(p * 2**32))


def test_neither_threads_nor_the_batch_around_nor_more_steps_change_a_mask():
    before, masks = gatecell.get_num_threads(), []
    try:
        for n in (1, 2, 3, 8):
            gatecell.set_num_threads(n)
            gatecell.manual_seed(5)
            masks.append(dropout_mask((40, 70, 129), 0.5, np.dtype(np.float32)))
    finally:
        gatecell.set_num_threads(before)
    gatecell.manual_seed(5)
    part = dropout_mask((17, 9, 129), 0.5, np.dtype(np.float32))
    assert all(np.array_equal(m, masks[0]) for m in masks) and np.array_equal(part, masks[0][:17, :9])


def test_calls_differ_and_a_state_brings_them_back():
    x = gatecell.ones(6, 50)
    gatecell.manual_seed(3)
    first, state = F.dropout(x, 0.5).data, gatecell.get_rng_state()
    second, third = F.dropout(x, 0.5).data, F.dropout(x, 0.5).data
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations((first, second, third), 2))
    gatecell.set_rng_state(state)
    assert np.array_equal(F.dropout(x, 0.5).data, second) and np.array_equal(F.dropout(x, 0.5).data, third)
    gatecell.manual_seed(3)
    assert np.array_equal(F.dropout(x, 0.5).data, first)
    gatecell.manual_seed(4)
    assert not np.array_equal(F.dropout(x, 0.5).data, first)
    gatecell.manual_seed(-1)
    minus = F.dropout(x, 0.5).data
    gatecell.manual_seed(2**64 - 1)
    assert np.array_equal(F.dropout(x, 0.5).data, minus)


def test_a_mask_draws_nothing_from_the_stream():
    gatecell.manual_seed(3)
    want = gatecell.rand(3).data
    gatecell.manual_seed(3)
    F.dropout(gatecell.ones(4), 0.5)
    assert np.array_equal(gatecell.rand(3).data, want)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_chunks_and_parts_of_a_batch_are_masked_as_the_whole(kind, batch_first, training, rng):
    """A stack with dropout in training, then nn.Dropout: the whole, in chunks with carried state, and rows in another order."""
    model, drop = training(kind, batch_first=batch_first), nn.Dropout(0.3)
    T, B = 9, 6
    x = rng.normal(size=(T, B, 3)).astype(np.float32)
    turn = (lambda a: a.swapaxes(0, 1)) if batch_first else (lambda a: a)

    def run(x, state=None, **place):
        with gatecell.dropout_at(4, batch_first=batch_first, **place):
            y, state = model(gatecell.tensor(turn(x)), state)
            return turn(drop(y).data), state

    whole, _ = run(x)
    assert (whole == 0).mean() > 0.2
    first, state = run(x[:4])
    second, state = run(x[4:5], state, step=4)
    third, _ = run(x[5:], state, step=5)
    assert np.array_equal(np.concatenate([first, second, third]), whole)
    rows = [5, 0, 3]
    assert np.array_equal(run(x[:, rows], samples=rows)[0], whole[:, rows])
    assert not np.array_equal(run(x[:, rows])[0], whole[:, rows])


def test_lengths_change_no_mask(training, rng):
    model, x = training(bidirectional=True), rng.normal(size=(8, 4, 3)).astype(np.float32)
    with gatecell.dropout_at(0):
        whole = model(x, lengths=[3, 8, 5, 1])[0].data
    with gatecell.dropout_at(0, samples=[2]):
        alone = model(x[:5, 2:3])[0].data
    assert np.array_equal(whole[:5, 2], alone[:, 0])


def test_blocks_nest_and_end(training):
    x = gatecell.ones(5, 40)
    gatecell.manual_seed(1)
    with gatecell.dropout_at(9):
        outer = F.dropout(x).data
        with gatecell.dropout_at(9):
            assert np.array_equal(F.dropout(x).data, outer)  # a block numbers its own masks from 0
        with pytest.raises(ValueError, match="p:"), gatecell.dropout_at(5):
            F.dropout(x, 2.0)
        second = F.dropout(x).data
    assert gatecell.get_rng_state()["masks"]["calls"] == 0
    free = F.dropout(x).data
    with gatecell.dropout_at(9):
        assert np.array_equal(F.dropout(x).data, outer) and np.array_equal(F.dropout(x).data, second)
    assert not np.array_equal(outer, second) and not np.array_equal(free, outer)
    with gatecell.dropout_at(0):  # the same call, said and counted: two masks
        assert not np.array_equal(F.dropout(x).data, free)


@pytest.mark.parametrize("axis", range(5), ids=["layer", "call", "step", "sample", "unit"])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.8])
def test_rate_and_independence_of_neighbours(p, axis):
    """Half a million elements: the share of zeros, and the correlation of neighbours along each part of the key, within four deviations."""
    masks = []
    for layer in (0, 1):
        gatecell.manual_seed(77)
        masks.append([dropout_mask((32, 32, 128), p, np.dtype(np.float32), layer) == 0 for _ in range(2)])
    centred, variance = np.array(masks) - p, p * (1 - p)
    assert abs(centred.mean()) <= 4 * np.sqrt(variance / centred.size)
    a, b = np.take(centred, range(centred.shape[axis] - 1), axis), np.take(centred, range(1, centred.shape[axis]), axis)
    assert abs((a * b).mean()) <= 4 * variance / np.sqrt(a.size)


def test_seeds_next_to_each_other_are_independent():
    masks = []
    for seed in range(40):
        gatecell.manual_seed(seed)
        masks.append(dropout_mask((1, 100, 100), 0.5, np.dtype(np.float32))[0] == 0)
    together = np.corrcoef(np.array(masks).reshape(40, -1))
    assert abs(together - np.eye(40)).max() <= 4.5 / 100  # 780 pairs of 10,000 elements: 4.5 deviations


@pytest.mark.parametrize("p", [0.0, 1e-12, 1 - 1e-12, 1.0])
def test_the_ends(p):
    y = F.dropout(gatecell.ones(20, 20), p).data
    assert (y == (1 if p < 0.5 else 0)).all()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (dict(call=-1), ValueError, "call"), (dict(call=2**64), ValueError, "call"), (dict(call=0, step=2**32), ValueError, "step"),
        (dict(call=0, samples=[1.5]), TypeError, "samples"), (dict(call=0, samples=[[1]]), TypeError, "samples"),
        (dict(call=0, samples=[-1]), ValueError, "samples"), (dict(call=0.5), TypeError, "integer"),
    ],
)  # fmt: skip
def test_refusals(given, error, says):
    with pytest.raises(error, match=says), gatecell.dropout_at(**given):
        pass


def test_a_batch_of_another_size_than_the_samples_is_refused():
    with gatecell.dropout_at(0, samples=[1, 2]), pytest.raises(ValueError, match="2 samples, and dropout a batch of 3"):
        F.dropout(gatecell.ones(4, 3, 2))
