"""Networks that tests of the step graph, of streaming and of files share, each with its input and what its graph is to hold.  No test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gatecell as gc
from gatecell import nn
from gatecell.nn import functional as F

H = 6


class Of(nn.Module):
    """forward given as a function of the module and its input, over named layers."""

    def __init__(self, run: Callable[[Any, Any], Any], **layers: nn.Module):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.run(self, x)


@dataclass(frozen=True)
class Network:
    """make() a fresh model; `features` it reads (0: without the axis; "tokens": whole numbers below 9); the operations of its graph."""

    make: Callable[[], nn.Module]
    features: Any
    ops: str
    time_first: bool = False
    last: bool = False
    dtype: Any = np.float32

    def input(self, rng: np.random.Generator, batch: int, steps: int) -> np.ndarray:
        lengths = (steps, batch) if self.time_first else (batch, steps)
        if self.features == "tokens":
            return rng.integers(0, 9, lengths)
        return rng.normal(size=lengths + (self.features,) * (self.features != 0)).astype(self.dtype)


def forecaster(m, x):
    """The tutorial's shape: the last step of a stack into a linear layer."""
    return m.fc(m.rnn(m.norm(x))[0][:, -1, :])


def language(m, x):
    out, hidden = m.rnn(m.embedding(x))
    return m.fc(out), hidden


def started(m, x):
    rows = x.shape[0]
    return m.rnn(x, (m.h0.expand(1, rows, H), gc.ones(1, rows, H) * 0.3))[0]


def learned_start():
    m = Of(started, rnn=nn.LSTM(3, H, batch_first=True))
    m.h0 = nn.Parameter(np.linspace(-1, 1, H, dtype=np.float32).reshape(1, 1, H))
    return m


def arithmetic(m, x):
    out, _ = m.rnn(x)
    a, b = out[..., :2], out[:, :, 2:4]
    y = gc.cat([(1 - a) * b / 2 - a.tanh().abs(), (0.1 + b.exp()).log().sigmoid(), gc.maximum(a, b).clamp(-0.2, 0.3)], 2)
    return y * gc.tensor([1.0, -2.0, 3.0, 0.5, 0.25, 4.0]) + x[:, :, :1]


def bare_product():
    m = Of(lambda m, x: m.rnn(x)[0] @ m.w, rnn=nn.GRU(3, H, batch_first=True))
    m.w = nn.Parameter(np.random.default_rng(1).normal(size=(H, 2)).astype(np.float32))
    return m


def two_at_once():
    m = Of(lambda m, x: gc.cat([m.a(x[..., :2])[0], m.b(x[..., 1:])[0]], -1), a=nn.LSTM(2, 3, batch_first=True), b=gru())
    m.input_size = 4  # neither layer reads as many
    return m


def gru(**options):
    return nn.GRU(3, H, batch_first=True, **options)


def seq(run, out=1, features=3, **more):
    return lambda: Of(run, rnn=nn.GRU(features, H, batch_first=True), fc=nn.Linear(H, out), **{k: v() for k, v in more.items()})


NETWORKS = {
    "bare, time first": Network(lambda: nn.LSTM(4, H), 4, "recurrence", time_first=True),
    "bare, batch first": Network(gru, 3, "recurrence"),
    "one feature in and out": Network(lambda: nn.RNN(1, 1, batch_first=True), 1, "recurrence"),
    "no bias": Network(lambda: gru(bias=False), 3, "recurrence"),
    "double": Network(lambda: gru().double(), 3, "recurrence", dtype=np.float64),
    "forecaster": Network(
        lambda: Of(
            forecaster,
            norm=nn.Standardize([5.0, 1.0, -2.0], [3.0, 0.5, 2.0]),
            rnn=nn.LSTM(3, H, 2, batch_first=True, dropout=0.3),
            fc=nn.Linear(H, 2),
        ),
        3,
        "standardize recurrence recurrence linear",
        last=True,
    ),
    "language model": Network(
        lambda: Of(language, embedding=nn.Embedding(9, 5), rnn=nn.LSTM(5, H, 2, batch_first=True), fc=nn.Linear(H, 9)),
        "tokens",
        "embedding recurrence recurrence linear",
    ),
    "every step, squeezed": Network(seq(lambda m, x: m.fc(m.rnn(x)[0]).squeeze(-1)), 3, "recurrence linear"),
    "last step, squeezed": Network(seq(lambda m, x: m.fc(m.rnn(x)[0][:, -1]).squeeze(1)), 3, "recurrence linear", last=True),
    "last step kept as an axis": Network(seq(lambda m, x: m.fc(m.rnn(x)[0][:, -1:].squeeze(1))), 3, "recurrence linear", last=True),
    "final state": Network(seq(lambda m, x: m.fc(m.rnn(x)[1][-1]), 4), 3, "recurrence linear", last=True),
    "final states of an LSTM": Network(
        lambda: Of(lambda m, x: m.rnn(x)[1][0][-1] * m.rnn(x)[1][1][0], rnn=nn.LSTM(3, H, 2, batch_first=True)),
        3,
        "recurrence recurrence recurrence state mul",
        last=True,
    ),
    "final state, squeezed": Network(seq(lambda m, x: m.fc(m.rnn(x)[1].squeeze(0))), 3, "recurrence linear", last=True),
    "no feature axis": Network(seq(lambda m, x: m.fc(m.rnn(x.unsqueeze(-1))[0])[:, :, 0], features=1), 0, "recurrence linear"),
    "flattened": Network(
        seq(lambda m, x: m.fc(m.rnn(x)[0].reshape(-1, H)).view(x.shape[0], -1, 2), 2), 3, "recurrence linear"
    ),
    "probabilities": Network(seq(lambda m, x: F.softmax(m.fc(m.rnn(x)[0]), -1), 5), 3, "recurrence linear softmax"),
    "log probabilities": Network(
        seq(lambda m, x: m.fc(m.rnn(x)[0][:, -1]).log_softmax(1), 5), 3, "recurrence linear log_softmax", last=True
    ),
    "decision": Network(seq(lambda m, x: m.fc(m.rnn(x)[0]).argmax(-1), 5), 3, "recurrence linear argmax"),
    "residual": Network(seq(lambda m, x: m.fc(m.rnn(x)[0]) + x, 3), 3, "recurrence linear add"),
    "dropout and relu": Network(
        seq(lambda m, x: m.fc(m.drop(m.rnn(x)[0]).relu()), drop=lambda: nn.Dropout(0.5)), 3, "recurrence relu linear"
    ),
    "arithmetic": Network(
        lambda: Of(arithmetic, rnn=gru()),
        3,
        "recurrence slice slice sub mul div tanh abs sub exp add log sigmoid maximum clamp cat mul slice add",
    ),
    "product with a parameter": Network(bare_product, 3, "recurrence linear"),
    "start that is learned": Network(learned_start, 3, "recurrence"),
    "features first": Network(seq(lambda m, x: m.fc(m.rnn(x)[0]).transpose(1, 2), 4), 3, "recurrence linear"),
    "two at once": Network(
        two_at_once,
        4,
        "slice recurrence slice recurrence cat",
    ),
    "sequential": Network(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), 3, "linear tanh linear"),
}
