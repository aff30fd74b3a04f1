"""Layers and blocks made of scans: against transformers, the papers' equations and torch; one step at a time; streams.

Not here: the scans themselves (test_scans.py).
"""

import numpy as np
import pytest

import budgets
import gatecell
import textbook_scans as textbook
from conftest import need_package
from gatecell import nn

LAYERS = {
    "mamba": lambda dtype=None: nn.Mamba(6, d_state=5, d_conv=3, dtype=dtype),
    "mlstm": lambda dtype=None: nn.MLSTM(6, 8, num_heads=2, dtype=dtype),
    "mlstm block": lambda dtype=None: nn.MLSTMBlock(6, num_heads=2, dtype=dtype),
    "s4d": lambda dtype=None: nn.S4D(6, d_state=10, dtype=dtype),
    "rwkv attention": lambda dtype=None: nn.RWKVAttention(6, 9, dtype=dtype),
    "rwkv feed forward": lambda dtype=None: nn.RWKVFeedForward(6, dtype=dtype),
    "rwkv block": lambda dtype=None: nn.RWKVBlock(6, first=True, dtype=dtype),
}
STREAMS = ["mamba", "mlstm", "s4d", "rwkv attention", "rwkv feed forward"]


def relative(got, want):
    return abs(np.asarray(got) - np.asarray(want)).max() / max(1e-30, abs(np.asarray(want)).max())


def randomised(module, rng):
    """Parameters moved from where they start, so that none is 0 or all the same."""
    for p in module.parameters():
        p.data[...] += 0.1 * rng.normal(size=p.shape)
    return module


def as_transformers(ours, theirs, x, budget, gradients):
    """Loads their weights, and compares outputs and gradients of every parameter and of x."""
    import torch

    for p in theirs.parameters():
        torch.nn.init.normal_(p, 0.0, 0.3)  # some are not initialised at all
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    a, b = torch.tensor(x, requires_grad=True), gatecell.tensor(x, requires_grad=True)
    y, z = theirs(a), ours(b)[0]
    y = y[0] if isinstance(y, tuple) else y
    assert relative(z.data, y.detach().numpy()) < budget
    seed = np.random.default_rng(1).normal(size=y.shape)
    y.backward(torch.tensor(seed))
    z.backward(gatecell.tensor(seed))
    assert relative(b.grad.data, a.grad.numpy()) < gradients
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        assert relative(p.grad.data, named[name].grad.numpy()) < gradients, name


def test_mamba_is_transformers(rng):
    need_package("transformers")
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(hidden_size=12, state_size=5, num_hidden_layers=1, vocab_size=9, conv_kernel=4, expand=2, use_mambapy=False)
    x = rng.normal(size=(2, 11, 12))
    theirs = MambaMixer(config, 0).double()
    as_transformers(nn.Mamba(12, d_state=5, dtype=np.float64), theirs, x, budgets.SCAN_IN_FLOAT, budgets.SCAN_IN_FLOAT)


def test_rwkv_is_transformers(rng):
    need_package("transformers")
    from transformers.models.rwkv.modeling_rwkv import RwkvBlock, RwkvConfig

    config = RwkvConfig(vocab_size=9, hidden_size=12, num_hidden_layers=1, attention_hidden_size=10, intermediate_size=20)
    theirs = RwkvBlock(config, 0).double()
    ours = nn.RWKVBlock(12, 10, 20, first=True, dtype=np.float64)
    as_transformers(ours, theirs, rng.normal(size=(2, 9, 12)), budgets.SCAN_IN_FLOAT, budgets.SCAN_IN_FLOAT)


def test_selective_scan_is_torchs_formulation(rng):
    import torch

    B, T, H, N = 2, 8, 7, 3
    shapes = {"x": (B, T, H), "dt": (B, T, H), "A": (H, N), "B": (B, T, N), "C": (B, T, N), "D": (H,), "state": (B, H, N)}
    given = {k: rng.normal(size=s) for k, s in shapes.items()}
    given["dt"], given["A"] = abs(given["dt"]), -abs(given["A"])
    a = {k: torch.tensor(v, requires_grad=True) for k, v in given.items()}
    s, ys = a["state"], []
    for t in range(T):
        dt = a["dt"][:, t, :, None]
        s = torch.exp(dt * a["A"]) * s + dt * a["B"][:, t, None] * a["x"][:, t, :, None]
        ys.append((s * a["C"][:, t, None]).sum(-1) + a["D"] * a["x"][:, t])
    b = {k: gatecell.tensor(v, requires_grad=True) for k, v in given.items()}
    y, last = nn.selective_scan(**b)
    want = torch.stack(ys, 1)
    assert relative(y.data, want.detach()) < budgets.SCAN_LAYER and relative(last.data, s.detach()) < budgets.SCAN_LAYER
    seeds = rng.normal(size=want.shape), rng.normal(size=s.shape)
    ((want * torch.tensor(seeds[0])).sum() + (s * torch.tensor(seeds[1])).sum()).backward()
    ((y * gatecell.tensor(seeds[0])).sum() + (last * gatecell.tensor(seeds[1])).sum()).backward()
    for k in given:
        assert relative(b[k].grad.data, a[k].grad) < budgets.SCAN_LAYER_GRADIENT, k


# The matrix memory's forms.


def memory(rng, B=2, T=13, K=2, N=5, H=4, dtype=np.float64):
    q, k, v = (rng.normal(size=(B, T, K * n)).astype(dtype) for n in (N, N, H))
    i, f = (rng.normal(size=(B, T, K)).astype(dtype) + shift for shift in (0, 2))
    return q, k, v, i.astype(dtype), f.astype(dtype)


@pytest.mark.parametrize("chunk", [None, 1, 4, 13, 50])
def test_memory_in_every_form_is_the_papers_parallel_one(chunk, rng):
    given = memory(rng)
    y, _ = nn.mlstm(*map(gatecell.tensor, given), chunk=chunk)
    for head in range(2):
        q, k, v, i, f = (np.swapaxes(a, 0, 1)[..., head * a.shape[2] // 2 : (head + 1) * a.shape[2] // 2] for a in given)
        want = textbook.mlstm_parallel(q, k / np.sqrt(5), v, i[..., 0], f[..., 0])
        assert relative(y.data[..., head * 4 : head * 4 + 4], np.swapaxes(want, 0, 1)) < budgets.SCAN_LAYER


@pytest.mark.parametrize("chunk", [3, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_agree_with_the_recurrence(chunk, dtype, rng):
    """From a state, with the states and gradients; and a state may be handed from one form to the other."""
    given, before = memory(rng, T=20, dtype=dtype), memory(rng, T=6, dtype=dtype)
    start = nn.mlstm(*map(gatecell.tensor, before))[1]
    forms, seed = [], rng.normal(size=(2, 20, 8)).astype(dtype)
    for form in (None, chunk):
        tensors = [gatecell.tensor(a, requires_grad=True) for a in given]
        state = {s: gatecell.tensor(t.data, requires_grad=True) for s, t in start.items()}
        y, last = nn.mlstm(*tensors, state, chunk=form)
        (y * gatecell.tensor(seed)).sum().backward()
        gradients = [t.grad.data for t in (*tensors, *state.values())]
        forms.append([y.data, *(t.data for t in last.values()), *gradients])
    budget = budgets.SCAN_FORMS if dtype is np.float32 else budgets.SCAN_LAYER_GRADIENT
    for k, (a, b) in enumerate(zip(*forms, strict=True)):
        assert relative(b, a) < budget, k


def test_memory_block_is_the_papers(rng):
    block = randomised(nn.MLSTMBlock(6, num_heads=2, qkv_proj_blocksize=3, dtype=np.float64), rng)
    x = rng.normal(size=(2, 9, 6))
    w = {k: t.data for k, t in block.state_dict().items()}
    want = [textbook.mlstm_block(w, row, heads=2, blocks=4) for row in x]
    assert relative(block(gatecell.tensor(x))[0].data, want) < budgets.SCAN_LAYER


# S4D.


def test_state_space_is_its_convolution(rng):
    layer = randomised(nn.S4D(6, d_state=8, dtype=np.float64), rng)
    u = rng.normal(size=(2, 30, 6))
    w = {k: t.data for k, t in layer.state_dict().items()}
    k = textbook.s4d_kernel(*(w["kernel." + n] for n in ("log_dt", "C", "log_A_real", "A_imag")), 30)
    want = np.array([[sum(k[j] * row[t - j] for j in range(t + 1)) + w["D"] * row[t] for t in range(30)] for row in u])
    seed, gradients = gatecell.tensor(rng.normal(size=want.shape)), []
    for form in (lambda x: layer(x)[0], layer.convolve):
        layer.zero_grad()
        x = gatecell.tensor(u, requires_grad=True)
        y = form(x)
        assert relative(y.data, want) < budgets.SCAN_FOURIER
        (y * seed).sum().backward()
        gradients.append([x.grad.data.copy(), *(p.grad.data.copy() for p in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert relative(b, a) < budgets.SCAN_FOURIER


# All of them.


@pytest.mark.parametrize("name", LAYERS)
def test_a_sequence_may_be_cut_anywhere_down_to_steps(name, rng):
    layer = randomised(LAYERS[name](), rng)
    x = rng.normal(size=(2, 9, 6)).astype(np.float32)
    whole, end = layer(x)
    state, outputs = None, []
    for t in range(9):
        y, state = layer.step(x[:, t], state)
        outputs.append(y.data)
    assert np.array_equal(np.stack(outputs, 1), whole.data)
    assert all(np.array_equal(state[k].data, end[k].data) for k in end) and set(state) == set(end)
    assert sum(t.data.size for t in state.values()) < 2 * 6 * 200  # and its size does not grow


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_differences(name, rng):
    layer = randomised(LAYERS[name](np.float64), rng)
    x, seed = rng.normal(size=(2, 5, 6)), rng.normal(size=(2, 5, layer(np.zeros((1, 1, 6)))[0].shape[2]))

    def loss():
        return (layer(gatecell.tensor(x))[0] * gatecell.tensor(seed)).sum()

    loss().backward()
    for label, p in layer.named_parameters():
        at = tuple(rng.integers(n) for n in p.shape)
        old, sides = p.data[at], []
        for step in (1e-5, -1e-5):
            p.data[at] = old + step
            sides.append(loss().item())
        p.data[at] = old
        assert abs((sides[0] - sides[1]) / 2e-5 - p.grad.data[at]) < budgets.SCAN_DIFFERENCE * max(1, abs(p.grad.data).max()), label


@pytest.mark.parametrize("name", STREAMS)
def test_streams_give_the_bits_of_a_sequence(name, rng):
    layer = randomised(LAYERS[name](), rng)
    x = rng.normal(size=(9, 2, 6)).astype(np.float32)
    want, _ = layer(np.swapaxes(x, 0, 1).copy())
    stream = gatecell.Stream(layer, batch=2)
    for turn in range(2):
        for t in range(9):
            assert np.array_equal(stream.step(x[t]), want.data[:, t]), (turn, t)
        stream.reset()


@pytest.mark.parametrize("name", STREAMS)
def test_saved_models_predict_and_stream(name, rng, tmp_path):
    layer = randomised(LAYERS[name](), rng)
    x = rng.normal(size=(2, 9, 6)).astype(np.float32)
    gatecell.save(layer, tmp_path / "m.safetensors")
    loaded = gatecell.load(tmp_path / "m.safetensors")
    want = layer(x)[0].data
    assert np.array_equal(loaded(x).data, want)
    stream = gatecell.Stream(loaded, batch=2)
    state = None
    for t in range(9):
        if t == 4:
            state, stream = stream.state, gatecell.Stream(loaded, batch=2)
            stream.state = state
        assert np.array_equal(stream.step(x[:, t]), want[:, t])


def test_what_has_no_scans_yet_says_so(rng, tmp_path):
    layer = nn.Mamba(6, d_state=4)
    with pytest.raises(gatecell.Unsupported):
        gatecell.export_c(layer, tmp_path, name="m")
    with pytest.raises(gatecell.Unsupported):
        gatecell.quantize(layer, rng.normal(size=(4, 10, 6)).astype(np.float32))


def test_bad_arguments_are_refused(rng):
    with pytest.raises(ValueError, match=r"wanted \(B, T, 6\)"):
        nn.Mamba(6)(np.zeros((2, 3, 5), np.float32))
    with pytest.raises(ValueError, match=r"an input \(B, 6\) wanted"):
        nn.Mamba(6).step(np.zeros((2, 3, 6), np.float32))
    with pytest.raises(ValueError, match="2 to 4 steps"):
        nn.Mamba(6, d_conv=5)
    with pytest.raises(ValueError, match="a divisor of 8"):
        nn.MLSTM(6, 8, num_heads=3)
    with pytest.raises(ValueError, match="an even number"):
        nn.S4D(6, d_state=5)
    with pytest.raises(ValueError, match="a divisor of 12"):
        nn.MLSTMBlock(6, qkv_proj_blocksize=5)
