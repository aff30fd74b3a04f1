"""A stream's state as bytes and by name: out, in, elsewhere, refused.  Not here: what steps compute (test_stream.py, test_integer.py)."""

import copy
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

import gatecell as gc
from gatecell import nn
from networks import NETWORKS, Of

HEADER = struct.Struct("<8sIIQ16s")  # magic, version, batch, bytes of values, model


def deep():
    return Of(lambda m, x: m.fc(m.rnn(x)[0]), rnn=nn.LSTM(3, 5, 2, batch_first=True), fc=nn.Linear(5, 2))


def quantised(rng):
    return gc.quantize(deep(), rng.normal(size=(4, 60, 3)).astype(np.float32))


def streams(kind, rng, batch=2):
    """Two of one model."""
    model = quantised(rng) if kind == "integers" else deep().double() if kind == "double" else deep()
    return gc.Stream(model, batch), gc.Stream(model, batch)


KINDS = ["float", "double", "integers"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_out_and_in(kind, rng):
    stream, other = streams(kind, rng)
    x = rng.normal(size=(9, 2, 3)).astype(np.float32)
    fresh = stream.state
    for xt in x[:4]:  # an even and an odd number of steps apart: states have two places
        stream.step(xt)
    kept, named = stream.state, stream.states
    after = [stream.step(xt) for xt in x[4:]]
    for wrap in (bytes, bytearray, memoryview):
        for steps in range(2):
            for xt in x[:steps]:
                other.step(xt)
            other.state = wrap(kept)
            assert other.state == kept
            np.testing.assert_array_equal([other.step(xt) for xt in x[4:]], after)
    other.states = named
    assert other.state == kept
    for a in named.values():
        a[...] = 0  # a copy
    assert other.state == kept
    stream.reset()
    assert stream.state == fresh


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_what_the_header_says(kind, rng):
    stream, _ = streams(kind, rng)
    stream.step(np.ones((2, 3)))
    data, values = stream.state, b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in stream.states.values())
    assert isinstance(data, bytes)
    magic, version, batch, size, _ = HEADER.unpack_from(data)
    assert (magic, version, batch, size) == (b"gatecell", 1, 2, len(values))
    assert data[HEADER.size :] == values
    assert any(values)


def test_a_state_survives_the_process_and_the_file(tmp_path, rng):
    """A model that was saved and loaded, in another process, goes on from the bytes; so does a quantised one."""
    x = rng.normal(size=(6, 1, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, numpy as np, gatecell
folder, name = sys.argv[1:]
stream = gatecell.Stream(gatecell.load(f"{folder}/{name}"))
stream.state = open(f"{folder}/{name}.state", "rb").read()
np.save(f"{folder}/{name}.npy", [stream.step(x) for x in np.load(f"{folder}/x.npy")[3:]])
"""
    for name, model in (("float", deep()), ("integers", quantised(rng))):
        gc.save(model, tmp_path / name)
        stream = gc.Stream(model)
        for xt in x[:3]:
            stream.step(xt)
        (tmp_path / f"{name}.state").write_bytes(stream.state)
        subprocess.run([sys.executable, "-c", code, tmp_path, name], check=True)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), [stream.step(xt) for xt in x[3:]])


def changed(data, **fields):
    """The bytes with other fields in their header."""
    names = ("magic", "version", "batch", "size", "model")
    header = dict(zip(names, HEADER.unpack_from(data), strict=True)) | fields
    return HEADER.pack(*header.values()) + data[HEADER.size :]


BAD = {
    "no bytes": (lambda d: {"recurrence_0.h": 1}, TypeError, "bytes wanted, got dict; `states` takes"),
    "text": (lambda d: "gatecell", TypeError, "bytes wanted, got str"),
    "nothing": (lambda d: b"", ValueError, "40 bytes or more that begin with b'gatecell' wanted, got 0"),
    "half a header": (lambda d: d[:39], ValueError, "40 bytes or more .* got 39"),
    "foreign": (lambda d: b"\x89PNG\r\n\x1a\n" + d[8:], ValueError, "begin with b'gatecell' wanted, got 200 that .*PNG"),
    "another version": (lambda d: changed(d, version=2), ValueError, "version 1 wanted, got 2"),
    "another model": (lambda d: changed(d, model=bytes(16)), ValueError, f"model [0-9a-f]{{32}} wanted, got {'0' * 32}"),
    "another batch": (lambda d: changed(d, batch=3), ValueError, "batch 2 wanted, got 3"),
    "another size": (lambda d: changed(d, size=159), ValueError, "size 160 wanted, got 159"),
    "cut short": (lambda d: d[:-1], ValueError, "bytes 200 wanted, got 199"),
    "too long": (lambda d: d + b"\0", ValueError, "bytes 200 wanted, got 201"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_refused_and_change_nothing(name, rng):
    make, error, text = BAD[name]
    stream = gc.Stream(Of(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(3, 10, batch_first=True)), 2)
    fresh = stream.state
    stream.step(np.ones((2, 3)))
    kept = stream.state
    with pytest.raises(error, match=text):
        stream.state = make(fresh)
    assert stream.state == kept


def test_states_of_other_weights_or_another_model_are_foreign(rng):
    model = deep()
    stream = gc.Stream(model)
    with gc.no_grad():
        next(iter(model.parameters()))[0, 0] += 1
    q = quantised(rng)
    for other in (model, nn.LSTM(3, 10), nn.GRU(3, 20), deep().double(), q):
        with pytest.raises(ValueError, match="model [0-9a-f]{32} wanted, got [0-9a-f]{32}"):
            gc.Stream(other).state = stream.state
    gc.Stream(q).state = gc.Stream(q).state
    with pytest.raises(ValueError, match="model [0-9a-f]{32} wanted, got [0-9a-f]{32}"):
        gc.Stream(quantised(rng)).state = gc.Stream(q).state


def test_forged_integers_are_refused(rng):
    """What no step gives could take a sum beyond int32."""
    stream = gc.Stream(quantised(rng))
    data = stream.state
    with pytest.raises(ValueError, match=r"state 0.h: values in \[-?\d+, \d+\] wanted, got -32768"):
        stream.state = data[: HEADER.size] + struct.pack("<h", -32768) + data[HEADER.size + 2 :]
    assert stream.state == data


def test_bad_names_and_arrays_are_refused_and_change_nothing():
    stream = gc.Stream(NETWORKS["forecaster"].make(), 2)
    stream.step(np.ones((2, 3)))
    kept, states = stream.state, stream.states
    name = next(iter(states))
    for wrong, error in (
        ({}, ValueError),
        ({**states, "more": states[name]}, ValueError),
        ({**states, name: states[name][:1]}, ValueError),
        ({**states, name: "a"}, TypeError),
        ({**states, name: states[name] * 1j}, TypeError),
        (3, TypeError),
        (kept, TypeError),
    ):
        with pytest.raises(error, match="state"):
            stream.states = wrong
        assert stream.state == kept
    stream.states = {n: a.astype(np.float64) for n, a in states.items()}  # types are converted
    assert stream.state == kept
    stream.states = {n: np.full(a.shape, 1e300) for n, a in states.items()}
    assert all(np.isinf(a).all() for a in stream.states.values())


def test_a_model_without_memory_has_an_empty_state():
    stream = gc.Stream(nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
    assert stream.states == {}
    assert len(stream.state) == HEADER.size
    stream.state = stream.state


def test_a_learned_start_is_the_state_of_a_fresh_stream(rng):
    network = NETWORKS["start that is learned"]
    model = network.make()
    stream = gc.Stream(model, 3)
    np.testing.assert_array_equal(stream.states["recurrence_0.h"], np.tile(model.h0.numpy()[0], (3, 1)))
    fresh = stream.state
    stream.step(network.input(rng, 3, 1)[:, 0])
    assert stream.state != fresh
    stream.reset()
    assert stream.state == fresh


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_streams_are_neither_copied_nor_pickled(way):
    with pytest.raises(TypeError, match="make another of the same model"):
        way(gc.Stream(nn.GRU(2, 3)))
    model = nn.GRU(2, 3)
    stream = gc.Stream(model, 2)
    stream.step(np.ones((2, 2)))
    twin = gc.Stream(stream.model, stream.batch)  # as the message says
    twin.state = stream.state
    np.testing.assert_array_equal(twin.step(np.ones((2, 2))), stream.step(np.ones((2, 2))))
