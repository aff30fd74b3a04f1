"""Forged integer models: descriptions and arrays changed at random are refused with a ValueError, or are models that run.

By hand, for so many seconds from a seed:  PYTHONPATH=python:tests python tests/campaigns/forged_integers.py 300 1
What runs is compared: the core with the Python definition, which checks every value against its proven interval.
Not here: files and their checksums (test_files.py).
"""

import copy
import json
import sys
import time
from collections import Counter

import numpy as np

import pages
from gatecell import cells, nn
from gatecell.algebra.model import FloatLayer, FloatModel
from gatecell.deploy.graph import Input, Output
from gatecell.deploy.integer import Runner
from gatecell.deploy.quantize import quantize
from gatecell.deploy.quantized import QuantizedModel
from gatecell.deploy.quantizer import quantize_model

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    5,
    7,
    8,
    15,
    16,
    30,
    31,
    32,
    127,
    -127,
    32767,
    -32768,
    65536,
    2**24 + 1,
    2**31 - 1,
    -(2**31),
    2**40,
    -(2**60),
    10**30,
)
OTHERS = (
    None,
    True,
    False,
    0.5,
    "",
    "x",
    "h",
    "H",
    "I",
    "1",
    "W.i",
    "a.b.c",
    "p.i",
    "int",
    "*/",
    "a\nb",
    "read",
    "write",
    "const",
    "clamp",
    [],
    {},
    [0],
    ["x"],
)
DTYPES = ("i1", "i2", "i4", "i8", "u1", "u2", "f4", "f8", ">i2", "?", "U1", "O")


def bases(rng):
    """Arrays of models with all that a description can say: stacks, heads, two loops, two axes, parameters."""
    x = rng.normal(size=(60, 2, 3)).astype(np.float32)
    deep = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    yield quantize(deep, x, input_bits=8)
    for k, cell in enumerate(("lstm", "gru", "gru_before", "rnn_relu")):
        yield quantize(nn.Recurrent(cell, 3, 4, 2), x, ("w8a8", "w8a16")[k % 2])
    for k, page in enumerate((*map(cells.get, ("lstm_peephole", "lstm_projected", "mgu")), pages.delay)):
        sizes = {"I": 3, "H": 4, "M": 2}
        weights = {key: rng.normal(0, 0.5, s).astype(np.float32) for key, s in page.shapes(sizes).items()}
        layer = FloatLayer(page.signature, page.program, weights, sizes)
        model = quantize_model(FloatModel((layer,), np.zeros(3), np.ones(3)), x, ("w8a16", "w8a8")[k % 2], 16)
        axes = ("time", "batch", "feature")
        yield QuantizedModel(model, Input("real", 3, axes), Output("y", model.outputs, axes))


def places(value, path=()):
    """Every path into a JSON value but its own."""
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, k)
        yield from places(v, (*path, k))


def at(value, path):
    for k in path:
        value = value[k]
    return value


def pick(rng, items):
    return items[rng.integers(len(items))]


def forge_description(rng, d):
    """One change: a value, a key, the order or number of a list's elements, a part of it elsewhere."""
    every = list(places(d))
    if not every:
        return
    *inside, last = pick(rng, every)
    parent, old = at(d, inside), at(d, (*inside, last))
    kind = rng.integers(8)
    if kind == 0:
        del parent[last]
    elif kind == 1 and isinstance(parent, list):
        parent.insert(int(rng.integers(len(parent) + 1)), copy.deepcopy(old))
    elif kind == 2 and isinstance(parent, list):
        rng.shuffle(parent)
    elif kind == 3 and isinstance(parent, dict):
        parent[pick(rng, [str(o) for o in OTHERS] + list(parent))] = parent.pop(last)
    elif kind == 4:
        parent[last] = copy.deepcopy(at(d, pick(rng, every)))
    elif kind == 5:
        parent[last] = copy.deepcopy(pick(rng, OTHERS))
    elif type(old) is int:
        parent[last] = old + int(rng.integers(-2, 3)) if kind == 6 else pick(rng, NUMBERS)
    else:  # another value of its own kind
        parent[last] = copy.deepcopy(pick(rng, [v for v in (at(d, p) for p in every) if type(v) is type(old)]))


def forge_array(rng, arrays):
    """One change: an array's values, type, shape, name or presence."""
    name = pick(rng, list(arrays))
    a, kind = np.atleast_1d(arrays[name]), rng.integers(9)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[pick(rng, [*arrays, "0.x", "9.W", "x"])] = arrays.pop(name)
    elif kind == 2:
        with np.errstate(invalid="ignore"):
            arrays[name] = (a if a.dtype.kind in "fiub" else np.zeros(a.shape)).astype(pick(rng, DTYPES))
    elif kind == 3:
        arrays[name] = pick(rng, [a[:-1], a[None], a.ravel(), a.T, a[:0], np.concatenate([a, a]), np.zeros((), a.dtype), a.tolist()])
    elif kind == 4 and a.size:
        a.reshape(-1)[rng.integers(a.size)] = 0
    elif kind == 5 and a.dtype.kind == "f" and a.size:
        a.reshape(-1)[rng.integers(a.size)] = pick(rng, [np.nan, np.inf, -np.inf, -1.0, 1e-45, 3e38])
    elif a.dtype.kind in "iu" and a.size:
        ends = np.iinfo(a.dtype)
        a.reshape(-1)[rng.integers(a.size) if kind < 8 else slice(None)] = (
            rng.integers(ends.min, ends.max, endpoint=True) if kind == 6 else pick(rng, [ends.min, ends.max])
        )


def runs(rng, q):
    """The model takes rails and random integers, from the whole down to one step; the core's bits are the definition's."""
    top = 2 ** (q.model.input_bits - 1) - 1
    x = rng.integers(-top, top + 1, (7, 3, q.model.inputs))
    x[2], x[3] = top, -top
    want = Runner(q.model, 3, check=True).run(x)
    states = q.core.start(3)
    np.testing.assert_array_equal(np.concatenate([q.core.run(x[:3], states), q.core.run(x[3:], states)]), want)
    shape = [{"time": 4, "batch": 2, "feature": q.input.size}[axis] for axis in q.input.axes]
    y = q(rng.normal(size=shape))
    assert y.dtype == np.float32 and np.isfinite(y).all() and len(y.shape) == len(q.output.axes)
    one = rng.normal(size=[{"time": 1, "batch": 2, "feature": q.input.size}[axis] for axis in q.input.axes])
    y = q.stream(2).step(one.take(0, q.input.axes.index("time")))
    np.testing.assert_array_equal(y, q(one).take(0, q.output.axes.index("time")) if "time" in q.output.axes else q(one))
    again = QuantizedModel.from_arrays(q.to_arrays())
    np.testing.assert_array_equal(Runner(again.model, 3).run(x), want)


def forged(rng, originals):
    """A model's arrays with one to three changes."""
    arrays = {k: v.copy() for k, v in pick(rng, originals).items()}
    text = arrays["description"]
    before = text.tobytes()
    d = json.loads(before)
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.7:
            forge_description(rng, d)
        elif arrays:
            forge_array(rng, arrays)
    if arrays.get("description") is text and text.tobytes() == before:
        arrays["description"] = np.frombuffer(json.dumps(d).encode(), np.uint8)
    return arrays


def campaign(seed, count=None, seconds=np.inf):
    """-> how many were refused and how many ran; any other end is the driver's own exception, with the seed of its case."""
    originals = [q.to_arrays() for q in bases(np.random.default_rng(seed))]
    ends, until, case = Counter(), time.monotonic() + seconds, 0
    while case != count and time.monotonic() < until:
        rng = np.random.default_rng([seed, case])
        arrays = forged(rng, originals)
        try:
            q = QuantizedModel.from_arrays(arrays)
        except ValueError as e:
            ends["refused" if str(e) else "refused without a word"] += 1
        except Exception as e:
            raise AssertionError(f"case {seed}, {case}: from_arrays ended with {e!r}") from e
        else:
            try:
                runs(rng, q)
            except Exception as e:
                raise AssertionError(f"case {seed}, {case}: loaded, then {e!r}") from e
            ends["ran"] += 1
        case += 1
    return ends


if __name__ == "__main__":
    print(dict(campaign(int(sys.argv[2]), seconds=float(sys.argv[1]))))
