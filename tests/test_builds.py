"""The core by another compiler and for another CPU: no warning, the C++ tests pass, and what it computes has the same bits.

gcc and clang for x86, gcc for AArch64 (run by qemu-aarch64), and x86 CPUs without AVX-512 or AVX (qemu-x86_64).  A record of layers
forward and backward, primitives, functions and integer steps is made once, by this Python's core, and replayed everywhere.
Not here: Python on such CPUs (test_old_cpu.py), what the objects may hold (test_objects.py), whether the bits are right (test_core.py).
"""

import os
import subprocess
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

import builds
import gatecell
import pages
import test_integer_core
import test_sparse_integers
from conftest import need
from gatecell import cells, scans
from gatecell.algebra.encode import encode
from gatecell.algebra.loops import OPCODES, Array, Instruction, Loop, Pass, Plan
from gatecell.algebra.ops import OPS
from gatecell.cells.options import options, training
from gatecell.tensor import bptt, engine
from gatecell.tensor import scan as tensor_scan
from gatecell.tensor.integers import CoreLayer
from replay import TYPES, differences, other_bits, recording, replay

pytestmark = builds.X86

MASKED = [
    training(cells["lstm"], options(cells["lstm"], zoneout=0.5, recurrent=0.5, candidate=0.5, clip=0.5)),
    training(cells["gru_before"], options(cells["gru_before"], recurrent=0.5)),
]
FUNCTIONS = ["tanh", "sigmoid", "exp", "log_sigmoid", "rsqrt", "relu"]


def edges(dtype):
    """Zeros, ones, infinities, NaN, the smallest and largest numbers, and some between."""
    f = np.finfo(dtype)
    v = [0.0, 1.0, 1 + f.eps, 1 / 3, 7.5, np.sqrt(f.max), f.max, f.tiny, f.tiny / 3, f.smallest_subnormal, np.inf]
    return np.array([*v, *(-u for u in v), np.nan], dtype)


def primitives(recorder, dtype):
    """Every operation at every triple of edges, one after the other: [operation] -> its result; and the triples."""
    a, b, c = (g.reshape(-1) for g in np.meshgrid(edges(dtype), edges(dtype), edges(dtype)))
    wide = 64
    rows = -(-len(a) // wide)
    x = {k: np.concatenate([v, np.ones(rows * wide - len(v), dtype)]).reshape(1, rows, wide) for k, v in zip("abc", (a, b, c), strict=True)}
    arrays = {k: Array(k, "over", "N") for k in (*x, *OPCODES)}
    code = [Instruction(op, 3 + k, (0, 1, 2)) for op, k in OPCODES.items()]
    plan = Plan("primitives", arrays, [Pass([], [Loop("N", list(arrays), code=code)])])
    e = encode(plan, {"W": ["w"]})  # a family that nobody multiplies with: it tells the type
    x |= {op: np.zeros_like(x["a"]) for op in OPCODES}
    fit = recorder.Fit(recorder.Plan(e.code, e.constants), [wide], [(0, wide)] * len(e.arrays))
    recorder.Layer(fit, [(np.ones((1, 1), dtype), None)], True).run(1, rows, [x[k] for k in e.arrays], 1)


def drawn_masks(cell, rng, T, B, sizes, dtype):
    """A record's further inputs: over time, or one for all steps."""
    masks = getattr(cell, "masks", {})
    return {name: rng.integers(0, 2, ((T,) * m.timed + (B, sizes[m.axis]))).astype(dtype) for name, m in masks.items()}


def layers(recorder):
    """Every page in both types, forward and backward: sizes around the vectors', hundreds of steps, and rows of edges; some with masks."""
    for n, cell in enumerate((*pages.EVERY, *MASKED)):
        rng = np.random.default_rng(n)
        for dtype in TYPES:
            cases = [((4, 9, 5, 35, 9), False), ((3, 1, 7, 17, 5), False), ((3, 2, 1, 16, 4), True)]
            if cell.fused and dtype == TYPES[0]:
                cases.append(((260, 3, 4, 20, 6), False))
            for (T, B, I, H, M), interpret in cases:
                recorder.label = f"{cell.name} {dtype} T{T} B{B} I{I} H{H} {'interpreted' if interpret else ''}"
                w, x, start = pages.draw(cell, rng, T, B, {"I": I, "H": H, "M": M}, scale=1 / np.sqrt(H + I))
                w, start = ({k: v.astype(dtype) for k, v in d.items()} for d in (w, start))
                sizes = {"I": I, "H": H} | {cell.axis(s): v.shape[1] for s, v in start.items()}
                layer = engine.Layer(engine.form(cell, sizes), w, interpret=interpret)
                x, lengths = x.astype(dtype), rng.integers(0, T + 1, B) if T == 4 else None
                given = bptt.placed_given(layer, drawn_masks(cell, rng, T, B, sizes, dtype))
                y, last, saved = bptt.forward(layer, x, start, reverse=T == 3, training=True, lengths=lengths, given=given)
                saved.backward(x, rng.normal(size=y.shape).astype(dtype), last)
            recorder.label = f"{cell.name} {dtype} edges"
            x = np.resize(edges(dtype), (3, len(edges(dtype)), I))
            given = bptt.placed_given(layer, drawn_masks(cell, rng, 3, x.shape[1], sizes, dtype))
            bptt.forward(layer, np.ascontiguousarray(x), {s: np.repeat(v[:1], x.shape[1], 0) for s, v in start.items()}, given=given)


def scanned(recorder):
    """Scans there and back: around vectors and blocks of channels, with heads, over several stretches."""
    for of in scans.values():
        for dtype in TYPES:
            rng = np.random.default_rng(5)
            for T, B, H, N, heads in ((7, 2, 5, 3, 2), (70, 1, 80, 16, 1), (1, 2, 64, 17, 1), (9, 1, 130, 33, 1)):
                recorder.label = f"{of.name} {dtype} T{T} H{H} N{N}"
                form = tensor_scan.Form(of, tensor_scan.number(of), T, B, H, N, heads, dtype)
                given = {k: 0.5 * rng.normal(size=(T, B, form.units[k])) for k in of.inputs}
                given |= {k: rng.uniform(-0.7, 0.7, form.units[k]) for k in of.params}  # complex decays stay within the unit circle
                given |= {k: rng.normal(size=(B, form.units[k])) for k in of.states}
                given |= {k: -abs(given[k]) for k in ("A", "w") if k in given} | {k: abs(given[k]) for k in ("dt", "b") if k in given}
                given = {k: np.ascontiguousarray(a, dtype) for k, a in given.items()}
                run = tensor_scan.Core(form, given)
                output, last = run.forward(True)
                run.backward(rng.normal(size=output.shape).astype(dtype), last, set(given))


def functions(recorder):
    """Numbers of all magnitudes, every kind of bit pattern, and the ends."""
    rng = np.random.default_rng(0)
    for dtype in TYPES:
        recorder.label = str(dtype)
        bits = rng.integers(0, 256, (200_000, dtype.itemsize), np.uint8).view(dtype)[:, 0]
        drawn = [v.astype(dtype) for v in (rng.normal(size=20001) * 4, rng.uniform(-100, 100, 10000))]
        x = np.concatenate([edges(dtype), bits, *drawn])
        for name in FUNCTIONS:
            recorder.function(name, x)


def sums(recorder):
    """Over a lane's, a block's and sixteen blocks' terms, with few and many results side by side."""
    rng = np.random.default_rng(0)
    for dtype in TYPES:
        recorder.label = str(dtype)
        for shape in ((2, 1, 3), (3, 17, 1), (1, 1025, 70), (2, 20000, 1)):
            recorder.sum(rng.normal(size=shape).astype(dtype))


def masks(recorder):
    """Of dropout, units around a counter's four words."""
    for dtype in TYPES:
        recorder.label = str(dtype)
        for N, samples in ((1, None), (37, np.array([7, 0, 2**31]))):
            recorder.mask((5, 3, N), dtype, (1, 2**32 - 1), 9, samples, 2**31, 1 / 3, 2)


def ends(recorder):
    """Of an integer model: floats of all magnitudes and halves to integers, and back."""
    rng = np.random.default_rng(0)
    for N in (1, 7, 16, 37):
        recorder.label = f"N{N}"
        bits = rng.integers(0, 2**32, (400, N), np.uint32).view(np.float32)
        drawn = rng.normal(size=(400, N)) * 2e4, rng.integers(-66000, 66000, (400, N)) / 2
        x = np.concatenate([bits, *(v.astype(np.float32) for v in drawn)])
        offset, scale = rng.normal(size=N).astype(np.float32), np.exp2(rng.integers(-9, 9, N)).astype(np.float32)
        for largest in (127, 32767):
            recorder.quantize(np.resize(edges(np.dtype(np.float32)), (30, N)), offset, scale, largest)
            recorder.quantize(x, np.zeros_like(offset), np.ones_like(scale), largest)
            q, _ = recorder.quantize(x[np.isfinite(x).all(1)], offset, scale, largest)
            recorder.dequantize(q, scale)


def integer_steps(recorder):
    """Calibrated steps, steps at the rails and those with most of their weights 0, compiled and interpreted."""
    for n, cell in enumerate(pages.INTEGER):
        for scheme, bits in test_integer_core.SCHEMES:
            rng = np.random.default_rng(3)
            calibrated = test_integer_core.model(cell, rng, 5, 19, scheme, bits)
            B, I, H = test_integer_core.SHAPES[n % len(test_integer_core.SHAPES)]
            wild = test_integer_core.at_the_rails(calibrated, rng, I, H)
            sparse = test_sparse_integers.pruned(wild, rng, (0.3, 0.1))
            for q, rows in ((calibrated, 1), (calibrated, 9), (wild, B), (sparse, 1), (sparse, 7)):
                x = test_integer_core.drive(rng, 20, rows, q.inputs, bits)
                for interpret in (False, True):
                    recorder.label = f"{cell.name} {scheme} {bits} B{rows} {'interpreted' if interpret else ''}"
                    core = CoreLayer(q.layers[0], interpret)
                    core.run(x, core.start(rows))


@cache
def record():
    with recording() as recorder:
        for dtype in TYPES:
            recorder.label = f"primitives {dtype}"
            primitives(recorder, dtype)
        functions(recorder)
        sums(recorder)
        masks(recorder)
        layers(recorder)
        scanned(recorder)
        ends(recorder)
        integer_steps(recorder)
    return recorder


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """(a command that replays, an instruction set or "") -> the set that ran, and the results; each once."""
    done = {}

    def of(command, cpu="", threads=0):
        key = (*command, cpu, threads)
        if key not in done:
            done[key] = replay(command, record(), tmp_path_factory.mktemp("replay"), cpu, threads)
        return done[key]

    return of


@pytest.mark.parametrize("name", builds.OPTIONS)
def test_no_warning_and_the_cpp_tests_pass(name):
    builds.check(name)


@pytest.mark.parametrize("name", builds.OPTIONS)
def test_every_instruction_set_has_the_same_bits(name, replayed):
    """Those of this Python's core; floats of the baseline, which has no fused multiply-add, are alike in every build."""
    plain = replayed(builds.replayer("g++"), "baseline")[1]
    fused = record().results if gatecell.cpu() != "baseline" else replayed(builds.replayer("aarch64"))[1]
    sets = builds.instruction_sets(name)
    assert (sets == ["neon"]) == (name == "aarch64")
    for cpu in sets:
        ran, got = replayed(builds.replayer(name), cpu)
        assert ran == cpu
        wrong = differences(got, plain if cpu == "baseline" else fused)
        assert not wrong, f"{name} {cpu}: {len(wrong)} differ\n" + "\n".join(wrong[:20])
    integers = [[(what, a) for what, a in results if a[0].dtype.kind == "i"] for results in (plain, fused)]
    assert len(integers[0]) > 20
    assert not differences(*integers)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_that_share_units_have_the_bits_of_one(threads, replayed):
    """Every run, whatever its size, step by step from the first on; some threads have no units."""
    for cpu in builds.instruction_sets("g++"):
        alone, together = (replayed(builds.replayer("g++"), cpu, n)[1] for n in (0, threads))
        wrong = differences(together, alone)
        assert not wrong, f"{cpu}: {len(wrong)} differ\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize(("name", "lacks"), [("g++", "neon"), ("clang++", "neon"), ("aarch64", "baseline"), ("aarch64", "avx2")])
def test_a_set_that_a_build_lacks_is_refused(name, lacks):
    """By a sentence that names those there are."""
    r = subprocess.run(builds.replayer(name), env=os.environ | {"GATECELL_CPU": lacks}, capture_output=True, text=True, check=False)
    assert r.returncode == 1
    assert f"wants one of {', '.join(builds.instruction_sets(name))} on this machine, got {lacks}\n" in r.stderr


@pytest.mark.parametrize(("model", "cpu"), [("Opteron_G1,-pni", "baseline"), ("Nehalem", "baseline"), ("Haswell", "avx2")])
def test_the_core_chooses_what_an_older_cpu_has(model, cpu, replayed):
    """Emulated CPUs of 2003 (SSE2 alone), 2008 and 2013: no illegal instruction, and the bits of the same set on this machine.

    Integers look up tables by AVX2's gathers, which qemu 7.2 gets wrong: with indices in ymm4 it reads eight times the first entry.
    """
    need("qemu-x86_64")
    ran, got = replayed(["qemu-x86_64", "-cpu", model, *builds.replayer("g++")])
    assert ran == cpu
    here = replayed(builds.replayer("g++"), cpu)[1]
    kept = [k for k, (what, _) in enumerate(here) if cpu != "avx2" or not what.endswith("integer run")]
    assert len(kept) > 300
    assert not differences([got[k] for k in kept], [here[k] for k in kept])


def rounded(exact, dtype):
    """The nearest number of a type, ties to even, of a Fraction that is not zero."""
    try:
        near = np.float64(float(exact))
    except OverflowError:
        near = np.float64(np.inf if exact > 0 else -np.inf)
    if dtype == np.float32 and np.isfinite(near) and Fraction(float(near)) != exact and not near.view(np.int64) & 1:
        near = np.nextafter(near, np.inf if Fraction(float(near)) < exact else -np.inf)  # to odd, so that the second rounding does no harm
    return dtype.type(near)


def fma(a, b, c, dtype):
    """a b + c, rounded once."""
    if not np.isfinite(a) or not np.isfinite(b):
        return a * b + c
    if not np.isfinite(c):
        return c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact:
        return rounded(exact, dtype)
    negative = np.signbit(a) != np.signbit(b) and np.signbit(c) and c == 0  # of two zeros; a difference of equals is +0
    return dtype.type(-0.0 if negative else 0.0)


def meaning(op, a, b, c, once):
    """What IEEE 754 and the table of primitives say, on arrays; `once`: whether a multiply-add rounds once."""
    if op in ("fma", "fms", "fnma", "lerp"):
        a, b, c = {"fma": (a, b, c), "fms": (a, b, -c), "fnma": (-a, b, c), "lerp": (a, c - b, b)}[op]
        if not once:
            return a * b + c
        return np.array([fma(*v, a.dtype) for v in zip(a, b, c, strict=True)], a.dtype)
    if op == "relu":
        return np.where(a > 0, a, np.where(np.isnan(a) | (a == 0), a, a.dtype.type(0)))
    if op in ("copy", "neg"):
        return -a if op == "neg" else a
    return OPS[op].of(a, b)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", ["g++", "aarch64"])
def test_primitives_are_exact_at_the_edges(name, dtype, replayed):
    """Signs of zeros, infinities, NaN, subnormal numbers: by exact arithmetic; of functions, that a NaN stays one."""
    for cpu in builds.instruction_sets(name):
        results = dict(replayed(builds.replayer(name), cpu)[1])
        a, b, c, *got = (v.reshape(-1) for v in results[f"primitives {dtype}: run"])
        with np.errstate(all="ignore"):
            for op, y in zip(OPCODES, got, strict=True):
                if op in FUNCTIONS and op != "relu":
                    assert np.isnan(y[np.isnan(a)]).all(), (cpu, op)
                    continue
                want = meaning(op, a, b, c, cpu != "baseline").astype(dtype)
                wrong = other_bits(y, want)
                assert not wrong.any(), (cpu, op, [v[wrong][:3] for v in (a, b, c, y, want)])
