"""What a step takes and writes to: arrays of any layout, buffers, lists, Tensors; what it refuses.  Not here: numbers (test_stream.py)."""

import array

import numpy as np
import pytest

import gatecell as gc
from gatecell import nn
from networks import NETWORKS


def test_out_is_written_and_returned():
    stream = gc.Stream(nn.GRU(2, 3, batch_first=True), batch=4)
    x, out = np.ones((4, 2), np.float32), np.full((4, 3), 7, np.float32)
    assert stream.step(x, out=out) is out
    stream.reset()
    np.testing.assert_array_equal(out, stream.step(x))


def test_a_batch_of_one_may_be_left_out():
    stream = gc.Stream(NETWORKS["every step, squeezed"].make())
    assert stream.step(np.zeros((1, 3))).shape == (1,)
    assert stream.step(np.zeros(3)).shape == ()
    words = gc.Stream(NETWORKS["language model"].make())
    assert words.step(3).shape == (9,)
    assert words.step([3]).shape == (1, 9)
    assert words.step(gc.tensor([3])).shape == (1, 9)


def shifted(a):
    """The same values at odd addresses."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    b = raw[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


INPUTS = {
    "columns first": np.asfortranarray,
    "gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "odd addresses": shifted,
    "other byte order": lambda x: x.astype(">f4"),
    "double": lambda x: x.astype(np.float64),
    "half": lambda x: x.astype(np.float16),
    "whole": lambda x: x.astype(np.int16),
    "a subclass": np.ma.asarray,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "tensor": gc.tensor,
    "list": lambda x: x.tolist(),
    "tuple of arrays": tuple,
    "memoryview": memoryview,
    "memoryview with gaps": lambda x: memoryview(np.repeat(x, 2, axis=1)[:, ::2]),
    "memoryview of double": lambda x: memoryview(x.astype(np.float64)),
    "array.array": lambda x: array.array("f", x.ravel()),
    "bytes": lambda x: x.tobytes(),
    "bytearray": lambda x: bytearray(x.tobytes()),
    "memoryview of bytes": lambda x: memoryview(x.tobytes()),
    "ctypes": lambda x: np.ctypeslib.as_ctypes(x),
    "ctypes, of double": lambda x: np.ctypeslib.as_ctypes(x.astype(np.float64)),
    "ctypes, flat": lambda x: np.ctypeslib.as_ctypes(x.ravel()),
}


FLAT = ("array.array", "bytes", "bytearray", "memoryview of bytes", "ctypes, flat")


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_anything_with_the_numbers_will_do(kind, batch, rng):
    x = rng.integers(-3, 3, size=(batch, 4)).astype(np.float32)
    stream = gc.Stream(nn.GRU(4, 5), batch)
    want = stream.step(x)
    stream.reset()
    got = stream.step(INPUTS[kind](x))
    np.testing.assert_array_equal(got.reshape(want.shape), want)
    assert got.shape == ((5,) if batch == 1 and kind in FLAT else want.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_buffers_of_one_row(dtype, rng):
    """Flat, of the model's own type and of another, their result is flat, too."""
    model = nn.GRU(4, 5) if dtype == np.float32 else nn.GRU(4, 5).double()
    x = rng.integers(-3, 3, size=4)
    stream = gc.Stream(model)
    want = stream.step(x)
    assert want.shape == (5,)
    for given in (*(array.array(t, x) for t in "fdhiqb"), x.astype(dtype).tobytes(), memoryview(x), memoryview(x.astype(dtype)), list(x)):
        stream.reset()
        np.testing.assert_array_equal(stream.step(given), want)


def test_tokens_come_in_any_whole_type():
    stream = gc.Stream(NETWORKS["language model"].make(), 2)
    want = stream.step([3, 7])
    a = np.array([3, 7])
    for given in (a, a.astype(np.uint8), a.astype(">i4"), array.array("q", a), array.array("b", a), a.tobytes()):
        stream.reset()
        np.testing.assert_array_equal(stream.step(given), want)
    one = gc.Stream(NETWORKS["language model"].make())
    for token in (3, np.uint8(3), np.int64(3), np.array(3), gc.tensor(3)):
        assert one.step(token).shape == (9,)


def outs(shape, dtype):
    """Places to write to, and how to read what was written."""
    size = int(np.prod(shape))
    wide, turned = np.full((*shape[:-1], 2 * shape[-1]), 7, dtype), np.full(shape[::-1], 7, dtype)
    yield np.full(shape, 7, dtype), np.asarray
    yield wide[..., ::2], np.asarray
    yield turned.T, np.asarray
    yield shifted(np.full(shape, 7, dtype)), np.asarray
    yield array.array(dtype().dtype.char, [7] * size), lambda a: np.array(a, dtype).reshape(shape)
    yield bytearray(size * dtype().itemsize), lambda a: np.frombuffer(a, dtype).reshape(shape)
    yield memoryview(np.full(size, 7, dtype)), lambda a: np.array(a).reshape(shape)
    yield memoryview(bytearray(size * dtype().itemsize)), lambda a: np.frombuffer(a, dtype).reshape(shape)
    yield np.ctypeslib.as_ctypes(np.full(shape, 7, dtype)), np.ctypeslib.as_array
    yield np.ctypeslib.as_ctypes(np.full(size, 7, dtype)), lambda a: np.ctypeslib.as_array(a).reshape(shape)


@pytest.mark.parametrize("name", ["bare, time first", "double", "features first", "language model", "decision", "every step, squeezed"])
@pytest.mark.parametrize("batch", [1, 3])
def test_out_may_lie_anyhow(name, batch, rng):
    network = NETWORKS[name]
    stream = gc.Stream(network.make(), batch)
    x = np.take(network.input(rng, batch, 1), 0, 0 if network.time_first else 1)
    want = stream.step(x)
    dtype = np.int64 if want.dtype == np.int64 else want.dtype.type
    for out, read in outs(want.shape, dtype):
        stream.reset()
        assert stream.step(x, out=out) is out
        np.testing.assert_array_equal(read(out), want)


def test_an_input_may_be_its_own_output(rng):
    stream, x = gc.Stream(nn.GRU(5, 5), 3), rng.normal(size=(3, 5)).astype(np.float32)
    want = stream.step(x)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x, out=x), want)


ONE, FOUR, WORDS = (
    (lambda: gc.Stream(nn.GRU(2, 3, batch_first=True))),
    (lambda: gc.Stream(nn.GRU(2, 3), 4)),
    (lambda: gc.Stream(NETWORKS["language model"].make(), 2)),
)
BAD = {
    "no module": (lambda: gc.Stream(3), TypeError, "Module"),
    "batch": (lambda: gc.Stream(nn.GRU(2, 3), 0), ValueError, "at least 1"),
    "batch's kind": (lambda: gc.Stream(nn.GRU(2, 3), 1.5), TypeError, "whole number"),
    "bidirectional": (lambda: gc.Stream(nn.GRU(2, 3, bidirectional=True)), gc.Unsupported, "from its end"),
    "features": (lambda: ONE().step(np.ones(3)), ValueError, r"\(1, 2\) wanted, or \(2,\), got \(3,\)"),
    "rows": (lambda: FOUR().step(np.ones((3, 2))), ValueError, r"\(4, 2\) wanted, got \(3, 2\)"),
    "a missing batch of four": (lambda: FOUR().step(np.ones(2)), ValueError, "wanted"),
    "a whole sequence": (lambda: ONE().step(np.ones((1, 5, 2))), ValueError, "wanted"),
    "flat arrays of a batch": (lambda: FOUR().step(np.ones(8, np.float32)), ValueError, r"\(4, 2\) wanted, got \(8,\)"),
    "too many in a buffer": (lambda: ONE().step(array.array("f", [1, 2, 3])), ValueError, r"\(2,\), got \(3,\)"),
    "too many in a buffer of another type": (lambda: ONE().step(array.array("d", [1, 2, 3])), ValueError, r"\(2,\), got \(3,\)"),
    "a byte too few": (lambda: ONE().step(b"1234567"), ValueError, r"or 8 bytes, got \(7,\)"),
    "bytes with gaps": (lambda: ONE().step(memoryview(bytes(16))[::2]), ValueError, "8 bytes"),
    "small numbers as bytes": (lambda: ONE().step(memoryview(np.ones(2, np.uint8))), ValueError, r"or 8 bytes, got \(2,\)"),
    "text": (lambda: ONE().step("ab"), TypeError, "real numbers"),
    "complex": (lambda: ONE().step(np.ones(2) * 1j), TypeError, "real numbers"),
    "nothing": (lambda: ONE().step(None), TypeError, "real numbers"),
    "tokens that are no whole numbers": (lambda: WORDS().step([1.0, 2.0]), TypeError, "whole numbers"),
    "token beyond": (lambda: WORDS().step([1, 9]), ValueError, "0 to 8 wanted, got 1 to 9"),
    "token below": (lambda: WORDS().step([-1, 0]), ValueError, "0 to 8"),
    "out's shape": (lambda: FOUR().step(np.ones((4, 2)), out=np.ones(4, np.float32)), ValueError, "out"),
    "out's dtype": (lambda: FOUR().step(np.ones((4, 2)), out=np.ones((4, 3))), TypeError, "out"),
    "out's kind": (lambda: FOUR().step(np.ones((4, 2)), out=[0] * 12), TypeError, "float32 wanted, got list"),
    "out, a Tensor": (lambda: FOUR().step(np.ones((4, 2)), out=gc.zeros(4, 3)), TypeError, "float32 wanted, got Tensor"),
    "out's byte order": (lambda: FOUR().step(np.ones((4, 2)), out=np.ones((4, 3), ">f4")), TypeError, "float32 wanted, got >f4"),
    "out without the row": (lambda: ONE().step(np.ones((1, 2)), out=np.ones(3, np.float32)), ValueError, r"\(1, 3\) wanted, got \(3,\)"),
    "out with the row": (lambda: ONE().step(np.ones(2), out=np.ones((1, 3), np.float32)), ValueError, r"\(3,\) wanted, got \(1, 3\)"),
    "out, read-only": (lambda: ONE().step(np.ones(2), out=bytes(12)), ValueError, "may be written"),
    "out's length": (lambda: ONE().step(np.ones(2), out=bytearray(13)), ValueError, r"\(3,\) wanted, got \(13,\)"),
    "out's numbers": (lambda: ONE().step(np.ones(2), out=array.array("d", [0] * 3)), TypeError, "float32 wanted, got array"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, text = BAD[name]
    with pytest.raises(error, match=text):
        call()


def test_a_refused_step_changes_nothing(rng):
    stream = gc.Stream(NETWORKS["forecaster"].make(), 2)
    x = rng.normal(size=(2, 3))
    stream.step(x)
    kept, locked = stream.state, np.ones((2, 2), np.float32)
    locked.flags.writeable = False
    for given, out in ((x[0], None), (x, np.ones(3)), (x, locked), ("a", None), (x, "a"), (bytes(3), None)):
        with pytest.raises((TypeError, ValueError)):
            stream.step(given, out=out)
        assert stream.state == kept
    words = gc.Stream(NETWORKS["language model"].make(), 2)
    words.step([1, 2])
    kept = words.state
    with pytest.raises(ValueError, match="0 to 8 wanted, got 1 to 9"):
        words.step([1, 9])
    assert words.state == kept
