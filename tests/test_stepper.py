"""One recurrence in Cython: a whole sequence's bits, bad input, other Cython code that steps it without the GIL.  Not here: Stream."""

import gc
import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import gatecell
from conftest import missing, need
from gatecell import nn
from gatecell.deploy.stepper import Stepper
from gatecell.tensor import bptt, engine

PACKAGE = Path(gatecell.__file__).parent


def layer_of(cell, inputs, units, rng, dtype=np.float32):
    sizes = {"I": inputs, "H": units}
    weights = {k: rng.normal(size=s).astype(dtype) for k, s in cell.shapes(sizes, True).items()}
    return engine.Layer(cell, weights, sizes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("batch", "inputs", "units"), [(1, 1, 1), (1, 5, 33), (3, 16, 15), (19, 7, 17)])
@pytest.mark.parametrize("name", gatecell.cells)
def test_steps_are_the_sequences_bits(name, batch, inputs, units, dtype, rng):
    cell = gatecell.cells[name]
    layer = layer_of(cell, inputs, units, rng, dtype)
    x = rng.normal(size=(7, batch, inputs)).astype(dtype)
    start = {s: rng.normal(size=(batch, units)).astype(dtype) for s in cell.states}
    want, last, _ = bptt.forward(layer, x, start)
    stepper = Stepper(layer, batch)
    for s, a in stepper.state.items():
        assert not a.any()
        a[...] = start[s]
    got = np.stack([stepper(xt).copy() for xt in x])
    np.testing.assert_array_equal(got, want)
    assert stepper.state.keys() == last.keys()
    for s, a in stepper.state.items():
        np.testing.assert_array_equal(a, last[s])


def test_rows_may_lie_apart(rng):
    layer = layer_of(gatecell.cells["gru"], 4, 9, rng)
    wide = rng.normal(size=(3, 11)).astype(np.float32)
    for view in (wide[:, 2:6], wide[::-1, 2:6], np.broadcast_to(wide[:1, 2:6], (3, 4))):
        np.testing.assert_array_equal(Stepper(layer, 3)(view), Stepper(layer, 3)(view.copy()))


BAD = {
    "no array": ([[1.0, 2.0]] * 3, TypeError, "buffer|bytes-like"),
    "dtype": (np.ones((3, 2)), TypeError, "float32 wanted, got the format d"),
    "byte order": (np.ones((3, 2), ">f4"), TypeError, "float32 wanted, got the format >f"),
    "whole numbers": (np.ones((3, 2), np.int32), TypeError, "float32 wanted, got the format i"),
    "rows": (np.ones((2, 2), np.float32), ValueError, r"shape \(3, 2\) wanted, got \(2, 2\)"),
    "features": (np.ones((3, 3), np.float32), ValueError, r"shape \(3, 2\) wanted, got \(3, 3\)"),
    "axes": (np.ones((1, 3, 2), np.float32), ValueError, r"shape \(3, 2\) wanted, got \(1, 3, 2\)"),
    "gaps": (np.ones((2, 3), np.float32).T, ValueError, "values 4 bytes apart wanted, got 12"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_changes_nothing(name, rng):
    x, error, text = BAD[name]
    stepper = Stepper(layer_of(gatecell.cells["gru"], 2, 3, rng), 3)
    stepper(np.ones((3, 2), np.float32))
    before = {s: a.copy() for s, a in stepper.state.items()}
    with pytest.raises(error, match=text):
        stepper(x)
    for s, a in stepper.state.items():
        np.testing.assert_array_equal(a, before[s])


def test_bad_making(rng):
    layer = layer_of(gatecell.cells["gru"], 2, 3, rng)
    with pytest.raises(TypeError, match=r"engine\.Layer wanted, got int"):
        Stepper(3, 1)
    with pytest.raises(ValueError, match="at least 1 wanted, got 0"):
        Stepper(layer, 0)
    with pytest.raises(TypeError):
        Stepper.__new__(Stepper)


def test_a_stepper_keeps_what_it_needs(rng):
    x = rng.normal(size=(1, 3)).astype(np.float32)
    stream = gatecell.Stream(nn.LSTM(3, 40))
    want = stream.step(x)
    stream.reset()
    stepper = stream.recurrences["recurrence_0"]
    del stream
    gc.collect()
    h = stepper(x)
    del stepper
    gc.collect()
    np.testing.assert_array_equal(h, want)


USER = """
from gatecell.deploy.stream cimport Stepper

def run(Stepper stepper, const float[:, :, ::1] x, float[:, :, ::1] y):
    cdef Py_ssize_t t, b, u
    cdef const float *h
    assert x.shape[1] == y.shape[1] == stepper.batch and x.shape[2] == stepper.inputs and y.shape[2] == stepper.units
    with nogil:
        for t in range(x.shape[0]):
            h = <const float *> stepper.step(&x[t, 0, 0])
            for b in range(stepper.batch):
                for u in range(stepper.units):
                    y[t, b, u] = h[b * stepper.row + u]

def wrong(Stepper stepper, const float[::1] x):
    stepper.threads = 0
    with nogil:
        stepper.step(&x[0])
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """An extension of somebody else's, compiled against the package's .pxd files and no header of it."""
    if importlib.util.find_spec("Cython") is None:
        missing("Cython")
    cc = os.environ.get("CC", "cc").split()
    need(cc[0])
    folder = tmp_path_factory.mktemp("user")
    (folder / "stepping.pyx").write_text(USER)
    subprocess.run([sys.executable, "-m", "cython", "-3", "-I", PACKAGE.parent, "stepping.pyx"], cwd=folder, check=True)
    library = "stepping" + sysconfig.get_config_var("EXT_SUFFIX")
    options = ["-O1", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), "-o", library]
    subprocess.run([*cc, *options, "stepping.c"], cwd=folder, check=True)
    spec = importlib.util.spec_from_file_location("stepping", folder / library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("batch", [1, 5])
def test_other_cython_code_steps_without_the_gil(user, batch, rng):
    stream = gatecell.Stream(nn.LSTM(3, 21), batch)
    x = rng.normal(size=(50, batch, 3)).astype(np.float32)
    want = np.stack([stream.step(xt) for xt in x])
    state = stream.state
    stream.reset()
    got = np.empty_like(want)
    user.run(stream.recurrences["recurrence_0"], x, got)
    np.testing.assert_array_equal(got, want)
    for name, a in stream.state.items():
        np.testing.assert_array_equal(a, state[name])


def test_errors_reach_other_cython_code(user):
    stream = gatecell.Stream(nn.GRU(3, 4))
    with pytest.raises(ValueError, match="threads >= 1"):
        user.wrong(stream.recurrences["recurrence_0"], np.ones(3, np.float32))
    assert not stream.state["recurrence_0.h"].any()
