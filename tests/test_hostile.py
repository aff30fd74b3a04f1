"""Hostile input that no other file has: arguments of wrong kinds, memory laid out unusually or shared, values that are not finite.

Each case was once a wrong result, a half-changed state or an exception without a sentence.
"""

import copy
import pickle

import numpy as np
import pytest
import torch

import gatecell
import pages
from gatecell import Tensor, nn, optim
from gatecell.nn import functional as F


def f32(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


# -- arguments of wrong kinds: a sentence, not an AttributeError ------------------------------------------------------------------------

OF_TENSORS = [
    gatecell.sin, gatecell.exp, gatecell.softmax, gatecell.sum, gatecell.max, gatecell.reshape, gatecell.flip, gatecell.isnan,
    gatecell.matmul, gatecell.equal, gatecell.zeros_like, gatecell.bernoulli, F.relu, F.softplus, F.silu, F.dropout, nn.init.zeros_,
    nn.init.xavier_normal_, nn.init.orthogonal_,
]  # fmt: skip


@pytest.mark.parametrize("function", OF_TENSORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("value", [np.ones((2, 2), np.float32), [1.0, 2.0], 3.0, None], ids=["array", "list", "number", "nothing"])
def test_functions_of_tensors_say_so(function, value):
    with pytest.raises(TypeError, match=f"Tensor wanted, got {type(value).__name__}"):
        function(value, *((1,) if function in (gatecell.softmax, gatecell.reshape, gatecell.flip) else ()))


WRONG = {
    "half a size": (lambda x: gatecell.zeros(2.5), TypeError, "whole number wanted, got float"),
    "an endless size": (lambda x: x.reshape(float("inf")), TypeError, "whole number wanted, got float"),
    "an axis of 1.0": (lambda x: x.sum(1.0), TypeError, "dim: a whole number wanted, got float"),
    "a mask of numbers": (lambda x: x.masked_fill(Tensor(np.ones((2, 3), np.int64)), 0.0), TypeError, "bool wanted, got a Tensor of int64"),
    "no mask": (lambda x: x.masked_fill([True], 0.0), TypeError, "bool wanted, got list"),
    "the shape of a list": (lambda x: x.view_as([1, 2]), TypeError, "Tensor wanted, got list"),
    "no pieces": (lambda x: x.chunk(0), ValueError, "at least 1 piece"),
    "pieces of nothing": (lambda x: x.split(0), ValueError, "length of at least 1"),
    "a norm of text": (lambda x: nn.utils.get_total_norm(["a"]), TypeError, "Tensor wanted, got str"),
    "a norm of order 0": (lambda x: nn.utils.get_total_norm([x], 0), ValueError, "norm_type wants a positive number, got 0"),
    "parameters that are arrays": (lambda x: nn.utils.vector_to_parameters(x, [f32(6)]), TypeError, "Tensor wanted, got ndarray"),
    "endless bounds": (lambda x: nn.init.uniform_(x, 0, float("inf")), ValueError, "finite bounds wanted"),
    "too many threads": (lambda x: gatecell.set_num_threads(2**40), ValueError, r"less than 2\*\*31"),
    "an empty weight": (lambda x: nn.init.kaiming_uniform_(Tensor(np.ones((0, 3), np.float32))), ValueError, "none empty"),
    "parameters of half precision": (lambda x: nn.Parameter(np.ones(3, np.float16)), TypeError, "float32.* got float16"),
    "parameters of the other byte order": (lambda x: nn.Parameter(np.ones(3, ">f4")), TypeError, "float32.* got >f4"),
    "a buffer of half precision": (lambda x: nn.Tanh().register_buffer("b", np.ones(3, np.float16)), TypeError, "float32.* got float16"),
    "ragged weights": (lambda x: nn.Linear(2, 2).load_state_dict({"weight": [[1, 2], [3]]}, strict=False), TypeError, "weight: wanted"),
    "weights that NumPy lacks": (
        lambda x: nn.Linear(2, 2).load_state_dict({"bias": torch.ones(2, dtype=torch.bfloat16)}, strict=False), TypeError, "bias: wanted",
    ),
    "a rate of text": (lambda x: optim.Adam([x], lr="fast"), TypeError, "lr wants a number, got str"),
    "one beta": (lambda x: optim.Adam([x], betas=(0.9,)), ValueError, "betas wants 2 numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "said"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(act, kind, said):
    with pytest.raises(kind, match=said):
        act(Tensor(f32(2, 3), requires_grad=True))


def test_gradients_have_the_shape_and_type_of_their_tensor():
    p = nn.Parameter(f32(3, 4))
    for wrong, kind in (
        (3, TypeError),
        (f32(3, 4), TypeError),
        (Tensor(f32(3, 4).astype(np.float64)), TypeError),
        (Tensor(f32(4)), ValueError),
    ):
        with pytest.raises(kind, match="grad: .* wanted, got"):
            p.grad = wrong
        assert p.grad is None


# -- nothing is changed by half ---------------------------------------------------------------------------------------------------------


def test_a_step_that_cannot_be_done_changes_nothing():
    free, held = nn.Parameter(f32(3)), nn.Parameter(f32(3))
    adam = optim.Adam([free, held], lr=0.1)
    free.grad, held.grad = Tensor(f32(3)), Tensor(f32(3))
    held.data.flags.writeable = False
    before = free.data.copy()
    with pytest.raises(ValueError, match="read-only"):
        adam.step()
    assert np.array_equal(free.data, before) and not adam.state
    held.data = f32(4)
    with pytest.raises(ValueError, match=r"\(4,\) with a gradient of shape \(3,\)"):
        adam.step()
    assert np.array_equal(free.data, before) and not adam.state


def test_weights_that_cannot_be_written_are_found_before_others_are():
    m = nn.Linear(3, 2)
    m.bias.data.flags.writeable = False
    before = m.weight.data.copy()
    with pytest.raises(ValueError, match="read-only: bias"):
        m.load_state_dict({"weight": f32(2, 3), "bias": f32(2)})
    assert np.array_equal(m.weight.data, before)


@pytest.mark.parametrize("state", [None, {"step": -1}, {"step": float("nan")}, {"step": "two"}, {"exp_avg": ["a"] * 3}], ids=str)
def test_a_state_that_is_none_is_not_taken(state):
    p = nn.Parameter(f32(3))
    adam = optim.Adam([p])
    p.grad = Tensor(f32(3))
    adam.step()
    before = copy.deepcopy(adam.state_dict())
    given = adam.state_dict()
    given["state"] = {0: state and given["state"][0] | state}
    with pytest.raises((TypeError, ValueError), match="state .*parameter 0"):
        adam.load_state_dict(given)
    after = adam.state_dict()
    assert all(np.array_equal(after["state"][0][k], v) for k, v in before["state"][0].items())


def test_a_draw_that_cannot_be_done_draws_nothing():
    before = gatecell.get_rng_state()
    with pytest.raises(ValueError, match="at most 1 without replacement"):
        gatecell.multinomial(Tensor(np.array([[1, 1, 1], [1, 0, 0]], np.float32)), 2)
    assert gatecell.get_rng_state() == before


# -- memory that is shared --------------------------------------------------------------------------------------------------------------


def test_a_gradient_may_be_the_seed_of_the_next():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    x.sum().backward()
    (x + x).backward(x.grad)
    assert np.array_equal(x.grad.numpy(), [3, 3, 3])


def test_weights_exchanged_between_layers():
    m = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    a, b = (p.data.copy() for p in m.parameters())
    own = m.state_dict()
    m.load_state_dict({"0.weight": own["1.weight"], "1.weight": own["0.weight"]})
    assert np.array_equal(m[0].weight.data, b) and np.array_equal(m[1].weight.data, a)


def layouts(a):
    """The same values in memory of other shapes."""
    yield np.asfortranarray(a)
    for axis in range(a.ndim):
        yield np.flip(np.ascontiguousarray(np.flip(a, axis)), axis)
    apart = np.zeros([2 * n for n in a.shape], a.dtype)[tuple(slice(None, None, 2) for _ in a.shape)]
    apart[...] = a
    yield apart
    unaligned = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    unaligned[...] = a
    yield unaligned
    fixed = a.copy()
    fixed.flags.writeable = False
    yield fixed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("T", "B", "I", "H"), [(1, 1, 1, 1), (4, 9, 3, 17)])
@pytest.mark.parametrize("cell", gatecell.cells)
def test_layouts_of_memory_do_not_change_a_bit(cell, T, B, I, H, dtype):
    m = nn.Recurrent(cell, I, H, dtype=dtype)
    x = f32(T, B, I).astype(dtype)

    def run(data):
        m.zero_grad()
        x = Tensor(data, requires_grad=True)
        output, _ = m(x)
        (output * output).sum().backward()
        return [output.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in m.parameters())]

    want = run(x)
    for other in layouts(x):
        assert all(np.array_equal(a, b) for a, b in zip(want, run(other), strict=True))
    for parameters in zip(*(layouts(p.data) for p in m.parameters()), strict=False):
        for p, data in zip(m.parameters(), parameters, strict=True):
            p.data = data
        assert all(np.array_equal(a, b) for a, b in zip(want, run(x), strict=True))


# -- values that are not finite, copies -------------------------------------------------------------------------------------------------


def test_a_model_that_diverged_is_saved_and_loaded(tmp_path):
    m = nn.Linear(3, 2)
    m.weight.data[0, 1] = np.nan
    gatecell.save(m, tmp_path / "m.safetensors")
    assert np.array_equal(gatecell.load(tmp_path / "m.safetensors").state_dict()["weight"].numpy(), m.weight.data, equal_nan=True)


def test_what_cannot_be_loaded_is_not_saved(tmp_path):
    m = nn.Linear(3, 2)
    m.weight.data = m.weight.data.astype(np.float16)
    with pytest.raises(TypeError, match="weight: .* got float16"):
        gatecell.save(m, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_copies_share_the_record_of_their_cell():
    m = nn.Recurrent("gru", 3, 4)
    assert copy.deepcopy(m).cell is m.cell
    again = pickle.loads(pickle.dumps(m))  # noqa: S301 (our own bytes)
    assert again.cell is m.cell and np.array_equal(again(f32(5, 2, 3))[0].numpy(), m(f32(5, 2, 3))[0].numpy())
    with pytest.raises(TypeError, match="registered"):
        pickle.dumps(pages.three)
