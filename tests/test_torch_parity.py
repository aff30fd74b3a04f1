"""Recurrent layers with torch's weights against torch: outputs, states, gradients, training. Judged by torch in float64.

Not here: layers without a recurrence (test_layers.py), whole programs (test_programs.py).
"""

import itertools

import numpy as np
import pytest
import torch

import budgets
import textbook
from gatecell import nn, optim
from gatecell.tensor.tensor import Tensor

CELLS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "tanh": ("RNN", {}), "relu": ("RNN", {"nonlinearity": "relu"})}
SIZES = [(13, 50), (70, 129), (1, 1), (9, 1)]
T, B = 20, 3

torch.set_num_threads(1)  # two pools of threads that wait by spinning, on two cores, cost ten times the work

CASES = {
    f"{cell}-{layers}-{'bi-' * both}I{size[0]}H{size[1]}{'' if bias else '-nobias'}": (cell, layers, both, size, bias)
    for cell, layers, both, size, bias in itertools.product(CELLS, (1, 2, 3), (False, True), SIZES, (True, False))
}


def make(cell, input_size, hidden_size, rng, **options):
    """(ours, torch's float32, torch's float64) with the same weights."""
    name, extra = CELLS[cell]
    torch.manual_seed(int(rng.integers(1 << 30)))
    theirs = getattr(torch.nn, name)(input_size, hidden_size, **extra, **options)
    exact = getattr(torch.nn, name)(input_size, hidden_size, **extra, **options).double()
    exact.load_state_dict(theirs.state_dict())
    ours = getattr(nn, name)(input_size, hidden_size, **extra, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs, exact


def flat(returned):
    output, last = returned
    return [output, *(last if isinstance(last, tuple) else [last])]


def run(module, leaf, x, states, seeds):
    """Outputs and states, then the gradients of every weight, the input and every initial state, for a random weighted sum."""
    x = leaf(x)
    states = [leaf(s) for s in states]
    results = flat(module(x, tuple(states) if len(states) > 1 else states[0]))
    module.zero_grad()
    sum((r * leaf(s).detach()).sum() for r, s in zip(results, seeds, strict=True)).backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    gradients |= {"input": x.grad} | {f"state {i}": s.grad for i, s in enumerate(states)}
    return [numpy(r) for r in results], {k: numpy(g) for k, g in gradients.items()}


def numpy(t):
    return t.data if isinstance(t, Tensor) else t.detach().numpy()


def ours_of(dtype):
    return lambda a: Tensor(a.astype(dtype), requires_grad=True)


def torchs_of(dtype):
    return lambda a: torch.tensor(a, dtype=dtype, requires_grad=True)


def distances(values, exact):
    """(largest, root mean square) distance of arrays from exact ones, relative to the largest of these if any is not 0."""
    errors = np.concatenate([(v.astype(np.float64) - e).ravel() for v, e in zip(values, exact, strict=True)])
    scale = max(np.abs(e).max() for e in exact) or 1
    return np.abs(errors).max() / scale, np.sqrt(np.mean(errors**2)) / scale


def problem(cell, input_size, hidden_size, layers, bidirectional, batch_first, rng):
    """Random input (float32 values), initial states and gradients of the results."""
    directions = 2 if bidirectional else 1
    x = rng.standard_normal((B, T, input_size) if batch_first else (T, B, input_size)).astype(np.float32)
    shape = (layers * directions, B, hidden_size)
    count = 2 if cell == "lstm" else 1
    states = [(rng.standard_normal(shape) / 2).astype(np.float32) for _ in range(count)]
    shapes = [(*x.shape[:2], directions * hidden_size)] + [shape] * count
    return x, states, [rng.standard_normal(s).astype(np.float32) for s in shapes]


@pytest.mark.parametrize(("cell", "layers", "bidirectional", "size", "bias"), CASES.values(), ids=CASES)
def test_outputs_states_and_gradients(cell, layers, bidirectional, size, bias, rng):
    """A net of one unit has too few numbers for a ratio of its own, torch's may be exact by luck: 32 of them share one."""
    nets = [distances_of_a_net(cell, layers, bidirectional, size, bias, rng) for _ in range(32 if size[1] == 1 else 1)]
    mine, torchs = np.sqrt(np.mean(np.square(nets), axis=0))
    assert mine <= budgets.TORCH_RATIO * torchs


def distances_of_a_net(cell, layers, bidirectional, size, bias, rng):
    """Our and torch's root mean square distances from exact outputs and states, when the largest distance and the gradients are right."""
    batch_first = bool(rng.integers(2))
    ours, theirs, exact = make(cell, *size, rng, num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=batch_first)
    given = problem(cell, *size, layers, bidirectional, batch_first, rng)
    (mine, my_grads), (torchs, _), (want, want_grads) = (
        run(ours, ours_of(np.float32), *given),
        run(theirs, torchs_of(torch.float32), *given),
        run(exact, torchs_of(torch.float64), *given),
    )
    assert [m.shape for m in mine] == [w.shape for w in want]
    largest, typical = distances(mine, want)
    assert largest <= budgets.TORCH_FORWARD
    assert my_grads.keys() == want_grads.keys()
    # Relative to the array's largest; with one unit a gradient can be a single sum that cancels to nothing: then to the largest of all.
    largest = max(np.abs(g).max() for g in want_grads.values()) if size[1] == 1 else 0
    for name, g in want_grads.items():
        assert my_grads[name].dtype == np.float32
        assert np.abs(my_grads[name] - g).max() <= budgets.TORCH_GRADIENT * max(np.abs(g).max(), largest), name
    return typical, distances(torchs, want)[1]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_double_precision(cell, bidirectional, rng):
    ours, _, exact = make(cell, 7, 11, rng, num_layers=2, bidirectional=bidirectional)
    ours.double()
    given = problem(cell, 7, 11, 2, bidirectional, False, rng)
    (mine, my_grads), (want, want_grads) = run(ours, ours_of(np.float64), *given), run(exact, torchs_of(torch.float64), *given)
    assert distances(mine, want)[0] <= budgets.TORCH_DOUBLE
    for name, g in want_grads.items():
        assert my_grads[name].dtype == np.float64
        assert distances([my_grads[name]], [g])[0] <= budgets.TORCH_DOUBLE, name


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_no_states_given_no_batch_and_one_step(cell, batch_first, rng):
    ours, theirs, _ = make(cell, 5, 6, rng, num_layers=2, bidirectional=True, batch_first=batch_first)
    for shape in ((4, 3, 5), (7, 5), (1, 1, 5), (1, 5)):
        x = rng.standard_normal(shape).astype(np.float32)
        rows = (4, 6) if len(shape) == 2 else (4, shape[0 if batch_first else 1], 6)
        states = [rng.standard_normal(rows).astype(np.float32) for _ in range(1 + (cell == "lstm"))]
        for hx in (None, states):
            give = [hx and (tuple(map(leaf, hx)) if cell == "lstm" else leaf(hx[0])) for leaf in (Tensor, torch.tensor)]
            for a, b in zip(flat(ours(Tensor(x), give[0])), flat(theirs(torch.tensor(x), give[1])), strict=True):
                assert tuple(a.shape) == tuple(b.shape)
                assert distances([numpy(a)], [numpy(b)])[0] <= budgets.TORCH_FORWARD


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_cells_step_by_step(cell, bias, rng):
    name, extra = CELLS[cell]
    theirs = getattr(torch.nn, name + "Cell")(5, 7, bias=bias, **extra)
    ours = getattr(nn, name + "Cell")(5, 7, bias=bias, **extra)
    ours.load_state_dict(theirs.state_dict())
    for shape in ((3, 5), (5,)):
        x = rng.standard_normal((6, *shape)).astype(np.float32)
        h, h_torch = None, None
        for x_t in x:
            h, h_torch = ours(Tensor(x_t), h), theirs(torch.tensor(x_t), h_torch)
            for a, b in zip(*((s if isinstance(s, tuple) else (s,)) for s in (h, h_torch)), strict=True):
                assert tuple(a.shape) == tuple(b.shape)
                assert distances([numpy(a)], [numpy(b)])[0] <= budgets.TORCH_FORWARD
        for returned in (h, h_torch):
            (returned[0] if isinstance(returned, tuple) else returned).sum().backward()
        for mine, want in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert distances([mine.grad.data], [want.grad.numpy()])[0] <= budgets.TORCH_GRADIENT
        ours.zero_grad()
        theirs.zero_grad()


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_gru_with_the_reset_gate_before_the_product(layers, bidirectional, rng):
    """torch has none: the oracle is the paper's loop, layer by layer."""
    ours = nn.GRU(4, 6, layers, bidirectional=bidirectional, reset_after=False, dtype=np.float64)
    x = rng.standard_normal((9, 3, 4))
    output, last = ours(Tensor(x))
    w = {k: v.data for k, v in ours.state_dict().items()}
    ends = []
    for layer in range(layers):
        outs = []
        for suffix in ("", "_reverse")[: 1 + bidirectional]:
            names = {"W": "weight_ih", "bW": "bias_ih", "R": "weight_hh", "bR": "bias_hh"}
            part = {key: w[f"{name}_l{layer}{suffix}"] for key, name in names.items()}
            order = slice(None, None, -1 if suffix else 1)
            h = textbook.gru_before(x[order], {"h": np.zeros((3, 6))}, part)["h"]
            outs.append(h[order])
            ends.append(h[-1])
        x = np.concatenate(outs, -1)
    np.testing.assert_allclose(output.data, x, rtol=0, atol=budgets.TORCH_DOUBLE)
    np.testing.assert_allclose(last.data, np.stack(ends), rtol=0, atol=budgets.TORCH_DOUBLE)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch tells of its slow path
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("layers", "both", "size"), [(1, False, (5, 7, 3)), (2, True, (13, 50, 17)), (3, False, (1, 33, 32)), (1, True, (9, 2, 1))]
)
def test_projected_layers(layers, both, size, batch_first, bias, rng):
    """Outputs, states, every gradient in float64; outputs in float32."""
    I, H, M = size
    options = {"num_layers": layers, "bidirectional": both, "proj_size": M, "batch_first": batch_first, "bias": bias}
    exact = torch.nn.LSTM(I, H, **options).double()
    ours, single = nn.LSTM(I, H, **options, dtype=np.float64), nn.LSTM(I, H, **options)
    for module in (ours, single):
        module.load_state_dict({k: v.numpy() for k, v in exact.state_dict().items()})
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for p in exact.parameters()]
    rows = layers * (1 + both)
    x = rng.standard_normal((B, T, I) if batch_first else (T, B, I))
    states = [rng.standard_normal((rows, B, n)) for n in (M, H)]
    seeds = [rng.standard_normal((*x.shape[:2], M * (1 + both))), *(rng.standard_normal(s.shape) for s in states)]
    want, gradients = run(exact, torchs_of(torch.float64), x, states, seeds)
    got, mine = run(ours, ours_of(np.float64), x, states, seeds)
    assert distances(got, want)[0] <= budgets.TORCH_DOUBLE and set(mine) == set(gradients)
    for k in gradients:
        assert distances([mine[k]], [gradients[k]])[0] <= budgets.TORCH_DOUBLE, k
    got, _ = run(single, ours_of(np.float32), x, states, seeds)
    assert distances(got, want)[0] <= budgets.TORCH_FORWARD


def test_dropout_acts_between_layers_while_training(rng):
    ours = nn.LSTM(4, 8, 2, dropout=0.4, batch_first=True)
    x = Tensor(rng.standard_normal((2, 5, 4)).astype(np.float32))
    a, b = (ours(x)[0].data for _ in range(2))
    assert (a != b).any()
    first = [ours(x)[1][0].data[0] for _ in range(2)]
    np.testing.assert_array_equal(*first, err_msg="nothing is dropped before the first layer")
    ours.eval()
    a, b = (ours(x)[0].data for _ in range(2))
    np.testing.assert_array_equal(a, b)
    every = nn.LSTM(4, 8, 2, dropout=1.0)
    theirs = torch.nn.LSTM(4, 8, 2, dropout=1.0)
    every.load_state_dict(theirs.state_dict())
    got, want = every(x)[0].data, theirs(torch.tensor(x.data))[0].detach().numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=budgets.TORCH_FORWARD, err_msg="all dropped: the second layer sees zeros")


@pytest.mark.parametrize(
    ("layers", "bidirectional", "size"), [(1, False, (13, 50)), (2, False, (70, 129)), (3, True, (13, 50)), (1, True, (3, 1))]
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_hundred_adam_steps_with_clipping(cell, layers, bidirectional, size, rng):
    ours, theirs, _ = make(cell, *size, rng, num_layers=layers, bidirectional=bidirectional)
    head = torch.nn.Linear((2 if bidirectional else 1) * size[1], 2)
    my_head = nn.Linear(head.in_features, 2)
    my_head.load_state_dict(head.state_dict())
    sides = []
    for lib, tensor, layer, top, opt in ((nn, Tensor, ours, my_head, optim), (torch.nn, torch.tensor, theirs, head, torch.optim)):
        params = [*layer.parameters(), *top.parameters()]
        sides.append((lib, tensor, layer, top, params, opt.Adam(params)))
    clipped = 0
    for step in range(100):
        x = rng.standard_normal((8, 6, size[0])).astype(np.float32)  # new at every step, so that the loss stays of order 1
        y = np.stack([x.sum((0, 2)) / 8, x[-1, :, 0] + rng.standard_normal(6)], 1).astype(np.float32)
        losses = []
        for lib, tensor, layer, top, params, opt in sides:
            loss = lib.functional.mse_loss(top(layer(tensor(x))[0][-1]), tensor(y))
            opt.zero_grad()
            loss.backward()
            clipped += lib.utils.clip_grad_norm_(params, 0.2).item() > 0.2
            opt.step()
            losses.append(loss.item())
        mine, want = losses
        assert abs(mine - want) <= budgets.TORCH_TRAINING * want, f"step {step}: {mine} against {want}"
    assert clipped, "clipping has to act for this test to say anything"
