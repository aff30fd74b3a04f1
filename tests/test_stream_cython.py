"""Streams for other Cython code, and what a step costs: compiled against an installed package, run in a process of its own.

Not here: what steps compute (test_stream.py).  The scripts below end in assertions of their own.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import gatecell
from conftest import ROOT, missing, need, need_package

USER = """
from gatecell.deploy.stream cimport Stream

def run(Stream stream, const float[:, :, ::1] x, float[:, :, ::1] y):
    cdef Py_ssize_t t
    assert x.shape[1] == y.shape[1] == stream.batch and x.shape[2] == stream.inputs and y.shape[2] == stream.outputs
    with nogil:
        stream.rewind()
        for t in range(x.shape[0]):
            stream.advance(&x[t, 0, 0], &y[t, 0, 0])

def tokens(Stream stream, const long[:, ::1] x, float[:, :, ::1] y):
    cdef Py_ssize_t t
    for t in range(x.shape[0]):
        stream.advance(&x[t, 0], &y[t, 0, 0])

def one(Stream stream, const float[::1] x, float[::1] y):
    with nogil:
        stream.advance(&x[0], &y[0])
"""

MODELS = """
import array, ctypes, sys, threading
import numpy as np
import gatecell
from gatecell import nn
import stepping

rng = np.random.default_rng(0)

class Net(nn.Module):
    def __init__(self, cell="LSTM"):
        super().__init__()
        self.norm = nn.Standardize([5.0, 1.0, -2.0], [3.0, 0.5, 2.0])
        self.rnn, self.head = getattr(nn, cell)(3, 21, 2), nn.Linear(21, 4)
    def forward(self, x):
        return self.head(self.rnn(self.norm(x))[0])

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.rnn, self.head = nn.Embedding(9, 5), nn.GRU(5, 7), nn.Linear(7, 9)
    def forward(self, x):
        return self.head(self.rnn(self.table(x))[0]).softmax(-1)

net = Net()
x = rng.normal(size=(50, 5, 3)).astype(np.float32)
MODELS = {"bare": nn.GRU(3, 21), "whole": net, "integers": gatecell.quantize(net, x), "w8a16": gatecell.quantize(Net("GRU"), x, "w8a16")}
"""

BITS = """
for name, model in MODELS.items():
    for batch in (1, 5):
        stream, given = gatecell.Stream(model, batch), x[:, :batch].copy()
        want = np.stack([stream.step(xt) for xt in given])
        state = stream.state
        got = np.empty_like(want)
        for _ in range(2):
            stepping.run(stream, given, got)
            np.testing.assert_array_equal(got, want)
            assert stream.state == state
words, tokens = gatecell.Stream(Words(), 2), rng.integers(0, 9, (20, 2))
want = np.stack([words.step(t) for t in tokens])
words.reset()
got = np.empty_like(want)
stepping.tokens(words, tokens, got)
np.testing.assert_array_equal(got, want)
"""

ERRORS = """
def refused(error, text, call, *args):
    try:
        call(*args)
    except error as e:
        assert text in str(e), e
    else:
        raise AssertionError(text)

y = np.empty(4, np.float32)
for name in ("whole", "integers"):
    stream = gatecell.Stream(MODELS[name])
    stepping.one(stream, x[0, 0], y)
    state, stream.threads = stream.state, 0
    refused(ValueError, "threads >= 1", stepping.one, stream, x[0, 0], y)
    assert stream.state == state
stream.threads = 1
refused(ValueError, "numbers wanted, got NaN at (0, 1)", stepping.one, stream, np.array([1, np.nan, 2], np.float32), y)
assert stream.state == state
words = gatecell.Stream(Words(), 2)
state = words.state
refused(ValueError, "tokens 0 to 8 wanted, got -1 to 3", stepping.tokens, words, np.array([[3, -1]]), np.empty((1, 2, 9), np.float32))
assert words.state == state
"""

THREADS = """
streams = [gatecell.Stream(net, 5) for _ in range(4)]
results = [np.empty((50, 5, 4), np.float32) for _ in streams]
threads = [threading.Thread(target=stepping.run, args=(s, x, y)) for s, y in zip(streams, results)]
for t in threads: t.start()
for t in threads: t.join()
stream = gatecell.Stream(net, 5)
want = np.stack([stream.step(xt) for xt in x])
for y in results:
    np.testing.assert_array_equal(y, want)
"""

# PYTHONMALLOC=malloc: Python's own objects are counted, too.
MALLOC = """
shim = ctypes.CDLL(None)
from itertools import repeat

def count(call, *args):
    call(*args)  # the thread's scratch, what Python keeps of a first call
    before = shim.asked()
    for _ in repeat(None, 100):
        call(*args)
    return shim.asked() - before

assert count(bytearray, 100) >= 100, "the shim counts nothing"
idle = count(len, "")  # of the counting itself
for name, model in MODELS.items():
    for batch in (1, 5):
        stream, row = gatecell.Stream(model, batch), x[0, :batch].copy()
        out = np.empty((batch, stream.outputs), np.float32)
        flat, raw = array.array("f", out.ravel()), bytearray(out.nbytes)
        for given in (row, row.T.copy().T, memoryview(row), row.tobytes(), memoryview(row.tobytes()), array.array("f", row.ravel())):
            own = out if batch > 1 or np.shape(given) == row.shape else out[0]
            for to in (own, flat, raw, memoryview(raw)):
                assert count(stream.step, given, to) == idle, (name, batch, type(given), type(to))
        many = np.repeat(row[None], 20, 0)
        assert count(stepping.run, stream, many, np.empty((20, batch, stream.outputs), np.float32)) < 100 * 20, name
words, out = gatecell.Stream(Words(), 2), np.empty((2, 9), np.float32)
assert count(words.step, np.array([3, 4]), out) == idle
"""

# The second layer, with four times the sums, needs more scratch than the first: it fails when the first has run.
WITHOUT_MEMORY = """
shim = ctypes.CDLL(None)
shim.grant.argtypes = [ctypes.c_long]

class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.RNN(3, 4), nn.LSTM(4, 40)
    def forward(self, x):
        return self.second(self.first(x)[0])[0]

model = Growing()
for made in (model, gatecell.quantize(model, x)):
    stream, twin, got = gatecell.Stream(made, 5), gatecell.Stream(made, 5), []
    def starved():  # a thread that the core has no scratch for yet
        shim.grant(0)
        got.extend(stream.step(xt) for xt in x)
        shim.grant(-1)
    thread = threading.Thread(target=starved)
    thread.start(), thread.join()
    np.testing.assert_array_equal(got, [twin.step(xt) for xt in x])
"""


def compiled(source: Path, library: Path, *options: str) -> None:
    cc = os.environ.get("CC", "cc").split()
    need(cc[0])
    subprocess.run([*cc, "-O1", "-shared", "-fPIC", *options, "-o", library, source], check=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The folder that an installed gatecell is in: the one in use, or, of an in-tree build, one that pip installs now."""
    here = Path(gatecell.__file__).parent.parent
    if not here.is_relative_to(ROOT) or ".venv" in here.parts:
        return here
    for tool in ("pip", "scikit_build_core", "pybind11"):
        need_package(tool)
    target = tmp_path_factory.mktemp("installed")
    offline = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    build = f"--config-settings=build-dir={ROOT}/build/wheel"  # make's own: a second time only what changed is compiled
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, build, "--target", target, ROOT], check=True)
    return target


@pytest.fixture(scope="module")
def run(package, tmp_path_factory):
    """run(code): a process that has the installed package, and an extension of somebody else's that was compiled against it alone."""
    need_package("Cython")
    folder = tmp_path_factory.mktemp("user")
    (folder / "stepping.pyx").write_text(USER)
    subprocess.run([sys.executable, "-m", "cython", "-3", "-I", package, "stepping.pyx"], cwd=folder, check=True)
    compiled(folder / "stepping.c", folder / ("stepping" + sysconfig.get_config_var("EXT_SUFFIX")), "-I", sysconfig.get_path("include"))

    def process(code: str, **environment: str) -> None:
        paths = os.pathsep.join(map(str, (folder, package)))
        where = f"import gatecell; assert gatecell.__file__.startswith({str(package)!r})\n"
        env = os.environ | {"PYTHONPATH": paths} | environment
        done = subprocess.run([sys.executable, "-c", where + MODELS + code], env=env, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(done.stderr or f"ended with {done.returncode}", pytrace=False)

    return process


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> dict[str, str]:
    if sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None:
        missing("glibc")
    library = tmp_path_factory.mktemp("malloc") / "counted_malloc.so"
    compiled(ROOT / "tests" / "counted_malloc.c", library)
    return {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "GATECELL_NUM_THREADS": "1"}


@pytest.mark.slow
def test_other_cython_code_steps_without_the_gil(run):
    run(BITS)


@pytest.mark.slow
def test_errors_reach_other_cython_code_and_nothing_has_moved(run):
    run(ERRORS)


@pytest.mark.slow
def test_threads_of_other_cython_code_run_side_by_side(run):
    run(THREADS)


@pytest.mark.slow
def test_a_step_with_out_allocates_nothing(run, counted):
    run(MALLOC, **counted)


@pytest.mark.slow
def test_a_step_wants_no_memory(run, counted):
    run(WITHOUT_MEMORY, **counted)


def test_the_declarations_want_no_headers():
    """What a user's extension includes through stream.pxd: nothing of the core, nothing of NumPy."""
    text = (Path(gatecell.__file__).parent / "deploy" / "stream.pxd").read_text()
    assert "cimport" not in [line.split()[0] for line in text.splitlines() if line.strip()]
    assert "extern" not in text
    assert importlib.util.find_spec("gatecell.deploy.stream") is not None
