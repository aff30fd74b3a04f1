"""Integer layers on the C++ core against their Python definition: every page with an integer meaning, scheme and instruction set."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatecell
import pages
from gatecell import _core
from gatecell.algebra.model import FloatLayer, FloatModel
from gatecell.deploy.integer import Runner
from gatecell.deploy.quantize import quantize_model
from gatecell.tensor.integers import CoreLayer

INTEGER = [c for c in pages.EVERY if c is not pages.layer_norm_lstm]
"""Layer norm divides; it has no integer meaning yet."""


def model(cell, rng, I, H, scheme):
    w, x, _ = pages.draw(cell, rng, 30, 4, {"I": I, "H": H, "M": 3}, scale=1 / np.sqrt(H))
    layer = FloatLayer(cell.signature, cell.program, w, {"I": I, "H": H, "M": 3, "1": 1})
    return quantize_model(FloatModel((layer,), np.zeros(I), np.ones(I)), x.astype(np.float32), scheme, 16)


def drive(rng, T, B, I):
    """Random integers, stretches at the rails among them."""
    x = rng.integers(-32767, 32768, size=(T, B, I))
    x[T // 3], x[T // 2] = 32767, -32767
    return x


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("cell", INTEGER, ids=lambda c: c.name)
@settings(max_examples=6)
@given(
    B=st.sampled_from([1, 2, 7, 8, 9, 17]), I=st.integers(1, 20), H=st.sampled_from([1, 2, 15, 16, 17, 33]), seed=st.integers(0, 2**32 - 1)
)
def test_core_is_the_definition(cell, scheme, B, I, H, seed):
    rng = np.random.default_rng(seed)
    q = model(cell, rng, I, H, scheme)
    x = drive(rng, 25, B, I)
    runner = Runner(q, B, check=True)
    want = runner.run(x)
    core = CoreLayer(q.layers[0])
    states = core.start(B)
    got = np.concatenate([core.run(x[:11], states), core.run(x[11:], states)])  # the states are left as they are
    assert got.dtype == np.int16 and np.array_equal(got, want)
    for s, v in states.items():
        assert np.array_equal(v, runner.states[0][s])


def test_threads_change_no_bit(rng):
    q = model(pages.mgu, rng, 8, 80, "w8a8")
    x, before, results = drive(rng, 60, 64, 8), gatecell.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            gatecell.set_num_threads(n)
            core = CoreLayer(q.layers[0])
            results.append(core.run(x, core.start(64)))
    finally:
        gatecell.set_num_threads(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


PROGRAM = """
import hashlib
import numpy as np
import gatecell
import test_integer_core as t
digest = hashlib.sha256()
for cell in t.INTEGER:
    rng = np.random.default_rng(3)
    core = t.CoreLayer(t.model(cell, rng, 5, 19, "w8a8").layers[0])
    digest.update(core.run(t.drive(rng, 30, 9, 5), core.start(9)).tobytes())
print(gatecell.cpu(), digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits():
    seen = {}
    for cpu in ("baseline", "avx2", "avx512", "neon"):
        env = os.environ | {"GATECELL_CPU": cpu, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
        r = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False)
        if r.returncode == 0:
            name, seen[cpu] = r.stdout.split()
            assert name == cpu
        else:
            assert "wants one of" in r.stderr, r.stderr
    assert {"baseline", gatecell.cpu()} <= set(seen) and len(set(seen.values())) == 1


def test_the_core_refuses_a_damaged_step(rng, monkeypatch):
    """Every number of the code made absurd, and the code cut short everywhere: refused, or the same sizes and no crash."""
    made = {}
    real = _core.Integer

    def keep(*args):
        made["args"] = args
        return real(*args)

    monkeypatch.setattr(_core, "Integer", keep)
    CoreLayer(model(pages.mgu, rng, 3, 5, "w8a8").layers[0])
    code, *rest = made["args"]
    for k in range(len(code)):
        with pytest.raises(ValueError, match="damaged"):
            real(code[:k], *rest)
    refused = 0
    for k in range(len(code)):
        wrong = list(code)
        wrong[k] = 10**8
        try:
            core = real(wrong, *rest)
            core.run(np.zeros((2, 1, 3), np.int16), [np.zeros((1, 5), np.int16)], 1)
        except ValueError:
            refused += 1
    assert refused > len(code) // 2  # immediates may be any number
