"""Layers without a recurrence, losses, and input they take, against torch. Not here: Module (test_nn.py), bad input (test_errors.py)."""

import numpy as np
import pytest
import torch

import budgets
import gatecell
from gatecell import nn
from gatecell.tensor.tensor import Tensor
from parity import close


def both(build):
    """The same module of gatecell and of torch, with torch's weights."""
    theirs, mine = build(torch.nn), build(nn)
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


BUILDS = {
    "linear": lambda nn: nn.Linear(7, 5),
    "linear-nobias": lambda nn: nn.Linear(7, 5, bias=False),
    "norm": lambda nn: nn.LayerNorm(7),
    "norm-two": lambda nn: nn.LayerNorm((4, 7), eps=1e-3),
    "norm-nobias": lambda nn: nn.LayerNorm(7, bias=False),
    "norm-plain": lambda nn: nn.LayerNorm(7, elementwise_affine=False),
    "tanh": lambda nn: nn.Tanh(),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "relu": lambda nn: nn.ReLU(),
    "softmax": lambda nn: nn.Softmax(dim=-1),
    "softmax-first": lambda nn: nn.Softmax(0),
    "logsoftmax": lambda nn: nn.LogSoftmax(dim=1),
    "flatten": lambda nn: nn.Flatten(),
    "flatten-some": lambda nn: nn.Flatten(0, 1),
    "identity": lambda nn: nn.Identity(54, unused=True),
    "dropout-eval": lambda nn: nn.Dropout(0.7).eval(),
    "sequential": lambda nn: nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Sequential(nn.Linear(6, 3), nn.ReLU())),
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_layers_are_torchs(build, rng):
    mine, theirs = both(build)
    x = (rng.standard_normal((3, 4, 7)) * 2).astype(np.float32)
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, want = mine(a), theirs(b)
    close(y, want)
    weights = rng.standard_normal(y.shape).astype(np.float32)
    (y * Tensor(weights)).sum().backward()
    (want * torch.tensor(weights)).sum().backward()
    close(a.grad, b.grad, 5 * budgets.LAYER)
    for (name, p), (torch_name, q) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == torch_name
        close(p.grad, q.grad, 5 * budgets.LAYER)


REPRS = {
    **BUILDS,
    "lstm": lambda nn: nn.LSTM(3, 4),
    "lstm-options": lambda nn: nn.LSTM(3, 4, 2, bias=False, batch_first=True, dropout=0.5, bidirectional=True),
    "gru": lambda nn: nn.GRU(1, 9, num_layers=3),
    "rnn": lambda nn: nn.RNN(1, 2, nonlinearity="relu"),
    "cells": lambda nn: nn.ModuleList([nn.LSTMCell(2, 3, bias=False), nn.GRUCell(2, 3)]),
    "embedding": lambda nn: nn.Embedding(9, 3, padding_idx=-1),
    "losses": lambda nn: nn.Sequential(nn.MSELoss(), nn.CrossEntropyLoss(), nn.Dropout()),
}


@pytest.mark.parametrize("name", [n for n in REPRS if n != "identity"])
def test_text_names_shapes_and_order_are_torchs(name):
    mine, theirs = REPRS[name](nn), REPRS[name](torch.nn)
    assert repr(mine) == repr(theirs)
    want = theirs.state_dict()
    got = mine.state_dict()
    assert list(got) == list(want)
    assert [tuple(v.shape) for v in got.values()] == [tuple(v.shape) for v in want.values()]
    assert [n for n, _ in mine.named_modules()] == [n for n, _ in theirs.named_modules()]
    assert [n for n, _ in mine.named_children()] == [n for n, _ in theirs.named_children()]


def test_embedding(rng):
    mine, theirs = both(lambda nn: nn.Embedding(11, 4, padding_idx=2))
    tokens = rng.integers(0, 11, (3, 5))
    tokens[0, 0] = 2
    y, want = mine(tokens), theirs(torch.tensor(tokens))
    close(y, want)
    (y * y).sum().backward()
    (want * want).sum().backward()
    close(mine.weight.grad, theirs.weight.grad)
    assert (nn.Embedding(11, 4, padding_idx=-9).weight.data[2] == 0).all()
    close(mine(tokens.astype(np.uint8)), want)


LOSSES = {
    "mse": ("MSELoss", {}, "real"),
    "mse-sum": ("MSELoss", {"reduction": "sum"}, "real"),
    "l1-none": ("L1Loss", {"reduction": "none"}, "real"),
    "huber": ("HuberLoss", {"delta": 0.7}, "real"),
    "smooth": ("SmoothL1Loss", {"beta": 0.3}, "real"),
    "smooth-l1": ("SmoothL1Loss", {"beta": 0.0, "reduction": "sum"}, "real"),
    "cross": ("CrossEntropyLoss", {}, "class"),
    "cross-options": ("CrossEntropyLoss", {"weight": [1.0, 2.0, 0.5, 0.0, 3.0], "ignore_index": 2}, "class"),
    "cross-smoothing": ("CrossEntropyLoss", {"label_smoothing": 0.1, "reduction": "none"}, "class"),
    "nll": ("NLLLoss", {"reduction": "sum"}, "class"),
    "nll-weight": ("NLLLoss", {"weight": [1.0, 2.0, 0.5, 1.0, 3.0]}, "class"),
    "bce": ("BCEWithLogitsLoss", {}, "unit"),
    "bce-weights": ("BCEWithLogitsLoss", {"weight": [0.1, 2.0, 1.0, 1.0, 0.0], "pos_weight": [3.0, 1.0, 1.0, 0.5, 2.0]}, "unit"),
}


@pytest.mark.parametrize(("name", "options", "kind"), LOSSES.values(), ids=LOSSES)
def test_losses_are_torchs(name, options, kind, rng):
    x = rng.standard_normal((9, 5)).astype(np.float32)
    y = {"real": rng.standard_normal(x.shape), "class": rng.integers(0, 5, 9), "unit": rng.random(x.shape)}[kind]
    y = y if kind == "class" else y.astype(np.float32)
    made = [
        getattr(lib, name)(**{k: leaf(np.array(v, np.float32)) if isinstance(v, list) else v for k, v in options.items()})
        for lib, leaf in ((nn, Tensor), (torch.nn, torch.tensor))
    ]
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mine, want = made[0](a, Tensor(y)), made[1](b, torch.tensor(y))
    close(mine, want)
    close(made[0](a, y), want)  # NumPy targets, of any real dtype
    if kind == "real":
        close(made[0](a, y.astype(np.float64)), want)
    mine.sum().backward()
    want.sum().backward()
    close(a.grad, b.grad)


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    gatecell.manual_seed(3)
    layer = nn.Dropout(0.3)
    x = Tensor(np.ones((200, 500), np.float32), requires_grad=True)
    y = layer(x)
    share = (y.data == 0).mean()
    assert abs(share - 0.3) < 0.006, "four standard deviations of a share over 100,000"
    np.testing.assert_allclose(y.data[y.data != 0], 1 / 0.7, rtol=budgets.DROPOUT_SCALE)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    layer.eval()
    assert layer(x) is x


def test_standardize(rng):
    x = (rng.standard_normal((4, 6, 3)) * [1, 100, 0.01] + [5, -300, 0]).astype(np.float32)
    mean, std = x.mean((0, 1), dtype=np.float64), x.std((0, 1), dtype=np.float64)
    layer = nn.Standardize(mean, std)
    y = layer(x)
    np.testing.assert_allclose(y.data, (x.astype(np.float64) - mean) / std, atol=budgets.STANDARDIZE)
    assert y.dtype == np.float32
    assert list(layer.state_dict()) == ["mean", "std"]
    assert not list(layer.parameters())
    np.testing.assert_allclose(layer.inverse()(y).data, x, rtol=budgets.STANDARDIZE_BACK[0], atol=budgets.STANDARDIZE_BACK[1])
    one = nn.Standardize(20, 4)
    np.testing.assert_array_equal(one(np.array([28.0, 12.0])).data, [2, -2])
    assert nn.Standardize([0, 1], [1, 2])(np.zeros((2, 2), np.int16)).dtype == np.float32


# -- what numbers a module takes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_])
def test_numpy_input_of_any_real_dtype_becomes_the_modules(dtype, rng):
    x = (rng.standard_normal((4, 2, 3)) * 3).astype(dtype)
    stack = nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 2))
    for module in (nn.Linear(3, 2), nn.LSTM(3, 2), stack, nn.LayerNorm(3), nn.Standardize(1.0, 2.0)):
        for to in (np.float32, np.float64):
            result, want = module.to(to)(x), module(Tensor(x.astype(to)))
            result, want = (r[0] if isinstance(r, tuple) else r for r in (result, want))
            assert result.dtype == to
            np.testing.assert_array_equal(result.data, want.data)


def test_a_model_of_ones_own_gets_a_tensor_for_an_array(rng):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(3, 4, batch_first=True)
            self.head = nn.Linear(4, 1)

        def forward(self, x):
            assert isinstance(x, Tensor)
            assert x.dtype == np.float32
            return self.head(self.rnn(x)[0][:, -1, :])

    assert Last()(rng.standard_normal((5, 7, 3))).shape == (5, 1)
