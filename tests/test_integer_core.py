"""Integer layers on the C++ core against their Python definition: every page with an integer meaning, scheme and instruction set."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatecell
import pages
from gatecell import _core
from gatecell.algebra.model import FloatLayer, FloatModel, check
from gatecell.deploy.integer import Runner
from gatecell.deploy.quantize import quantize_model
from gatecell.tensor.integers import CoreLayer


def model(cell, rng, I, H, scheme, input_bits=16):
    w, x, _ = pages.draw(cell, rng, 30, 4, {"I": I, "H": H, "M": 3}, scale=1 / np.sqrt(H))
    layer = FloatLayer(cell.signature, cell.program, w, {"I": I, "H": H, "M": 3, "1": 1})
    return quantize_model(FloatModel((layer,), np.zeros(I), np.ones(I)), x.astype(np.float32), scheme, input_bits)


WITHOUT = {"lstm_layer_norm": "mean", "minlstm": "log_sigmoid", "slstm": "log_sigmoid"}


@pytest.mark.parametrize("name", WITHOUT)
def test_cells_without_integers_say_why(rng, name):
    assert set(gatecell.cells) - {c.name for c in pages.INTEGER} == set(WITHOUT)
    with pytest.raises(gatecell.Unsupported, match=f"{name}: {WITHOUT[name]} has no integer meaning yet in line"):
        model(gatecell.cells[name], rng, 3, 6, "w8a8")


def drive(rng, T, B, I, bits=16):
    """Random integers, stretches at the rails among them."""
    top = 2 ** (bits - 1) - 1
    x = rng.integers(-top, top + 1, size=(T, B, I))
    x[T // 3], x[T // 2] = top, -top
    return x


def at_the_rails(q, rng, I, H):
    """The same program for other sizes: weights of -127 and 127, multipliers of 1 and 32767, biases as large as they may be."""
    layer, sizes, pick = q.layers[0], {**q.layers[0].sizes, "I": I, "H": H}, rng.choice
    matrices = {s.weight: (a.name, s.arg) for a, _ in layer.program.accumulators for s in a.sources}
    vectors = layer.program.vectors
    length = lambda name: sizes[vectors[name].axis] if vectors[name].axis != "1" else 1
    gates = {f: [matrices[f"{f}.{gate}"] for gate in names] for f, names in layer.program.families.items()}
    params = {p: rng.integers(vectors[p].lo, vectors[p].hi + 1, length(p)).astype(np.int16) for p in layer.params}
    m = {a: pick([1, 3000, 32767], length(a)).astype(np.int16) for a in layer.m}
    zero = {a: np.zeros(length(a), np.int32) for a in layer.b}
    for k in range(7):  # smaller, until no sum can leave int32
        draw = lambda n, into, k=k: (pick([-127, 127], (n, into)) >> k).astype(np.int8)
        weights = {f: np.concatenate([draw(length(a), length(x)) for a, x in of]) for f, of in gates.items()}
        wild = replace(layer, sizes=sizes, weights=weights, m=m, b=zero, params=params)
        room = {a.name: 2**31 - 1 - wild.bounds(a) for a, _ in layer.program.accumulators}
        if min(r.min() for r in room.values()) >= 0:
            break
    b = {a: (pick([-1, 1], r.size) * np.where(rng.random(r.size) < 0.3, r, r.clip(0, 10**5))).astype(np.int32) for a, r in room.items()}
    ends = {"scale": np.ones(I, np.float32), "offset": np.zeros(I, np.float32), "fraction": np.full(wild.width, q.fraction[0])}
    wild = replace(q, layers=(replace(wild, b=b),), **ends)
    check(wild)
    return wild


SCHEMES = [("w8a8", 8), ("w8a8", 16), ("w8a16", 16)]
SHAPES = [(1, 3, 140), (9, 5, 19), (40, 70, 33), (1, 65, 17)]
"""B, I, H of what every instruction set runs."""
SIZES = {
    "B": st.sampled_from([1, 2, 7, 8, 9, 17, 33, 40]),
    "I": st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65])),
    "H": st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 65, 140]),
    "seed": st.integers(0, 2**32 - 1),
}


@pytest.mark.parametrize("rails", [False, True], ids=["calibrated", "rails"])
@pytest.mark.parametrize(("scheme", "bits"), SCHEMES)
@pytest.mark.parametrize("cell", pages.INTEGER, ids=lambda c: c.name)
@settings(max_examples=8)
@given(**SIZES)
def test_core_is_the_definition(cell, scheme, bits, rails, B, I, H, seed):
    rng = np.random.default_rng(seed)
    q = at_the_rails(model(cell, rng, 3, 5, scheme, bits), rng, I, H) if rails else model(cell, rng, min(I, 20), min(H, 33), scheme, bits)
    x = drive(rng, 25, B, q.inputs, bits)
    runner = Runner(q, B, check=True)
    vectors = q.layers[0].program.vectors
    for s, v in runner.states[0].items():
        v[:] = rng.choice([vectors[s].lo, 0, vectors[s].hi], v.shape)
    first = {s: v.astype(np.int16) for s, v in runner.states[0].items()}
    want = runner.run(x)
    for interpret in (False, True):
        core, states = CoreLayer(q.layers[0], interpret), {s: v.copy() for s, v in first.items()}
        got = np.concatenate([core.run(x[:11], states), core.run(x[11:], states)])  # the states are left as they are
        assert got.dtype == np.int16 and np.array_equal(got, want)
        for s, v in states.items():
            assert np.array_equal(v, runner.states[0][s])


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("cell", [c for c in pages.INTEGER if c.name in gatecell.cells and not c.program.params], ids=lambda c: c.name)
def test_built_in_cells_run_compiled_steps(rng, cell, scheme):
    """Whatever fractions calibration chooses, where parameters have none of their own; with `interpret` none does."""
    for scale in (0.1, 0.5, 1.0, 2.0, *((100.0,) if cell.fused else ())):  # beyond, a projected sum leaves its integers
        w, x, _ = pages.draw(cell, rng, 30, 4, {"I": 3, "H": 9, "M": 4}, scale=scale)
        layer = FloatLayer(cell.signature, cell.program, w, {"I": 3, "H": 9, "M": 4, "1": 1})
        q = quantize_model(FloatModel((layer,), np.zeros(3), np.ones(3)), x.astype(np.float32), scheme, 16)
        compiled, loops = CoreLayer(q.layers[0]).steps
        assert compiled == loops > 0
        assert CoreLayer(q.layers[0], interpret=True).steps == (0, loops)


def test_threads_change_no_bit(rng):
    q = model(pages.three, rng, 8, 80, "w8a8")
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
import hashlib, pickle, sys
import gatecell
from gatecell.tensor.integers import CoreLayer
digest = hashlib.sha256()
for layer, x in pickle.load(open(sys.argv[1], "rb")):
    for interpret in (False, True):
        core = CoreLayer(layer, interpret)
        digest.update(core.run(x, core.start(x.shape[1])).tobytes())
print(gatecell.cpu(), digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits(rng, tmp_path):
    work, seen = [], {}
    for cell in pages.INTEGER:
        for scheme, bits in SCHEMES:
            B, I, H = SHAPES[len(work) % len(SHAPES)]
            q = model(cell, rng, 5, 19, scheme, bits)
            work += [(q.layers[0], drive(rng, 12, B, 5, bits)), (at_the_rails(q, rng, I, H).layers[0], drive(rng, 12, B, I, bits))]
    path = tmp_path / "work"
    path.write_bytes(pickle.dumps(work))
    for cpu in ("baseline", "avx2", "avx512", "avx512vnni", "avx512vbmi", "neon"):
        env = os.environ | {"GATECELL_CPU": cpu, "PYTHONPATH": os.pathsep.join(sys.path)}
        r = subprocess.run([sys.executable, "-c", PROGRAM, path], env=env, capture_output=True, text=True, check=False)
        if r.returncode == 0:
            name, seen[cpu] = r.stdout.split()
            assert name == cpu
        else:
            assert "wants one of" in r.stderr, r.stderr
    assert gatecell.cpu() in seen and ("baseline" in seen) == (gatecell.cpu() != "neon")  # which every AArch64 has
    assert len(set(seen.values())) == 1


def test_the_core_refuses_a_damaged_step(rng, monkeypatch):
    """Every number of the code made absurd, and the code cut short everywhere: refused, or the same sizes and no crash."""
    made = {}
    real = _core.Integer

    def keep(*args):
        made["args"] = args
        return real(*args)

    monkeypatch.setattr(_core, "Integer", keep)
    CoreLayer(model(pages.three, rng, 3, 5, "w8a8").layers[0])
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
