"""What a Module promises, cells as layers, initialisation, clipping. Not here: what layers compute (test_layers.py and others)."""

import copy

import numpy as np
import pytest
import torch

import budgets
import gatecell
import pages
from gatecell import nn
from gatecell.tensor.tensor import Tensor
from parity import close

# -- Module ---------------------------------------------------------------------------------------------------------------------------


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = self.a
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.tied = self.scale
        self.register_buffer("seen", np.zeros(1, np.int64))
        self.register_buffer("scratch", np.zeros(2, np.float32), persistent=False)
        self.register_buffer("nothing", None)
        self.maybe = None
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))


def test_shared_parts_count_once_and_are_stored_under_each_name():
    m = Shared()
    in_list = [f"layers.{i}.{n}" for i in range(2) for n in ("weight", "bias")]
    assert [n for n, _ in m.named_parameters()] == ["scale", "a.weight", "a.bias", *in_list]
    assert sum(p.numel() for p in m.parameters()) == 3 + 3 * 12
    assert set(m.state_dict()) == {n for n, _ in m.named_parameters()} | {"tied", "b.weight", "b.bias", "seen"}
    assert {n for n, _ in m.named_buffers()} == {"seen", "scratch"}
    assert len(list(m.modules())) == 5


def test_children_modes_apply_and_gradients():
    m = Shared()
    assert all(not module.training for module in m.eval().modules())
    assert all(module.training for module in m.train().modules())
    order = []
    m.apply(lambda module: order.append(type(module).__name__))
    assert order == ["Linear", "Linear", "Linear", "ModuleList", "Shared"]
    m.a(np.ones((1, 3))).sum().backward()
    m.zero_grad(set_to_none=False)
    assert (m.a.weight.grad.data == 0).all()
    m.zero_grad()
    assert m.a.weight.grad is None
    m.requires_grad_(False)
    assert not m.a(np.ones((1, 3))).requires_grad


def test_a_module_in_two_dtypes():
    m = Shared().double()
    assert m.a.weight.dtype == m.scratch.dtype == np.float64
    assert m.seen.dtype == np.int64, "integers stay"
    assert m.to("cpu").to(gatecell.float32).scale.dtype == np.float32
    m.a(np.ones((1, 3))).sum().backward()
    assert m.to("cpu", np.float64).a.weight.grad.dtype == np.float64


def test_load_state_dict_takes_arrays_of_every_kind_and_keeps_the_memory(rng):
    m = nn.Linear(3, 2)
    kept = m.weight.data
    w, b = rng.standard_normal((2, 3)), rng.standard_normal(2)
    for weight in (w, Tensor(w), torch.tensor(w, requires_grad=True), w.tolist(), np.asfortranarray(w)):
        m.weight.data[...] = 0
        keys = m.load_state_dict({"weight": weight, "bias": torch.nn.Parameter(torch.tensor(b))})
        assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
        np.testing.assert_array_equal(m.weight.data, w.astype(np.float32))
        np.testing.assert_array_equal(m.bias.data, b.astype(np.float32))
    assert m.weight.data is kept, "optimisers hold on to it"
    keys = m.load_state_dict({"weight": w, "other": b}, strict=False)
    assert keys.missing_keys == ["bias"]
    assert keys.unexpected_keys == ["other"]


def test_a_copy_is_a_model_of_its_own(rng):
    m = nn.LSTM(3, 4)
    twin = copy.deepcopy(m)
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(m(x)[0].data, twin(x)[0].data)
    twin.weight_hh_l0.data[...] = 0
    assert (m(x)[0].data != twin(x)[0].data).any()
    assert isinstance(twin.weight_hh_l0, nn.Parameter)


def test_containers(rng):
    x = rng.standard_normal((2, 3)).astype(np.float32)
    first, second, third = (nn.Linear(3, 3) for _ in range(3))
    seq = nn.Sequential(first, second, third)
    assert len(seq) == 3
    assert seq[1] is seq[-2] is second
    assert list(seq) == [first, second, third]
    np.testing.assert_array_equal(seq[:2](x).data, second(first(x)).data)
    named = nn.Sequential({"one": first, "two": second})
    assert list(named.state_dict()) == ["one.weight", "one.bias", "two.weight", "two.bias"]
    assert nn.Sequential(first, first)(x).shape == (2, 3)
    grown = nn.ModuleList().append(first).extend([second, third])
    assert [n for n, _ in grown.named_children()] == ["0", "1", "2"]


def test_recurrent_is_what_the_names_stand_for(rng):
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    for named in (nn.LSTM(3, 4, 2, bidirectional=True), nn.GRU(3, 4), nn.GRU(3, 4, reset_after=False), nn.RNN(3, 4, nonlinearity="relu")):
        options = {"num_layers": named.num_layers, "bidirectional": named.bidirectional}
        general = nn.Recurrent(cell=named.cell.name, input_size=3, hidden_size=4, **options)
        general.load_state_dict(named.state_dict())
        np.testing.assert_array_equal(general(x)[0].data, named(x)[0].data)
        assert repr(general).startswith(f"Recurrent('{named.cell.name}', 3, 4")
    for named in (nn.LSTMCell(3, 4), nn.GRUCell(3, 4, reset_after=False), nn.RNNCell(3, 4)):
        general = nn.RecurrentCell(named.cell.name, 3, 4)
        general.load_state_dict(named.state_dict())
        states = [s[0] if isinstance(s, tuple) else s for s in (general(x[0]), named(x[0]))]
        np.testing.assert_array_equal(*(s.data for s in states))


@pytest.mark.parametrize("cell", pages.EVERY, ids=lambda cell: cell.name)
def test_every_cell_is_a_layer(cell, rng):
    """By its name where it is registered, by its record from anywhere."""
    proj_size = 0 if cell.axis(cell.states[0]) == "H" else 2
    name = cell.name if cell.name in gatecell.cells else cell
    layer = nn.Recurrent(name, 3, 5, num_layers=2, bidirectional=True, batch_first=True, proj_size=proj_size)
    x = Tensor(rng.standard_normal((2, 4, 3)).astype(np.float32), requires_grad=True)
    output, last = layer(x)
    assert output.shape == (2, 4, 2 * (proj_size or 5))
    last = last if isinstance(last, tuple) else (last,)
    assert [s.shape for s in last] == [(4, 2, 5 if cell.axis(s) == "H" else 2) for s in cell.states]
    output.sum().backward()
    assert np.abs(x.grad.data).min() > 0
    assert all(p.grad is not None for p in layer.parameters())


# -- initialisation -------------------------------------------------------------------------------------------------------------------


def moments(a):
    return np.abs(a).max(), a.mean(), a.std()


@pytest.mark.parametrize(
    "build",
    [
        lambda nn: nn.Linear(300, 200),
        lambda nn: nn.LSTM(50, 90),
        lambda nn: nn.GRU(50, 90, bidirectional=True),
        lambda nn: nn.RNNCell(150, 150),
        lambda nn: nn.Embedding(300, 100),
        lambda nn: nn.LayerNorm(9),
    ],
)
def test_initial_weights_are_of_torchs_distribution(build):
    gatecell.manual_seed(0)
    torch.manual_seed(0)
    mine, theirs = build(nn), build(torch.nn)
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        a, b = p.data, q.detach().numpy()
        spread = b.std() / np.sqrt(b.size)  # of the mean; 4 of it, and the same in kind for the rest
        assert abs(a.mean() - b.mean()) <= 6 * spread
        assert abs(a.std() - b.std()) <= 6 * spread
        assert abs(np.abs(a).max() - np.abs(b).max()) <= 0.15 * np.abs(b).max()
        if isinstance(theirs, torch.nn.Linear | torch.nn.RNNBase | torch.nn.RNNCellBase):
            bound = 1 / np.sqrt(theirs.in_features if isinstance(theirs, torch.nn.Linear) else theirs.hidden_size)
            assert np.abs(a).max() <= bound


def test_the_seed_fixes_initial_weights():
    states = []
    for _ in range(2):
        gatecell.manual_seed(7)
        states.append(nn.GRU(3, 4).state_dict())
    for a, b in zip(*(s.values() for s in states), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert (nn.GRU(3, 4).weight_ih_l0.data != states[0]["weight_ih_l0"].data).any()


INITS = {
    "uniform_": {"a": -2.0, "b": 5.0}, "normal_": {"mean": 3.0, "std": 2.0}, "constant_": {"val": 2.5}, "zeros_": {}, "ones_": {},
    "xavier_uniform_": {"gain": 2.0}, "xavier_normal_": {}, "kaiming_uniform_": {"a": 0.3},
    "kaiming_normal_": {"mode": "fan_out", "nonlinearity": "relu"}, "orthogonal_": {"gain": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("shape", [(200, 300), (300, 200)])
@pytest.mark.parametrize(("name", "options"), INITS.items(), ids=INITS)
def test_initialisations_are_of_torchs_distribution(name, options, shape):
    gatecell.manual_seed(1)
    torch.manual_seed(1)
    mine, theirs = nn.Parameter(np.empty(shape, np.float32)), torch.empty(shape)
    assert getattr(nn.init, name)(mine, **options) is mine
    getattr(torch.nn.init, name)(theirs, **options)
    a, b = mine.data, theirs.numpy()
    spread = b.std() / np.sqrt(b.size)
    assert abs(a.mean() - b.mean()) <= 6 * spread
    assert abs(a.std() - b.std()) <= 6 * spread
    if name == "orthogonal_":
        gram = a @ a.T if shape[0] < shape[1] else a.T @ a
        np.testing.assert_allclose(gram, 9 * np.eye(200), atol=budgets.ORTHOGONAL)
    for nonlinearity in ("linear", "tanh", "relu", "sigmoid", "leaky_relu"):
        assert nn.init.calculate_gain(nonlinearity) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity), rel=budgets.GAIN)


# -- nn.utils -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2.0, 1.0, 3.0, np.inf])
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_clipping_by_norm_is_torchs(order, scale, rng):
    shapes = [(4, 3), (5,), (2, 2)]
    ours, theirs = [Tensor(np.zeros(s, np.float32), True) for s in shapes], [torch.zeros(s, requires_grad=True) for s in shapes]
    for a, b in zip(ours[:2], theirs[:2], strict=True):  # the third has no gradient
        g = (rng.standard_normal(a.shape) * scale).astype(np.float32)
        a.grad, b.grad = Tensor(g), torch.tensor(g)
    norm, want = nn.utils.clip_grad_norm_(ours, 1.5, order), torch.nn.utils.clip_grad_norm_(theirs, 1.5, order)
    assert norm.item() == pytest.approx(want.item(), rel=budgets.NORM)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        close(a.grad, b.grad)
    clipped = nn.utils.get_total_norm([a.grad for a in ours[:2]], order)
    assert clipped.item() == pytest.approx(min(want.item(), 1.5), rel=budgets.NORM_CLIPPED)
    assert nn.utils.clip_grad_norm_(ours[2], 1.0).item() == 0


def test_clipping_of_what_is_not_finite():
    p = Tensor(np.zeros(3, np.float32), True)
    for bad, order in ((np.nan, 2.0), (np.inf, 2.0), (np.nan, np.inf)):
        p.grad = Tensor(np.array([1, bad, 2], np.float32))
        with pytest.raises(ValueError, match="finite"):
            nn.utils.clip_grad_norm_([p], 1.0, order, error_if_nonfinite=True)
        assert p.grad.data[2] == 2
        assert not np.isfinite(nn.utils.clip_grad_norm_([p], 1.0, order).item())


def test_clipping_by_value_and_parameters_as_a_vector(rng):
    ours = [Tensor(rng.standard_normal(s).astype(np.float32), True) for s in ((3, 2), (4,))]
    theirs = [torch.tensor(t.data, requires_grad=True) for t in ours]
    vector, want = nn.utils.parameters_to_vector(ours), torch.nn.utils.parameters_to_vector(theirs)
    close(vector, want)
    (vector * vector).sum().backward()
    (want * want).sum().backward()
    nn.utils.clip_grad_value_(ours, 0.5)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)
    for a, b in zip(ours, theirs, strict=True):
        close(a.grad, b.grad)
    nn.utils.vector_to_parameters(Tensor(np.arange(10, dtype=np.float32)), ours)
    np.testing.assert_array_equal(ours[0].data, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(ours[1].data, [6, 7, 8, 9])
