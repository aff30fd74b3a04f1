"""Sums against the order that cpp/src/sums.cpp states, as a loop; functions against extended precision, with the errors that they state."""

import numpy as np
import pytest

import budgets
from gatecell.tensor import numerics


def in_order(terms):
    """Blocks of 1024; term k to lane k % 16, lanes as a tree of halves; block j to lane j % 16 of others."""

    def tree(lanes):
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [a + b for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        return lanes[0]

    zero = terms.dtype.type(0)
    totals = [zero] * 16
    for j in range(0, len(terms), 1024):
        lanes = [zero] * 16
        for k, x in enumerate(terms[j : j + 1024]):
            lanes[k % 16] += x
        totals[j // 1024 % 16] += tree(lanes)
    return tree(totals)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((7,), None), ((3, 17), 1), ((17, 3), 0), ((2, 1023, 5), 1), ((2, 1025, 65), 1), ((1, 18000), None), ((4, 5, 6), (0, 2)),
        ((4, 5, 6), (-1, 1)), ((4, 5, 6), (0, 1)), ((2, 3, 4, 5), (1, 3)),
        ((2, 0, 3), 1), ((0, 4), 1), ((3, 130), None), ((2, 64), 0), ((1, 1), (0, 1)),
    ],
)  # fmt: skip
def test_sums_are_in_the_stated_order(shape, dim, dtype, rng):
    a = rng.normal(size=shape).astype(dtype)
    axes = tuple(range(a.ndim)) if dim is None else tuple(d % a.ndim for d in (dim if isinstance(dim, tuple) else (dim,)))
    left = [n for d, n in enumerate(shape) if d not in axes]
    last = np.moveaxis(a, sorted(axes), range(-len(axes), 0)).reshape(*left, int(np.prod([shape[d] for d in axes])))
    want = np.apply_along_axis(in_order, -1, last) if last.size else np.zeros(left, dtype)
    for keep in (False, True):
        for memory in (a, np.asfortranarray(a), np.repeat(a, 2, -1)[..., ::2]):
            got = numerics.total(memory, dim, keep)
            assert got.dtype == dtype and got.shape == a.sum(axis=axes, keepdims=keep).shape
            assert np.array_equal(got.reshape(want.shape), want)


def test_sums_of_many_are_close(rng):
    a = rng.random(3_000_001).astype(np.float32)
    assert abs(numerics.total(a) - a.sum(dtype=np.float64)) <= budgets.SUM * a.sum(dtype=np.float64)


def test_sums_of_integers_and_of_no_axis_are_numpys():
    assert numerics.total(np.arange(5)).dtype == np.int64 and numerics.total(np.arange(5)) == 10
    assert numerics.total(np.float32([[1, 2]]), ()).shape == (1, 2) and numerics.total(np.asarray(np.float32(3))) == 3


@pytest.mark.parametrize("name", ["log", "log_sigmoid", "exp", "tanh", "sigmoid"])
def test_functions_of_float32(name, rng):
    x = np.concatenate([rng.uniform(-80, 80, 30000), rng.normal(size=30000), np.linspace(-9, 9, 5001)])
    if name == "log":
        x = np.concatenate([np.exp(x), np.linspace(0.5, 2, 20001)])
    x = x.astype(np.float32)
    exact = {
        "log": np.log, "exp": np.exp, "tanh": np.tanh, "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "log_sigmoid": lambda v: -np.logaddexp(v.dtype.type(0), -v),
    }  # fmt: skip
    want, got = exact[name](x.astype(np.longdouble)), getattr(numerics, name)(x)
    assert got.dtype == np.float32
    ulp = abs(got - want) / np.spacing(abs(want).astype(np.float32))
    assert ulp.max() <= (budgets.FUNCTION_ULP | {"log": budgets.LOG_ULP})[name], x[ulp.argmax()]
    assert np.array_equal(getattr(numerics, name)(x.reshape(-1, 1)[::-3])[:, 0], got[::-3])
    assert getattr(numerics, name)(np.float32(2)).shape == () and getattr(numerics, name)(x[:0]).shape == (0,)


def test_the_ends():
    ends = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, -1.0, 1e-45], np.float32)
    with np.errstate(all="ignore"):
        for name, want in {
            "log": [np.inf, np.nan, np.nan, -np.inf, -np.inf, np.nan, np.log(1.4012984643e-45)],
            "log_sigmoid": [0, -np.inf, np.nan, np.log(0.5), np.log(0.5), np.log(1 / (1 + np.e)), np.log(0.5)],
            "exp": [np.inf, 0, np.nan, 1, 1, np.exp(-1), 1],
            "sigmoid": [1, 0, np.nan, 0.5, 0.5, 1 / (1 + np.e), 0.5],
            "tanh": [1, -1, np.nan, 0, 0, np.tanh(-1), 0],
        }.items():
            np.testing.assert_allclose(getattr(numerics, name)(ends), np.float32(want), rtol=3e-7)
    with np.errstate(all="raise"):  # NaN is none's fault
        assert all(np.isnan(getattr(numerics, name)(ends[2:3])[0]) for name in ("log", "log_sigmoid", "exp", "sigmoid", "tanh"))


@pytest.mark.parametrize("exponent", [-1, 1, 2, 3, 2.5, 0])
def test_powers(exponent, rng):
    a = abs(rng.normal(size=50)).astype(np.float32) + np.float32(0.1)
    got = numerics.power(a, np.asarray(np.float32(exponent)))
    np.testing.assert_allclose(got, np.float64(a) ** exponent, rtol=3e-7)
    assert got is not a and got.dtype == np.float32
