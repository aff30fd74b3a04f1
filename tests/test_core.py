"""The C++ core against the NumPy reference, the papers' loops and itself: every cell, type, instruction set, thread count."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import budgets
import gatecell
import pages
from gatecell import _core, cells, nn
from gatecell.cells import reference
from gatecell.tensor import bptt, engine

every = pytest.mark.parametrize("cell", pages.EVERY, ids=lambda c: c.name)
# Around the width of the vectors and tiles, for the batch and for the units.
SHAPE = st.tuples(
    st.integers(1, 6), st.sampled_from([1, 2, 3, 5, 6, 7, 8, 9, 17, 33]), st.integers(1, 40),
    st.sampled_from([1, 3, 15, 16, 17, 31, 33, 50, 64, 130]), st.sampled_from([1, 5, 16, 20]),
)  # fmt: skip


def cast(values, dtype):
    return {k: v.astype(dtype) for k, v in values.items()}


def both_ways(cell, w, x, start, dy, dlast, reverse, **options):
    layer = engine.Layer(engine.form(cell, sizes_of(cell, x, start)), w, **options)
    y, last, saved = bptt.forward(layer, x, start, reverse=reverse, training=True)
    return y, last, saved.backward(x, dy, dlast)


def sizes_of(cell, x, start):
    return {"I": x.shape[2], "H": next(start[s].shape[1] for s in reversed(cell.states))} | {
        cell.axis(s): v.shape[1] for s, v in start.items()
    }


def same(a, b):
    return all(np.array_equal(a[k], b[k]) for k in a) and set(a) == set(b)


@every
@settings(max_examples=12)
@given(shape=SHAPE, bias=st.booleans(), reverse=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_core_is_the_reference(cell, shape, bias, reverse, seed):
    T, B, I, H, M = shape
    rng = np.random.default_rng(seed)
    w, x, start = pages.draw(cell, rng, T, B, {"I": I, "H": H, "M": M}, bias, scale=1 / np.sqrt(H + I))
    first = cell.states[0]
    turned = (lambda a: a[::-1]) if reverse else (lambda a: a)
    over = reference.forward(cell, w, turned(x), start)
    dy, dlast = rng.normal(size=over[first][1:].shape), {s: rng.normal(size=v.shape) for s, v in start.items()}
    dover = {s: np.zeros_like(v[1:]) for s, v in over.items()}
    dover[first] += turned(dy)
    for s in dover:
        dover[s][-1] += dlast[s]
    want = reference.backward(cell, w, turned(x), over, dover)
    want["x"] = turned(want["x"])
    for dtype, forward_budget, gradient_budget in (
        (np.float64, budgets.CORE_DOUBLE, budgets.CORE_DOUBLE),
        (np.float32, budgets.CORE_FORWARD, budgets.CORE_GRADIENT),
    ):
        given_ = cast(w, dtype), x.astype(dtype), cast(start, dtype), dy.astype(dtype), cast(dlast, dtype), reverse
        y, last, grads = both_ways(cell, *given_)
        assert y.dtype == dtype and set(grads) == set(want)
        assert abs(y - turned(over[first][1:])).max() <= forward_budget * max(1, abs(over[first]).max())
        for s in start:
            assert abs(last[s] - over[s][-1]).max() <= forward_budget * max(1, abs(over[s]).max())
        for k, g in grads.items():
            assert abs(g - want[k]).max() <= gradient_budget * max(1, abs(want[k]).max()), k
        # Compiled steps and the interpreter, inference and training: the same bits.
        y2, last2, grads2 = both_ways(cell, *given_, interpret=True)
        assert np.array_equal(y, y2) and same(last, last2) and same(grads, grads2)
        layer = engine.Layer(engine.form(cell, sizes_of(cell, x, start)), given_[0])
        y3, last3, _ = bptt.forward(layer, given_[1], given_[2], reverse=reverse)
        assert np.array_equal(y, y3) and same(last, last3)


@pytest.mark.parametrize("cell", cells.values(), ids=lambda c: c.name)
def test_registered_cells_run_compiled(cell):
    k = engine.kernel(cell)
    for prepared in (k.infer, k.train, k.back, k.dx):
        compiled, loops = prepared.core.steps
        assert compiled == loops > 0, prepared.plan.name


@every
def test_a_row_is_the_same_alone_and_in_any_batch_and_chunk(cell, rng):
    T, sizes = 29, {"I": 9, "H": 37, "M": 12}
    w, x, start = pages.draw(cell, rng, T, 19, sizes, scale=0.2)
    w, x, start = cast(w, np.float32), x.astype(np.float32), cast(start, np.float32)
    layer = engine.Layer(engine.form(cell, sizes), w)
    y, last, _ = bptt.forward(layer, x, start)
    for rows in (slice(0, 1), slice(3, 5), slice(4, 11)):
        part, end, _ = bptt.forward(layer, x[:, rows], {s: v[rows] for s, v in start.items()})
        assert np.array_equal(part, y[:, rows]) and all(np.array_equal(end[s], last[s][rows]) for s in end)
    middle, state, _ = bptt.forward(layer, x[:4], start)
    rest, end, _ = bptt.forward(layer, x[4:], state)
    assert np.array_equal(np.concatenate([middle, rest]), y) and same(end, last)


@every
def test_threads_change_no_bit(cell, rng):
    w, x, start = pages.draw(cell, rng, 40, 70, {"I": 9, "H": 90, "M": 40}, scale=0.1)  # enough work for five
    w, x, start = cast(w, np.float32), x.astype(np.float32), cast(start, np.float32)
    dy = rng.normal(size=(40, 70, start[cell.states[0]].shape[1])).astype(np.float32)
    before, results = gatecell.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            gatecell.set_num_threads(n)
            results.append(both_ways(cell, w, x, start, dy, {}, False))
    finally:
        gatecell.set_num_threads(before)
    for y, last, grads in results[1:]:
        assert np.array_equal(y, results[0][0]) and same(last, results[0][1]) and same(grads, results[0][2])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cell", cells.values(), ids=lambda c: c.name)
def test_stacked_bidirectional_gradients_are_the_complex_step(cell, bias, batch_first, rng):
    """Two layers, two directions, float64: a sample of entries of every array against the papers' loops."""
    T, B, I, H = 4, 3, 3, 5
    more = {"bidirectional": True, "dtype": np.float64, **pages.options(cell, H)}
    m = nn.Recurrent(cell.name, I, H, num_layers=2, bias=bias, batch_first=batch_first, **more)
    x = rng.normal(size=(B, T, I) if batch_first else (T, B, I))
    starts = pages.started(cell, {s: rng.normal(size=(4, B, m.proj_size if cell.axis(s) == "M" else H)) for s in cell.states})
    inputs = gatecell.tensor(x, requires_grad=True)
    hx = tuple(gatecell.tensor(v, requires_grad=True) for v in starts.values())
    y, last = m(inputs, hx if len(hx) > 1 else hx[0])
    dy, dlast = rng.normal(size=y.shape), [rng.normal(size=h.shape) for h in hx]
    ends = last if isinstance(last, tuple) else (last,)
    loss = (y * gatecell.tensor(dy)).sum()
    for e, d in zip(ends, dlast, strict=True):
        loss = loss + (e * gatecell.tensor(d)).sum()
    loss.backward()
    values = {n: p.data for n, p in m.named_parameters()} | {"x": x} | starts
    grads = {n: p.grad for n, p in m.named_parameters()} | {"x": inputs.grad} | dict(zip(starts, (h.grad for h in hx), strict=True))

    def plain(v):
        over, out = (v["x"].swapaxes(0, 1) if batch_first else v["x"]), 0.0
        for layer in range(2):
            sides = []
            for d, suffix in enumerate(("", "_reverse")):
                names = {k: f"{cell.torch_name(k)}_l{layer}{suffix}" for k in cell.shapes(dict.fromkeys("IHMK", 1), bias=bias)}
                row = 2 * layer + d
                states = pages.run_textbook(
                    cell, {k: v[n] for k, n in names.items()}, over[::-1] if d else over, {s: v[s][row] for s in starts}
                )
                out += sum((states[s][-1] * dlast[j][row]).sum() for j, s in enumerate(starts))
                sides.append(states[cell.states[0]][::-1] if d else states[cell.states[0]])
            over = np.concatenate(sides, -1)
        return out + (over * (dy.swapaxes(0, 1) if batch_first else dy)).sum()

    for name, v in values.items():
        for flat in rng.choice(v.size, min(v.size, 6), replace=False):
            q = {k: a.astype(complex) for k, a in values.items()}
            q[name].reshape(-1)[flat] += 1e-30j
            g = np.asarray(grads[name]).reshape(-1)[flat]
            assert abs(plain(q).imag / 1e-30 - g) <= budgets.CORE_DOUBLE * max(1, abs(np.asarray(grads[name])).max()), name


PROGRAM = """
import hashlib, sys
import numpy as np
import gatecell, pages
from gatecell.tensor import bptt, engine
digest = hashlib.sha256()
for cell in pages.EVERY:
    rng = np.random.default_rng(5)
    w, x, start = pages.draw(cell, rng, 6, 7, {"I": 5, "H": 35, "M": 9}, scale=0.2)
    w, x, start = ({k: v.astype(np.float32) for k, v in a.items()} if isinstance(a, dict) else a.astype(np.float32) for a in (w, x, start))
    layer = engine.Layer(engine.form(cell, {"I": 5, "H": 35, "M": 9}), w)
    y, last, saved = bptt.forward(layer, x, start, training=True)
    grads = saved.backward(x, y, last)
    exact = [{k: v.astype(float) for k, v in a.items()} if isinstance(a, dict) else a.astype(float) for a in (w, x, start)]
    want = pages.run_textbook(cell, *exact)
    assert abs(y - want[cell.states[0]]).max() < float(sys.argv[1]), cell.name
    for a in (y, *grads.values()):
        digest.update(np.ascontiguousarray(a).tobytes())
print(gatecell.cpu(), digest.hexdigest())
"""


def forced(cpu, *args):
    env = os.environ | {"GATECELL_CPU": cpu, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    return subprocess.run([sys.executable, "-c", PROGRAM, *args], env=env, capture_output=True, text=True, check=False)


def test_every_instruction_set_that_this_machine_has():
    """Forced by name; the sets with fused multiply-add give the same bits, forward and backward."""
    seen = {}
    for cpu in ("baseline", "avx2", "avx512", "avx512vnni", "avx512vbmi", "neon"):
        r = forced(cpu, str(budgets.CORE_FORWARD))
        if r.returncode == 0:
            name, seen[cpu] = r.stdout.split()
            assert name == cpu
        else:
            assert "wants one of" in r.stderr, r.stderr
    assert gatecell.cpu() in seen and ("baseline" in seen) == (gatecell.cpu() != "neon")  # which every AArch64 has
    assert len({v for k, v in seen.items() if k != "baseline"}) <= 1


def test_an_unknown_instruction_set_is_refused():
    r = forced("sse9", "1")
    assert r.returncode == 1
    assert "GATECELL_CPU wants one of" in r.stderr and "got sse9" in r.stderr


def test_the_core_refuses_what_is_no_plan():
    e = engine.kernel(cells["lstm"]).infer.encoded
    for k in range(len(e.code)):
        with pytest.raises(ValueError, match="damaged"):
            _core.Plan(e.code[:k], e.constants)
    for k in range(len(e.code)):
        code = list(e.code)
        code[k] = 10**6
        with pytest.raises(ValueError, match="damaged"):
            _core.Plan(code, e.constants)


def test_the_core_refuses_arrays_that_are_too_small(rng):
    cell = cells["gru"]
    w, x, _start = pages.draw(cell, rng, 4, 3, {"I": 2, "H": 5})
    layer = engine.Layer(engine.form(cell, {"I": 2, "H": 5}), w)
    good = layer.empty(5, 3, 16)  # T + 1 slots are wanted
    for h in (good[:4], good[:, :2], good[:, :, :15], np.zeros((), layer.dtype)):
        with pytest.raises(ValueError, match="too small|wants an array"):
            layer.run(layer.form.infer, 4, 3, {"x": x, "h": h, "h'": h})
    with pytest.raises(ValueError, match="contiguous units"):
        layer.run(layer.form.infer, 4, 3, {"x": x[:, :, ::-1], "h": good, "h'": good})
    with pytest.raises(TypeError, match="float32 or float64"):
        layer.run(layer.form.infer, 4, 3, {"x": x.astype(np.float16), "h": good, "h'": good})


def test_the_core_refuses_too_few_sizes_weights_and_arrays():
    form = engine.form(cells["gru"], {"I": 2, "H": 5})
    prepared, w = form.kernel.infer, [(np.zeros((15, n), np.float32), None) for n in (2, 5)]
    for sizes in ([2], []):
        with pytest.raises(ValueError, match="a size for every axis and an extent for every array"):
            _core.Fit(prepared.core, sizes, [None] * len(prepared.encoded.arrays))
    with pytest.raises(ValueError, match="a size for every axis and an extent for every array"):
        _core.Fit(prepared.core, [2, 5], [])
    with pytest.raises(ValueError, match="a weight for every family"):
        _core.Layer(form.infer.core, w[:1], False)
    with pytest.raises(ValueError, match="every array"):
        _core.Layer(form.infer.core, w, False).run(1, 1, [], 1)


OUTER = {"gradient": (3, 2, 16), "gate": 1, "argument": (3, 2, 4), "products": (2, 5, 4), "sums": (2, 5)}


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("gradient", (3, 2, 5), "too small"), ("gradient", (16,), "gradients"), ("gate", 2, "a gate"), ("gate", -1, "a gate"),
        ("argument", (2, 2, 4), "too small"), ("argument", (3, 1, 4), "too small"), ("argument", (3, 2, 3), "too small"),
        ("argument", (1, 3, 2, 4), "wants an array"), ("products", (5, 4), "a place"), ("sums", (2, 4), "sums of shape"),
    ],
)  # fmt: skip
def test_the_core_refuses_sums_of_what_does_not_fit(name, wrong, says):
    def outer(of):
        made = {k: v if k == "gate" else np.ones(v, np.float32) for k, v in of.items()}
        _core.outer([([made["gradient"]], [made["gate"]], made["argument"], made["products"], made["sums"])], 1)
        return made

    made = outer(OUTER)
    assert (made["products"][1] == 7).all() and (made["sums"][1] == 7).all() and (made["products"][0] == 1).all()
    with pytest.raises(ValueError, match=says):
        outer(OUTER | {name: wrong})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_sums_of_several_terms_are_the_plain_sums_and_those_of_each_alone(dtype, threads):
    rng, T, B = np.random.default_rng(5), 37, 30

    def drawn(*shape):
        return rng.normal(size=shape).astype(dtype)

    a, b, c = drawn(T, B, 112), drawn(T, B, 112), drawn(T, B, 16)  # the first two of 100 units, the last of 7
    x, h, parameter = drawn(T, B, 13), drawn(T + 1, B, 50), drawn(B, 1)  # one is the same at every step

    def terms():
        return [
            ([a, b], [1, 0], x, np.ones((2, 100, 13), dtype), np.ones((2, 100), dtype)),
            ([a, b], [0, 1], h[:T], np.ones((2, 100, 45), dtype), None),
            ([c], [0], h[1:], np.ones((1, 7, 50), dtype), np.ones((1, 7), dtype)),
            ([a], [0], parameter, np.ones((1, 100, 1), dtype), None),
            ([c], [0], None, None, np.ones((1, 7), dtype)),
        ]

    def wide(array, units):
        return np.broadcast_to(array, (T, B, array.shape[-1]))[..., :units].astype(np.float64)

    together, apart = terms(), terms()
    for called in (together, *([term] for term in apart)):
        _core.outer(called, threads, None, True)
    for (gradients, gates, argument, places, sums), (*_, alone, alone_sums) in zip(together, apart, strict=True):
        for out, same in ((places, alone), (sums, alone_sums)):
            assert out is same is None or np.array_equal(out, same)
        for gradient, gate in zip(gradients, gates, strict=True):
            if places is not None:
                want = 1 + np.einsum("tbn,tbm->nm", wide(gradient, places.shape[1]), wide(argument, places.shape[2]))
                assert np.abs(places[gate] - want).max() <= budgets.OUTER[dtype]
            if sums is not None:
                assert np.abs(sums[gate] - 1 - wide(gradient, sums.shape[1]).sum(axis=(0, 1))).max() <= budgets.OUTER[dtype]


def test_the_core_refuses_sums_into_what_is_not_its_to_write():
    g, x, out = (np.ones(OUTER[k], np.float32) for k in ("gradient", "argument", "products"))
    with pytest.raises(ValueError, match="contiguous places"):
        _core.outer([([g], [0], x, out.swapaxes(0, 1).copy().swapaxes(0, 1), None)], 1)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        _core.outer([([g], [0], x, out, None)], 1)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_set_num_threads_checks(value, error):
    before = gatecell.get_num_threads()
    with pytest.raises(error, match="wants"):
        gatecell.set_num_threads(value)
    assert gatecell.get_num_threads() == before


def test_fork_after_use(rng):
    """A child of a process whose pool has run works, and so does its parent afterwards."""
    program = (
        "import os, numpy as np, gatecell\nfrom gatecell import nn\ngatecell.set_num_threads(2)\nm = nn.Recurrent('gru', 4, 200)\n"
        "x = np.ones((9, 64, 4), np.float32)\na = m(x)[0].numpy()\npid = os.fork()\n"
        "ok = np.array_equal(m(x)[0].numpy(), a)\nif pid == 0: os._exit(0 if ok else 1)\n"
        "_, status = os.waitpid(pid, 0)\nassert ok and status == 0"
    )
    r = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert r.returncode == 0, r.stderr


@pytest.mark.parametrize("cell", cells.values(), ids=lambda c: c.name)
def test_backward_again_with_retain_graph(cell, rng):
    """The way back writes over what was kept, and yet comes twice to the same bits."""
    m = nn.Recurrent(cell.name, 3, 18, num_layers=2)
    x = gatecell.tensor(rng.normal(size=(6, 4, 3)).astype(np.float32), requires_grad=True)
    loss = (m(x)[0] ** 2).sum()
    seen = []
    for retain in (True, False):
        x.grad = None
        m.zero_grad()
        loss.backward(retain_graph=retain)
        seen.append([np.array(x.grad), *(np.array(p.grad) for p in m.parameters())])
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))


@pytest.mark.parametrize("hidden", [16, 33, 64])
@pytest.mark.parametrize("cell", cells.values(), ids=lambda c: c.name)
def test_tiles_in_registers_are_the_interpreter(cell, hidden, rng):
    """Every height of a tile, and the single row of a stream: the same bits, forward and back."""
    for batch in (1, 2, 3, 4, 5, 6, 7, 8, 9, 23):
        w, x, start = pages.draw(cell, rng, 3, batch, {"I": 37, "H": hidden, "M": hidden // 2}, scale=1 / 6)
        w, x, start = cast(w, np.float32), x.astype(np.float32), cast(start, np.float32)
        dy = rng.normal(size=(3, *start[cell.states[0]].shape)).astype(np.float32)
        (y, last, grads), want = (both_ways(cell, w, x, start, dy, {}, False, interpret=interpret) for interpret in (False, True))
        inferred = bptt.forward(engine.Layer(engine.form(cell, sizes_of(cell, x, start)), w), x, start)[0]
        assert np.array_equal(y, want[0]) and np.array_equal(inferred, y)
        assert all(np.array_equal(last[s], want[1][s]) for s in last)
        assert all(np.array_equal(grads[k], want[2][k]) for k in grads)


def test_large_arrays_are_reused_and_bounded():
    """The block of a dropped array serves the next of its size; random sizes leave no more than the bound behind."""
    a = _core.empty((1 << 18,), np.dtype(np.float32))
    where = a.ctypes.data
    del a
    assert _core.empty((1 << 18,), np.dtype(np.float32)).ctypes.data == where
    before = resident()
    sizes = np.random.default_rng(0).integers(1 << 18, 1 << 24, 400)
    for n in sizes:
        _core.empty((int(n),), np.dtype(np.uint8))[::4096] = 1
    assert resident() - before < (1 << 28) + (1 << 26)


def resident():
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
