"""The integer oracle judged: its table and requantisation against exact arithmetic, its layers against the papers' loops in float.

A layer is quantised here in the plainest way that docs/arithmetic.md allows; how well gatecell chooses is not the question.
"""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

import budgets
import textbook
import textbook_integers

CF = 12  # fraction of the memory cell: +-8


def test_the_table_is_the_documents():
    """Its length and the sum of its entries, from section 6."""
    assert (len(textbook_integers.TABLE), textbook_integers.TABLE.sum()) == (514, 15372591)


def test_tanh_and_sigmoid_keep_their_stated_errors():
    """Every argument there is; both monotone, tanh odd but for the one argument without a partner."""
    a = np.arange(-32768, 32768)
    tanh, sigmoid = textbook_integers.integer_tanh(a), textbook_integers.integer_sigmoid(a)
    assert abs(tanh - 32768 * np.tanh(a / 4096)).max() == pytest.approx(budgets.INTEGER_TANH, abs=1e-3)
    assert abs(sigmoid - 32768 / (1 + np.exp(-a / 4096))).max() == pytest.approx(budgets.INTEGER_SIGMOID, abs=1e-3)
    assert (np.diff(tanh) >= 0).all()
    assert (np.diff(sigmoid) >= 0).all()
    np.testing.assert_array_equal(tanh[1:], -tanh[:0:-1])
    assert (tanh.min(), tanh.max(), sigmoid.min(), sigmoid.max()) == (-32767, 32767, 11, 32757)


def test_requantisation_is_the_exact_quotient(rng):
    """floor((acc m + 2^(15 + SH)) / 2^(16 + SH)) in rationals, at the ends of int32 too."""
    for SH in (1, 7, 15, 30):
        acc = np.concatenate([rng.integers(-(2**31), 2**31, 40), [-(2**31), 2**31 - 1, 0, -1]])
        m = rng.integers(1, 32768, len(acc))
        got = textbook_integers.accumulator({"y.b": acc, "y.m": m, "y.SH": SH}, "y")
        quotients = [Fraction(int(a) * int(k), 2 ** (16 + SH)) for a, k in zip(acc, m, strict=True)]
        assert got.tolist() == [max(-32768, min(32767, floor(q + Fraction(1, 2)))) for q in quotients]


def test_sums_take_the_fraction_that_fits():
    """Worked out by hand: 12 and 27 bits as in section 8; one bit less head-room costs one bit of fraction; what is finer is cut."""
    narrow, product = (-32768, 32767), (32757 * -32768, 32757 * 32767)
    assert textbook_integers.sum_fraction(12, narrow, 27, product) == 27
    assert textbook_integers.sum_fraction(11, narrow, 27, product) == 26
    assert textbook_integers.sum_fraction(12, narrow, 12, narrow) == 12
    assert textbook_integers.sum_fraction(0, (0, 2**31 - 1), 4, (0, 2**31 - 1)) == -1


def test_what_enters_a_product_and_the_model():
    assert textbook_integers.view(np.array([-32768, -32767, 0, 129, 130, 32767])).tolist() == [-127, -127, 0, 0, 1, 127]
    x = np.array([np.nan, -np.inf, np.inf, -1e9, 0.25, 0.75, -0.75, 1.25])
    assert textbook_integers.integer_input(x, np.float32(0.5), np.float32(0.0), 127).tolist() == [-127, -127, 127, -127, 1, 2, -2, 3]
    assert textbook_integers.rounded(np.array([-3, -2, -1, 1, 2, 3]), 1).tolist() == [-1, -1, 0, 1, 1, 2]
    assert textbook_integers.narrowed(np.array([-9, 5, 40000]), -1).tolist() == [-18, 10, 32767]


def quantised(w, gates, scale, a8, split=""):
    """Integers for a layer from float weights: an accumulator a gate (two if in `split`), no shift, steps from the rows' largest weights.

    `scale` is the worth of one step of the input; m defines the worth of a row's step, so that only weights and biases are rounded.
    """
    H, worth = len(w["W"]) // len(gates), {"W": scale, "R": 1 / 127 if a8 else 1 / 32768}
    q = {"W": np.zeros(w["W"].shape, int), "R": np.zeros(w["R"].shape, int)}
    for k, gate in enumerate(gates):
        rows = slice(k * H, (k + 1) * H)
        for name, families in [(f"W_{gate}", "W"), (f"R_{gate}", "R")] if gate in split else [(gate, "WR")]:
            largest = np.max([abs(w[F][rows] * worth[F]).max(axis=1) for F in families], axis=0) / 127
            SH = int(np.clip(np.floor(np.log2(32767 / largest.max())) - 28, 1, 30))
            m = np.ceil(largest * 2.0 ** (28 + SH)).astype(int)
            step = m / 2.0 ** (28 + SH)
            for F in families:
                q[F][rows] = np.round(w[F][rows] * worth[F] / step[:, None])
            bias = sum(w["b" + F][rows] for F in families)
            q |= {f"{name}.m": m, f"{name}.b": np.round(bias / step).astype(int), f"{name}.SH": SH, f"{name}.P": 12}
            q |= {f"{name}.kW": 0, f"{name}.kR": 0}
    return q


@pytest.mark.parametrize("a8", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_before"])
@pytest.mark.parametrize(("I", "H"), [(1, 1), (3, 16), (13, 37)])
def test_layers_follow_the_papers_loops(rng, cell, a8, I, H):
    """40 steps on a float layer that uses its whole range; the distance is that of 8-bit weights and, with a8, views."""
    T, B, gates = 40, 2, "ifgo" if cell == "lstm" else "rzn"
    bound = 2 / np.sqrt(H)
    w = {k: rng.uniform(-bound, bound, (len(gates) * H, n)) for k, n in (("W", I), ("R", H))}
    w |= {k: rng.uniform(-bound, bound, len(gates) * H) for k in ("bW", "bR")}
    x = rng.uniform(-3, 3, (T, B, I))
    Q = 127 if a8 else 32767
    scale = 3 / Q
    xq = textbook_integers.integer_input(x, np.full(I, scale), np.zeros(I), Q)
    zero = np.zeros((B, H))
    start = {"h": zero, "c": zero} if cell == "lstm" else {"h": zero}
    want = getattr(textbook, cell)(xq * scale, start, w)
    q = quantised(w, gates, scale, a8, split="n" if cell == "gru" else "") | {"CF": CF}
    if cell == "lstm":
        got = textbook_integers.integer_lstm(xq, q, a8, zero, zero)
        assert abs(got["c"] / 2**CF - want["c"]).max() <= 3 * budgets.INTEGER_LAYER
    else:
        got = textbook_integers.integer_gru(xq, q, a8, zero, reset_after=cell == "gru")
    assert abs(want["h"]).max() > 0.3
    assert abs(got["h"] / 32768 - want["h"]).max() <= budgets.INTEGER_LAYER


def test_a_second_layer_reads_the_view_of_the_first(rng):
    """With first=False an int16 input enters an a8 layer as its view; an a16 layer takes it as it is."""
    w = {"W": rng.normal(size=(12, 3)), "R": rng.normal(size=(12, 4)), "bW": np.zeros(12), "bR": np.zeros(12)}
    x, zero = rng.integers(-32768, 32768, (5, 2, 3)), np.zeros((2, 4))
    q = quantised(w, "rzn", 1 / 127, True, split="n")
    np.testing.assert_array_equal(
        textbook_integers.integer_gru(x, q, True, zero, first=False)["h"],
        textbook_integers.integer_gru(textbook_integers.view(x), q, True, zero)["h"],
    )
    q = quantised(w, "rzn", 1 / 32768, False, split="n")
    np.testing.assert_array_equal(
        textbook_integers.integer_gru(x, q, False, zero, first=False)["h"], textbook_integers.integer_gru(x, q, False, zero)["h"]
    )


def test_a_linear_layer_is_one_accumulator(rng):
    W, b, x = rng.integers(-127, 128, (5, 9)), rng.integers(-(2**20), 2**20, 5), rng.integers(-32768, 32768, (7, 9))
    q = {"W": W.astype(np.int8), "y.b": b.astype(np.int32), "y.m": rng.integers(1, 32768, 5), "y.SH": 5, "y.kW": 2}
    want = np.clip(np.floor(((x @ W.T) * 4 + b) * q["y.m"] / 2.0**21 + 0.5), -32768, 32767)
    np.testing.assert_array_equal(textbook_integers.integer_linear(x.astype(np.int16), q), want)
    assert abs(want).max() > 1000
