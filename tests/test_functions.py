"""Functions of one real number, the core's and float C's: their errors, and the coefficients that they are made of.

Not here: all floats (campaigns/functions.py), the integers' functions (test_integer.py).
"""

import subprocess
from decimal import Decimal, localcontext
from time import perf_counter

import numpy as np
import pytest
from numpy.polynomial.polynomial import polyval

import budgets
import gatecell
from campaigns import functions as campaign
from conftest import ROOT, need
from gatecell import _core, nn
from gatecell.deploy.board_build import WARNINGS
from gatecell.emit import minimax
from gatecell.emit.c_float import HELPERS
from gatecell.emit.coefficients import EXP2, TANH_P, TANH_Q, TANH_TOP


def test_core_functions_on_every_instruction_set():
    """Every 4096th float and those about the turning points: errors, order, bounds, ends; the same bits where multiply-adds fuse."""
    bits = {}
    for cpu, pool in campaign.sets():
        for name in campaign.MEANING:
            found = pool.submit(campaign.look_at_some, name).result()
            assert found.error <= budgets.FUNCTION_ULP[name], (cpu, name, found)
            assert found.below <= budgets.FUNCTION_BELOW[name], (cpu, name, found)
            assert found.wrong == found.odd == 0, (cpu, name, found)
            assert found.disordered == 0 or name == "log_sigmoid", (cpu, name, found)
            ends, numbers = pool.submit(campaign.look_at_ends, name, 4093).result()
            np.testing.assert_array_equal(ends, campaign.LIMITS[name], f"{cpu} {name}")
            assert numbers == 0, (cpu, name)
            error, at = pool.submit(campaign.look_at_doubles, name).result()
            assert error <= budgets.FUNCTION_ULP_DOUBLE[name], (cpu, name, at)
            if cpu != "baseline":
                bits.setdefault(name, set()).add(found.bits)
    assert all(len(seen) == 1 for seen in bits.values()), bits


@pytest.mark.parametrize("work", ["tanh", "sigmoid", "lstm", "gru", "rnn"])
def test_subnormal_numbers_cost_little(work, rng):
    """The least of many times, in turns: functions of arrays; layers forward and back, of subnormal input and gradients."""
    if work in campaign.MEANING:
        x = rng.normal(size=20_000).astype(np.float32)
        cases = [lambda v=v: _core.function(work, v) for v in (x, x * np.float32(2.0**-130))]
    else:
        net = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[work](10, 64, bias=False)
        x, dy = rng.normal(size=(30, 16, 10)).astype(np.float32), rng.normal(size=(30, 16, 64)).astype(np.float32)
        small = np.float32(2.0**-130)
        cases = [
            lambda v=v, d=d: net(gatecell.Tensor(v, requires_grad=True))[0].backward(gatecell.Tensor(d))
            for v, d in ((x, dy), (x * small, dy * small))
        ]
    times = ([], [])
    for _ in range(200):
        for case, took in zip(cases, times, strict=True):
            start = perf_counter()
            case()
            took.append(perf_counter() - start)
    assert min(times[1]) <= budgets.SUBNORMAL_TIME * min(times[0])


def spoilt(at, value):
    """float32's exp, rounded from float64, but for one result."""

    def function(name, x):
        with np.errstate(over="ignore"):
            y = np.exp(x.astype(np.float64)).astype(np.float32)
        y[x == np.float32(at)] = value
        return y

    return function


@pytest.mark.parametrize(
    ("at", "value", "seen"),
    [
        (2, np.exp(2), {}),
        (2, np.float32(np.exp(2)) + np.float32(2 * 2**-21), {"error": 2}),
        (2, np.float32(np.exp(2)) + np.float32(5 * 2**-21), {"error": 5, "disordered": 1}),
        (2, -1, {"error": (np.exp(2) + 1) * 2**21, "wrong": 1, "disordered": 1}),
        (2, np.nan, {"wrong": 1}),
        (2, np.inf, {"error": np.inf, "wrong": 1, "disordered": 1}),
        (89, 3e38, {"wrong": 1, "disordered": 1}),
        (-90, 2.0**-126, {"below": 0.9, "disordered": 1}),
    ],
)
def test_the_campaign_sees_one_wrong_float(at, value, seen):
    rank = int(campaign.ranks(at))
    first = rank - campaign.BLOCK - 5  # the wrong one is not alone in a block, and it is not at the block's end
    found = campaign.look("exp", first, rank + 100, spoilt(at, value))
    assert found.error == pytest.approx(seen.get("error", 0.5), abs=0.51)
    assert found.below == pytest.approx(seen.get("below", 0), abs=0.1)
    assert (found.disordered, found.wrong, found.odd) == (seen.get("disordered", 0), seen.get("wrong", 0), 0)


def test_the_campaign_sees_all_floats_once():
    x = campaign.floats(np.array([-campaign.TOP - 1, -2, -1, 0, 1, campaign.TOP]))
    np.testing.assert_array_equal(x, np.float32([-np.inf, -(2.0**-149), 0, 0, 2.0**-149, np.inf]))
    np.testing.assert_array_equal(np.signbit(x), [1, 1, 1, 0, 0, 0])
    every = np.arange(-campaign.TOP - 1, campaign.TOP + 1, 997)
    np.testing.assert_array_equal(campaign.ranks(campaign.floats(every)), every)
    seen = np.zeros(2**24, bool)  # NaNs by sign and mantissa
    for x in campaign.not_numbers():
        assert np.isnan(x).all()
        seen[x.view(np.uint32) & 0x7FFFFF | (x.view(np.uint32) >> 31) << 23] = True
    assert 2 * (campaign.TOP + 1) + np.count_nonzero(seen) == 2**32


def test_float_functions_keep_their_errors(tmp_path):
    """tanh and exp in steps of float32, sigmoid absolute, over every 1009th float and the ends."""
    need("gcc")
    text = "#include <stdint.h>\n#include <stdio.h>\n" + "\n".join(HELPERS[n][0] for n in ("tanh", "sigmoid", "exp"))
    text += "\nint main(void) { float x; while (fread(&x, 4, 1, stdin) == 1) { float y[3] = {tanh_(x), sigmoid_(x), exp_(x)};"
    text += " fwrite(y, 4, 3, stdout); } return 0; }\n"
    (tmp_path / "f.c").write_text(text)
    subprocess.run(["gcc", "-std=c99", "-O2", *WARNINGS, str(tmp_path / "f.c"), "-o", str(tmp_path / "f")], check=True)
    x = np.arange(0, 2**32, 1009, np.uint32).view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], np.float32([0, -0.0, 88.7, -87, 8.9, np.inf, -np.inf])])
    out = subprocess.run([str(tmp_path / "f")], input=x.tobytes(), capture_output=True, check=True).stdout
    tanh, sigmoid, exp = np.frombuffer(out, np.float32).reshape(-1, 3).T.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        exact = x.astype(np.float64)
        want_tanh, want_sigmoid, want_exp = np.tanh(exact), 1 / (1 + np.exp(-exact)), np.exp(exact)
    normal = abs(want_tanh) > budgets.FLOAT32_NORMAL  # below that steps no longer shrink with the value
    assert (abs(tanh - want_tanh)[normal] / np.spacing(abs(want_tanh[normal]).astype(np.float32))).max() <= budgets.C_FUNCTION["tanh"]
    assert abs(sigmoid - want_sigmoid).max() <= budgets.C_FUNCTION["sigmoid"]
    inside = (x > -86.5) & (x < 88.7)
    assert (abs(exp - want_exp)[inside] / np.spacing(want_exp[inside].astype(np.float32))).max() <= budgets.C_FUNCTION["exp"]
    assert exp[x == np.inf][0] == np.finfo(np.float32).max
    assert exp[x == -np.inf][0] == 0


def test_coefficients_are_as_good_as_their_degrees_allow():
    """In float64, by functions that are not the script's own."""
    x = np.linspace(0.01, TANH_TOP, 5000)
    tanh = x * polyval(x * x, TANH_P) / polyval(x * x, TANH_Q)
    assert abs(tanh / np.tanh(x) - 1).max() <= budgets.C_COEFFICIENTS["tanh"]
    f = np.linspace(-0.5, 0.5, 5001)
    assert abs(polyval(f, EXP2) / np.exp2(f) - 1).max() <= budgets.C_COEFFICIENTS["exp2"]


def test_coefficients_are_what_the_script_gives():
    """To the digit: it computes in decimals, so that no machine gives others."""
    for path, text in minimax.files().items():
        assert (ROOT / path).read_text() == text, "python -m gatecell.emit writes it anew"


@pytest.mark.parametrize(("p", "q"), [(0, 0), (3, 0), (2, 2), (1, 3)])
def test_a_fit_cannot_be_bettered(rng, p, q):
    """Its largest errors are equal and alternate p + q + 2 times (Achieser 1956, 33), and other coefficients do worse."""
    t = minimax.points(0.1, 2)
    with localcontext(prec=minimax.DIGITS):
        f, weight = minimax.exp(t), 1 + t
        top, bottom = minimax.fit(f, weight, t, p, q)

    def errors(top, bottom):
        return ((f - minimax.value(top, t) / minimax.value(bottom, t)) * weight).astype(float)

    error = errors(top, bottom)
    most = abs(error).max()
    signs = np.sign(error[abs(error) >= (1 - 1e-12) * most])
    assert np.count_nonzero(np.diff(signs)) + 1 == len(signs) == p + q + 2
    for _ in range(10):
        changed = [c * (1 + Decimal(v)) for c, v in zip((*top, *bottom[1:]), rng.normal(0, most, p + q + 1).tolist(), strict=True)]
        assert abs(errors(np.array(changed[: p + 1]), np.array([bottom[0], *changed[p + 1 :]]))).max() > most
