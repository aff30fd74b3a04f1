"""Samplers: what they cut out of a series is what they say, each value as often as they say, and what is wrong with a series is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import hole
from gatecell.train import Chunks, Sampler, Samples, Streams, Windows

sizes = st.integers(1, 7)


def numbered(T: int) -> tuple[np.ndarray, np.ndarray]:
    """A series whose values say where they stand: x[t] = (t, 1000 + t), y[t] = t."""
    t = np.arange(T, dtype=np.float64)
    return np.stack([t, 1000 + t], 1), t[:, None].copy()


def scored_places(sampler: Sampler, generator: np.random.Generator | None) -> list[float]:
    """The y of all batches, after checking that each batch's x and y belong together, and its length."""
    places: list[float] = []
    count = 0
    for batch in sampler.batches(generator):
        x = batch.x[batch.scored] if batch.scored else batch.x
        if isinstance(sampler, Windows):
            axis = 1 if sampler.batch_first else 0
            x = x.take(-1, axis)
        np.testing.assert_array_equal(x[..., :1], batch.y)
        np.testing.assert_array_equal(batch.x[..., 1], batch.x[..., 0] + 1000)
        if isinstance(sampler, (Windows, Chunks, Streams)):
            steps = np.diff(batch.x[..., 0], axis=1 if sampler.batch_first else 0)
            assert (steps == 1).all()
        places += batch.y.ravel().tolist()
        count += 1
    if generator is not None:
        assert count == len(sampler)
    return places


@given(st.integers(1, 60), sizes, st.booleans())
def test_samples_meet_each_sample_once(n: int, batch: int, shuffled: bool) -> None:
    x, y = numbered(n)
    places = scored_places(Samples(x, y, batch), np.random.default_rng(0) if shuffled else None)
    assert sorted(places) == list(range(n))
    assert shuffled or places == sorted(places)


@given(st.integers(0, 60), sizes, sizes, sizes, st.booleans(), st.booleans())
def test_windows_meet_each_window_once(more: int, length: int, batch: int, stride: int, first: bool, shuffled: bool) -> None:
    T = length + more
    sampler = Windows(*numbered(T), length, batch, stride, batch_first=first)
    places = scored_places(sampler, np.random.default_rng(0) if shuffled else None)
    assert sorted(places) == list(range(length - 1, T, stride))
    shape = next(sampler.batches(None)).x.shape
    assert shape[1 if first else 0] == length


@given(st.integers(0, 60), sizes, sizes, st.integers(0, 5), st.booleans())
def test_chunks_score_after_the_burn_in(more: int, length: int, batch: int, burn_in: int, first: bool) -> None:
    T = burn_in + length + more
    sampler = Chunks(*numbered(T), length, batch, burn_in, batch_first=first)
    places = scored_places(sampler, None)
    assert sorted(places) == list(range(burn_in, burn_in + (T - burn_in) // length * length))
    drawn = scored_places(sampler, np.random.default_rng(0))
    assert len(drawn) == len(sampler) * batch * length
    assert burn_in <= min(drawn) <= max(drawn) < T
    assert all(batch.fresh for batch in sampler.batches(None))


@given(st.integers(0, 60), st.integers(2, 7), sizes, st.data(), st.booleans())
def test_streams_carry_on_where_they_were(more: int, length: int, batch: int, data: st.DataObject, first: bool) -> None:
    T = (batch + 1) * length + more
    burn_in = data.draw(st.integers(0, length - 1))
    sampler = Streams(*numbered(T), length, batch, burn_in, batch_first=first)
    whole = T // batch
    expected = [b * whole + t for b in range(batch) for t in range(burn_in, whole)]
    assert sorted(scored_places(sampler, None)) == expected
    for seed in range(3):
        drawn = scored_places(sampler, np.random.default_rng(seed))
        assert len(set(drawn)) == len(drawn) == len(sampler) * batch * length - batch * burn_in
    for generator in (None, np.random.default_rng(1)):
        end = None
        for i, item in enumerate(sampler.batches(generator)):
            steps = item.x[..., 0] if first else item.x[..., 0].T  # (B, L)
            assert item.fresh == (i == 0)
            if end is not None:
                np.testing.assert_array_equal(steps[:, 0], end + 1)
            end = steps[:, -1]


def test_streams_begin_elsewhere_each_epoch() -> None:
    sampler = Streams(*numbered(1000), 10, 4)
    draw = np.random.default_rng(0)
    begins = {float(next(sampler.batches(draw)).x[0, 0, 0]) for _ in range(50)}
    assert len(begins) > 20
    assert 0 <= min(begins) <= max(begins) <= 200


def test_noise_is_as_strong_as_asked_and_in_training_alone() -> None:
    x, y = np.zeros((4000, 3), np.float32), np.zeros((4000, 1), np.float32)
    for sampler in (Samples(x, y, 4000, noise=[0.5, 0.0, 2.0]), Chunks(x, y, 4000, 1, noise=np.array([0.5, 0.0, 2.0]))):
        noisy = next(sampler.batches(np.random.default_rng(0))).x
        assert noisy.dtype == np.float32
        np.testing.assert_allclose(noisy.reshape(-1, 3).std(0), [0.5, 0, 2], rtol=0.05)  # 1 / sqrt(2 * 4000) is 0.011
        assert not next(sampler.batches(None)).x.any()
        assert not x.any()


x300, y300 = np.ones((300, 2), np.float32), np.ones((300, 1), np.float32)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Chunks(hole(x300, (17, 1)), y300, 20), ValueError, r"x: .* got 1 that are not, the first at \(17, 1\): nan"),
        (lambda: Streams(x300, hole(y300, (5, 0)), 20), ValueError, "y: wanted finite numbers"),
        (lambda: Windows(x300 * np.float32(np.inf), y300, 20), ValueError, "x: wanted finite numbers, got 600"),
        (lambda: Samples(x300, y300[:-1]), ValueError, "equally long"),
        (lambda: Samples(x300[:0], y300[:0]), ValueError, "not empty"),
        (lambda: Samples(["a"], [1]), TypeError, "x: wanted an array of numbers"),
        (lambda: Samples(x300, np.array([object()] * 300)), TypeError, "y: wanted an array of numbers"),
        (lambda: Samples(x300, y300, axis=2), ValueError, "more than 2 dimensions"),
        (lambda: Windows(x300, y300, 301), ValueError, "at least 301 steps, got 300"),
        (lambda: Chunks(x300, y300, 250, burn_in=51), ValueError, "at least 301 steps, got 300"),
        (lambda: Streams(x300, y300, 100, 3), ValueError, "at least 400 steps for 3 streams of 100, got 300"),
        (lambda: Streams(x300, y300, 10, burn_in=10), ValueError, "burn-in shorter than the 10 steps"),
        (lambda: Chunks(x300, y300, 0), ValueError, "length: wanted at least 1, got 0"),
        (lambda: Chunks(x300, y300, 10, 2.0), TypeError, "batch: wanted an int"),
        (lambda: Windows(x300, y300, 10, stride=True), TypeError, "stride: wanted an int"),
        (lambda: Chunks(x300, y300, 10, noise=[1, 2, 3]), ValueError, "2 for the features of x"),
        (lambda: Chunks(x300, y300, 10, noise=-1), ValueError, "at least 0"),
        (lambda: Samples(x300.astype(int), y300, noise=1.0), TypeError, "an x of floats"),
    ],
)
def test_bad_series(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
