"""A sample's float32 output and gradients do not depend on what else there is; the gradients of weights do not depend on threads.

Random networks over at least 256 steps: in other batches, padded, in chunks of time, on 1 to 8 threads, in training and inference, in other
layouts of memory, on every instruction set that this machine has (NEON: the C++ tests on an emulator).  Equal means every bit.
Not here: lengths over every cell (test_lengths.py), masks of dropout (test_dropout.py), products (test_products.py).
"""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatecell
import pages
from gatecell import nn, optim
from gatecell.nn import functional as F
from gatecell.tensor import bptt, engine

CELLS = pages.EVERY
POINTS = (nn.Tanh, nn.Sigmoid, nn.ReLU, lambda: nn.Softmax(-1), lambda: nn.LogSoftmax(-1), lambda: nn.Dropout(0.3))


@pytest.fixture(autouse=True)
def threads():
    before = gatecell.get_num_threads()
    yield
    gatecell.set_num_threads(before)


class Net(nn.Module):
    """One or two stacks of random cells, between and after them linear layers, layer norms, activations and dropout; sizes odd and even."""

    def __init__(self, rng, both_ways):
        self.inputs, self.batch_first = int(rng.integers(1, 12)), bool(rng.integers(2))
        self.units = nn.Standardize(rng.normal(size=self.inputs), rng.uniform(0.5, 2, self.inputs))
        self.parts, width = nn.ModuleList(), self.inputs
        for _ in range(rng.integers(1, 3)):
            cell, hidden = CELLS[rng.integers(len(CELLS))], int(rng.integers(1, 40))
            layers = int(rng.integers(1, 3))
            projection = 0 if cell.axis(cell.states[0]) == "H" else int(rng.integers(1, 9))
            self.parts.append(
                nn.Recurrent(
                    cell, width, hidden, num_layers=layers, bidirectional=both_ways and bool(rng.integers(2)),
                    proj_size=projection, dropout=0.2 * (layers > 1), batch_first=self.batch_first,
                )
            )  # fmt: skip
            width = (projection or hidden) * (1 + self.parts[-1].bidirectional)
            for _ in range(rng.integers(0, 3)):
                kind = rng.integers(len(POINTS) + 2)
                if kind < len(POINTS):
                    self.parts.append(POINTS[kind]())
                elif kind == len(POINTS):
                    self.parts.append(nn.LayerNorm(width))
                else:
                    self.parts.append(nn.Linear(width, width := int(rng.integers(1, 30))))
        self.outputs = width

    def forward(self, x, states=None, lengths=None):
        states, ends = list(states or [None] * len(self.parts)), []
        x = self.units(x)
        for part, state in zip(self.parts, states, strict=True):
            if isinstance(part, nn.Recurrent):
                x, state = part(x, state, lengths)
            else:
                x = part(x)
            ends.append(state)
        return x, ends


def network(seed, both_ways=False):
    """The network, and a function that draws, for `rows` samples of `steps` steps, inputs and gradients of the output, time first."""
    rng = np.random.default_rng(seed)
    gatecell.manual_seed(seed)
    net = Net(rng, both_ways)
    return net, lambda steps, rows: [rng.normal(size=(steps, rows, n)).astype(np.float32) for n in (net.inputs, net.outputs)]


def run(net, x, dy, chunks=(), lengths=None, **place):
    """Output and gradient of the input, time first, and the gradients of the weights; time cut at `chunks`, states carried."""
    turn = (lambda a: a.swapaxes(0, 1)) if net.batch_first else (lambda a: a)
    net.zero_grad()
    pieces, states, loss = [], None, 0.0
    ends = (*chunks, len(x))
    for begin, end in zip((0, *chunks), ends, strict=True):
        pieces.append([gatecell.tensor(turn(x[begin:end]), requires_grad=True)])
        with gatecell.dropout_at(3, step=begin, batch_first=net.batch_first, **place):
            y, states = net(pieces[-1][0], states, lengths)
        pieces[-1].append(y)
        loss = loss + (y * gatecell.tensor(turn(dy[begin:end]))).sum()
    loss.backward()
    outputs = np.concatenate([turn(y.data) for _, y in pieces])
    return outputs, np.concatenate([turn(np.asarray(x.grad)) for x, _ in pieces]), [np.array(p.grad) for p in net.parameters()]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=12)
@given(seed=seeds, both_ways=st.booleans(), T=st.sampled_from([256, 257, 300]), B=st.sampled_from([2, 5, 9, 17]))
def test_the_batch_around_a_sample(seed, both_ways, T, B):
    net, draw = network(seed, both_ways)
    x, dy = draw(T, B)
    whole = run(net, x, dy)
    for rows in ([B - 1], list(np.random.default_rng(seed).permutation(B)[: B // 2])):
        part = run(net, x[:, rows], dy[:, rows], samples=rows)
        assert same(part[:2], [a[:, rows] for a in whole[:2]])


@settings(max_examples=8)
@given(seed=seeds, both_ways=st.booleans(), T=st.sampled_from([256, 271]), B=st.sampled_from([1, 4, 9]))
def test_padding(seed, both_ways, T, B):
    """A batch padded with NaN, and rows that end early, against each row alone."""
    net, draw = network(seed, both_ways)
    x, dy = draw(T + 40, B)
    lengths = np.random.default_rng(seed).integers(1, T + 1, B)
    lengths[0] = T
    beyond = np.arange(T + 40)[:, None] >= lengths
    x[beyond], dy[beyond] = np.nan, 0
    y, dx, _ = run(net, np.where(beyond[:, :, None], 0, x), dy, lengths=lengths)  # NaN would pass what comes after the last recurrence
    for b, n in enumerate(lengths):
        alone = run(net, x[:n, [b]], dy[:n, [b]], samples=[b])
        assert same(alone[:2], (y[:n, [b]], dx[:n, [b]]))


@settings(max_examples=12)
@given(seed=seeds, T=st.sampled_from([256, 257, 300]), B=st.sampled_from([1, 3, 8]), cuts=st.sets(st.integers(1, 255), min_size=1))
def test_chunks_of_time(seed, T, B, cuts):
    net, draw = network(seed)
    x, dy = draw(T, B)
    assert same(run(net, x, dy, sorted(cuts))[:2], run(net, x, dy)[:2])


@settings(max_examples=8)
@given(seed=seeds, both_ways=st.booleans())
def test_threads(seed, both_ways):
    """Enough rows for eight; weights' gradients, too."""
    net, draw = network(seed, both_ways)
    x, dy = draw(256, 66)
    results = []
    for n in range(1, 9):
        gatecell.set_num_threads(n)
        y, dx, weights = run(net, x, dy)
        results.append([y, dx, *weights])
    assert all(same(r, results[0]) for r in results[1:])


def arrays(o):
    """Copies of all arrays in dictionaries and tuples."""
    if isinstance(o, np.ndarray):
        return [o.copy()]
    return [a for v in (o.values() if isinstance(o, dict) else o) for a in arrays(v)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", pages.EVERY, ids=lambda c: c.name)
def test_threads_that_share_the_units_of_a_few_rows(cell, dtype, rng):
    """Sizes at which they do: forward, kept and not, and back; compiled and interpreted.  Who joins when differs from run to run."""
    for interpret, ragged in ((False, False), (False, True), (True, False)):
        T, B, I, H, M = (int(rng.integers(*ends)) for ends in ((150, 260), (1, 8), (1, 60), (150, 260), (60, 100)))
        w, x, start = pages.draw(cell, rng, T, B, {"I": I, "H": H, "M": M}, scale=1 / np.sqrt(H + I))
        w, start = ({k: v.astype(dtype) for k, v in d.items()} for d in (w, start))
        sizes = {"I": I, "H": H} | {cell.axis(s): v.shape[1] for s, v in start.items()}
        x, lengths = x.astype(dtype), rng.integers(0, T + 1, B) if ragged else None
        dy, results = rng.normal(size=(T, B, start[cell.states[0]].shape[1])).astype(dtype), []
        for n in (1, 2, 2, 2, 3, 5, 8):
            gatecell.set_num_threads(n)
            layer = engine.Layer(engine.form(cell, sizes), w, interpret=interpret)
            y, last, saved = bptt.forward(layer, x, start, training=True, lengths=lengths)
            kept = arrays([y, last])
            results.append([*kept, *arrays([bptt.forward(layer, x, start, lengths=lengths)[:2], saved.backward(x, dy, last)])])
        assert all(same(r, results[0]) for r in results[1:])


@settings(max_examples=8)
@given(seed=seeds, both_ways=st.booleans(), B=st.sampled_from([1, 5, 9]))
def test_training_and_inference(seed, both_ways, B):
    """Without dropout: with a tape and without one, kept, computed again, from marks, in both modes."""
    net, draw = network(seed, both_ways)
    x, dy = draw(256, B)
    net.eval()
    y, dx, weights = run(net, x, dy)
    with gatecell.no_grad():
        given_ = x.swapaxes(0, 1) if net.batch_first else x
        assert np.array_equal(net(given_)[0].data, y.swapaxes(0, 1) if net.batch_first else y)
    net.train()
    for part in net.modules():
        if isinstance(part, nn.Recurrent):
            part.dropout, part.recompute = 0.0, True
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    again = run(net, x, dy)
    assert same([y, dx, *weights], [*again[:2], *again[2]])


@pytest.mark.parametrize("loss", ["cross entropy", "smoothed", "mse", "huber", "l1", "with logits", "nll"])
def test_losses_summed(loss, rng):
    """A sample's gradient of a loss that sums over samples: alone as in a batch."""
    net, (x, _) = nn.GRU(3, 11), [rng.normal(size=(256, 7, n)).astype(np.float32) for n in (3, 11)]
    classes, values = rng.integers(0, 11, (256 * 7,)), rng.normal(size=(256, 7, 11)).astype(np.float32)
    functions = {
        "cross entropy": lambda y, c, v: F.cross_entropy(y.reshape(-1, 11), c, reduction="sum"),
        "smoothed": lambda y, c, v: F.cross_entropy(y.reshape(-1, 11), c, reduction="sum", label_smoothing=0.1),
        "mse": lambda y, c, v: F.mse_loss(y, v, "sum"),
        "huber": lambda y, c, v: F.huber_loss(y, v, "sum", 0.3),
        "l1": lambda y, c, v: F.l1_loss(y, v, "sum"),
        "with logits": lambda y, c, v: F.binary_cross_entropy_with_logits(y, v.sigmoid(), reduction="sum"),
        "nll": lambda y, c, v: F.nll_loss(y.log_softmax(-1).reshape(-1, 11), c, reduction="sum"),
    }
    grads = []
    for rows in (slice(None), slice(4, 5)):
        t = gatecell.tensor(x[:, rows], requires_grad=True)
        labels = gatecell.tensor(classes.reshape(256, 7)[:, rows].reshape(-1))
        functions[loss](net(t)[0], labels, gatecell.tensor(values[:, rows])).backward()
        grads.append(np.asarray(t.grad))
    assert np.abs(grads[1]).max() > 0 and np.array_equal(grads[0][:, 4:5], grads[1])


ROWS = {
    "sum": lambda t: t.sum(-1), "mean": lambda t: t.mean(-1), "var": lambda t: t.var(-1, correction=0), "softmax": lambda t: t.softmax(-1),
    "log_softmax": lambda t: t.log_softmax(-1), "exp": lambda t: t.exp(), "tanh": lambda t: t.tanh(), "sigmoid": lambda t: t.sigmoid(),
    "log": lambda t: t.abs().log(), "softplus": F.softplus, "square": lambda t: t**2, "cube": lambda t: t**3.0,
    "layer norm": lambda t: nn.LayerNorm(t.shape[-1])(t), "norm": lambda t: (t * t).sum(-1, keepdim=True).sqrt() * t,
}  # fmt: skip


@pytest.mark.parametrize("units", [1, 2, 15, 17, 130, 1500])
@pytest.mark.parametrize("name", ROWS)
def test_rows_know_neither_neighbours_nor_memory(name, units, rng):
    """Values and gradients of (T, B, N) in C's order, a row alone, and in memory by units, by batch, with gaps and backwards."""
    x, dy = (rng.normal(size=(5, 4, units)).astype(np.float32) * 2 for _ in range(2))

    def results(x, dy):
        t = gatecell.Tensor(x, requires_grad=True)
        y = ROWS[name](t)
        y.backward(gatecell.tensor(dy[..., : y.shape[-1]] if y.ndim == 3 else dy[..., 0]))
        return y.data, np.asarray(t.grad)

    want = results(x, dy)
    for t, b in np.ndindex(5, 4):
        assert same(results(x[t : t + 1, b : b + 1], dy[t : t + 1, b : b + 1]), [a[t : t + 1, b : b + 1] for a in want])
    gaps = np.zeros((5, 4, units, 3), np.float32)
    gaps[..., 1] = x
    by_units, by_batch = x.transpose(2, 0, 1).copy().transpose(1, 2, 0), x.swapaxes(0, 1).copy().swapaxes(0, 1)
    for order in (by_units, by_batch, gaps[..., 1], np.flip(np.flip(x, 2).copy(), 2)):
        assert np.array_equal(order, x) and same(results(order, dy), want)


@pytest.mark.parametrize("name", ["sum", "mean"])
@pytest.mark.parametrize("units", [1, 2, 33])
def test_a_mean_over_time_knows_no_other_sample(name, units, rng):
    x = rng.normal(size=(2000, 3, units)).astype(np.float32)
    whole = getattr(gatecell.tensor(x), name)(0).data
    for b in range(3):
        alone = gatecell.tensor(x[:, b : b + 1].swapaxes(0, 1).copy())  # batch first, too
        assert np.array_equal(getattr(alone, name)(1).data[0], whole[b])


def test_training_steps_know_no_threads(rng):
    """Clipping by the norm and Adam over weights that were summed by 1 to 8 threads."""
    x, target = rng.normal(size=(256, 40, 5)).astype(np.float32), rng.normal(size=(256, 40, 3)).astype(np.float32)
    after = []
    for n in (1, 2, 3, 5, 8):
        gatecell.set_num_threads(n)
        gatecell.manual_seed(6)
        net = nn.ModuleList([nn.LSTM(5, 40, num_layers=2, dropout=0.2), nn.Linear(40, 3)])
        adam = optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(3):
            adam.zero_grad()
            F.mse_loss(net[1](net[0](gatecell.tensor(x))[0]), gatecell.tensor(target)).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.01)
            adam.step()
        after.append([p.data.copy() for p in net.parameters()])
    assert all(same(a, after[0]) for a in after[1:])


def fingerprint():
    """Of some random networks: outputs and gradients."""
    digest = hashlib.sha256()
    for seed in range(12):
        net, draw = network(seed, both_ways=seed % 2 == 1)
        y, dx, weights = run(net, *draw(256, 5))
        for a in (y, dx, *weights):
            digest.update(np.ascontiguousarray(a).tobytes())
    return f"{gatecell.cpu()} {digest.hexdigest()}"


def test_instruction_sets():
    """The core's by name, and NumPy's without all that it chooses at run time."""
    from numpy._core import _multiarray_umath as numpys

    seen = {}
    for cpu in ("avx2", "avx512", "neon"):
        for without in ("", " ".join(f for f in numpys.__cpu_dispatch__ if numpys.__cpu_features__[f])):
            path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
            env = os.environ | {"GATECELL_CPU": cpu, "NPY_DISABLE_CPU_FEATURES": without, "PYTHONPATH": path}
            program = "import test_same_bits; print(test_same_bits.fingerprint())"
            r = subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=env, capture_output=True, text=True, check=False)
            if r.returncode:
                assert "wants one of" in r.stderr, r.stderr
            else:
                name, seen[cpu, without] = r.stdout.split()
                assert name == cpu
    assert len(set(seen.values())) <= 1, seen
    assert gatecell.cpu() == "baseline" or len(seen) >= 2


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [31, 1, 40, 7]])
@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_a_gradient_that_is_the_same_at_every_step_or_everywhere_has_the_bits_of_one_that_is_spread(cell, lengths, reverse):
    rng, (T, B, I) = np.random.default_rng(11), (40, 4, 3)
    sizes = {"I": I, "H": 19, "K": 1} | {cell.axis(s): 19 for s in cell.states}
    drawn = pages.draw(cell, rng, T, B, sizes, scale=1 / 3)
    w, start = ({k: v.astype(np.float32) for k, v in of.items()} for of in drawn[::2])
    x = drawn[1].astype(np.float32)
    layer = engine.Layer(engine.form(cell, sizes), w)
    options = {"reverse": reverse, "training": True, "lengths": None if lengths is None else np.array(lengths)}
    for shape in ((1, B, 19), (1, 1, 19), (1, 1, 1)):
        dy = np.broadcast_to(rng.normal(size=shape).astype(np.float32), (T, B, 19))
        view, spread = (bptt.forward(layer, x, start, **options)[2].backward(x, d, {}) for d in (dy, dy.copy()))
        for name, grad in spread.items():
            assert np.array_equal(view[name], grad), name
