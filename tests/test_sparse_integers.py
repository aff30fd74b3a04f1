"""Integer products by weights that are mostly zero, in blocks: the bits of the Python definition, on every instruction set.

Not here: other weights (test_integer_core.py).
"""

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gatecell.deploy.integer import Runner
from gatecell.deploy.rounding import compensated
from gatecell.tensor.integers import CoreLayer
from pages import INTEGER
from test_integer_core import PROGRAM, SCHEMES, at_the_rails, drive, model

DENSITIES = [0.0, 0.02, 0.3, 0.5, 0.9, 1.0]


def pruned(q, rng, densities, block=(8, 4)):
    """The model with a random share of each family's blocks kept, whose sizes need not divide the matrix."""
    layer, weights = q.layers[0], {}
    for (family, w), density in zip(q.layers[0].weights.items(), densities, strict=False):
        kept = rng.random([-(-n // m) for n, m in zip(w.shape, block, strict=True)]) < density
        weights[family] = (w * np.kron(kept, np.ones(block, w.dtype))[: w.shape[0], : w.shape[1]]).astype(w.dtype)
    return replace(q, layers=(replace(layer, weights=layer.weights | weights), *q.layers[1:]))


@pytest.mark.parametrize(("scheme", "bits"), SCHEMES)
@pytest.mark.parametrize("cell", INTEGER, ids=lambda c: c.name)
@settings(max_examples=6)
@given(
    B=st.sampled_from([1, 2, 3, 4, 7, 33]),
    I=st.sampled_from([1, 5, 64, 130, 259]),
    H=st.sampled_from([1, 8, 17, 33, 100, 140]),
    densities=st.tuples(*[st.sampled_from(DENSITIES)] * 2),
    block=st.sampled_from([(8, 4), (16, 4), (1, 1), (5, 3)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_of_sparse_matrices_are_the_definition(cell, scheme, bits, B, I, H, densities, block, seed):
    rng = np.random.default_rng(seed)
    try:
        wild = at_the_rails(model(cell, rng, 3, 5, scheme, bits), rng, I, H)
    except ValueError:  # shifts of the small model that no weights of the large one can stand
        reject()
    q = pruned(wild, rng, densities, block)
    x = drive(rng, 9, B, I, bits)
    runner = Runner(q, B, check=True)
    want = runner.run(x)
    core = CoreLayer(q.layers[0])
    states = core.start(B)
    got = np.concatenate([core.run(x[:4], states), core.run(x[4:], states)])
    assert np.array_equal(got, want)
    for s, v in states.items():
        assert np.array_equal(v, runner.states[0][s])


def test_every_instruction_set_gives_the_definition(rng, tmp_path):
    work, want = [], []
    for k, (cell, (scheme, bits)) in enumerate((c, s) for c in INTEGER for s in SCHEMES):
        B, I, H = [(1, 259, 140), (9, 70, 33), (6, 5, 100), (1, 64, 17)][k % 4]
        q = at_the_rails(model(cell, rng, 3, 5, scheme, bits), rng, I, H)
        q = pruned(q, rng, (DENSITIES[k % 4], DENSITIES[k // 4 % 4]), [(8, 4), (3, 7)][k % 2])
        x = drive(rng, 7, B, I, bits)
        work.append((q.layers[0], x))
        want += [Runner(q, B).run(x).astype(np.int16)] * 2  # compiled and interpreted
    path = tmp_path / "work"
    path.write_bytes(pickle.dumps(work))
    digest = hashlib.sha256()
    for y in want:
        digest.update(y.tobytes())
    ran = 0
    for cpu in ("baseline", "avx2", "avx512", "avx512vnni", "avx512vbmi", "neon"):
        env = os.environ | {"GATECELL_CPU": cpu, "PYTHONPATH": os.pathsep.join(sys.path)}
        r = subprocess.run([sys.executable, "-c", PROGRAM, path], env=env, capture_output=True, text=True, check=False)
        if r.returncode:
            assert "wants one of" in r.stderr, r.stderr
            continue
        ran += 1
        assert r.stdout.split() == [cpu, digest.hexdigest()]
    assert ran


def test_zeros_stay_zeros_when_weights_are_rounded(rng):
    """What was pruned stays so: rounding makes up for its errors in the other weights."""
    w = rng.normal(size=(9, 12)) * 20
    w[rng.random(w.shape) < 0.5] = 0
    x = rng.normal(size=(40, 13)) @ rng.normal(size=(13, 13))
    rounded, _ = compensated(w, x.T @ x / 40, np.full(12, 127), rng.normal(size=9))
    assert not rounded[w == 0].any() and np.abs(rounded).sum() > 0
    assert (rounded != np.rint(w)).any(), "errors were made up for"
