"""fit(): updates are truncated BPTT (torch beside it), whatever ends a run leaves the best weights.  Not here: samplers."""

import io
import math
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gatecell
from budgets import FIT_TORCH
from conftest import hole
from gatecell import nn, optim
from gatecell.cells import CLASSIC, Cell
from gatecell.train import Callback, Chunks, History, Progress, Run, Streams, Windows, evaluate, fit


class Net(nn.Module):
    """A recurrent layer, dropout and a linear one, called with or without a state."""

    def __init__(self, features: int = 2, hidden: int = 5, outputs: int = 1, dropout: float = 0.0, cell: str | Cell = "gru") -> None:
        self.layer = nn.Recurrent(cell, features, hidden)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Any, state: Any = None) -> Any:
        h, state = self.layer(x, state)
        return self.head(self.drop(h)), state


class Last(Net):
    def forward(self, x: Any, state: Any = None) -> Any:
        return super().forward(x, state)[0][-1]


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def made(seed: int = 0, **options: Any) -> Net:
    gatecell.manual_seed(seed)
    return Net(**options)


@pytest.fixture
def series(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x (300, 2), and y (300, 1), which needs a memory: the last step's x is part of it."""
    x = rng.standard_normal((300, 2)).astype(np.float32)
    y = np.tanh(x[:, :1] - np.roll(x[:, 1:], 1, 0)).astype(np.float32)
    return x, y


# -- updates --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CLASSIC, ids=lambda cell: cell.name)
def test_updates_are_torch_s(cell: Cell, series: tuple[np.ndarray, np.ndarray]) -> None:
    """Three epochs of streams with carried, detached states, burn-in, clipping and cosine decay, written out in torch."""
    x, y = series
    ours = made(cell=cell)
    theirs, head = getattr(torch.nn, cell.title.split()[0])(2, 5), torch.nn.Linear(5, 1)
    theirs.load_state_dict({n: torch.from_numpy(v.numpy().copy()) for n, v in ours.layer.state_dict().items()})
    head.load_state_dict({n: torch.from_numpy(v.numpy().copy()) for n, v in ours.head.state_dict().items()})
    sampler = Streams(x, y, 20, 4, burn_in=3)
    history = fit(ours, sampler, epochs=3, lr=0.05, schedule="cosine", clip_norm=0.1, seed=5, progress=False)

    parameters = [*theirs.parameters(), *head.parameters()]
    adam = torch.optim.Adam(parameters, lr=0.05)
    draw, update, losses = np.random.default_rng(5), 0, []
    for _ in range(3):
        state, total, count = None, 0.0, 0
        for batch in sampler.batches(draw):
            for group in adam.param_groups:
                group["lr"] = 0.05 * (1 + math.cos(math.pi * update / (3 * len(sampler)))) / 2
            if state is not None:
                state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            h, state = theirs(torch.from_numpy(batch.x), state)
            loss = torch.nn.functional.mse_loss(head(h[3 if batch.fresh else 0 :]), torch.from_numpy(batch.y))
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.1)
            adam.step()
            total, count, update = total + loss.item() * batch.y.size, count + batch.y.size, update + 1
        losses.append(total / count)
    np.testing.assert_allclose(history.loss, losses, rtol=FIT_TORCH)
    for module, other in ((ours.layer, theirs), (ours.head, head)):
        for name, value in other.state_dict().items():
            np.testing.assert_allclose(module.state_dict()[name].numpy(), value.numpy(), rtol=FIT_TORCH, atol=FIT_TORCH, err_msg=name)


def test_the_state_is_carried(series: tuple[np.ndarray, np.ndarray]) -> None:
    """In pieces or whole, streaming gives one loss; from zero state for each piece it does not."""
    x, y = series
    model = made()
    whole = evaluate(model, Streams(x, y))
    assert evaluate(model, Streams(x, y, 7)) == pytest.approx(whole, rel=1e-6)
    assert evaluate(model, Chunks(x, y, 7)) != pytest.approx(whole, rel=1e-3)
    with gatecell.no_grad():
        output = model(x[:, None])[0].numpy()[:, 0]
    assert whole == pytest.approx(float(np.mean((output - y) ** 2)), rel=1e-6)
    assert evaluate(model, Streams(x, y, burn_in=40)) == pytest.approx(float(np.mean((output - y)[40:] ** 2)), rel=1e-6)


def test_it_learns_and_takes_any_module(series: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = series
    gatecell.manual_seed(0)
    history = fit(Last(hidden=12), Windows(x, y, 4, 16), epochs=12, lr=0.02, seed=0, progress=False)
    assert history.loss[-1] < 0.25 * history.loss[0]
    assert len(history) == len(history.seconds) == len(history.lr) == 12
    assert history.val_loss == []
    gatecell.manual_seed(0)
    classes = (y[:, 0] > 0).astype(np.int64)
    linear = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    history = fit(linear, (x, classes), (x, classes), loss=nn.CrossEntropyLoss(), epochs=8, lr=0.05, progress=False)
    assert history.val_loss[-1] < 0.8 * math.log(2)


def test_clipping(series: tuple[np.ndarray, np.ndarray]) -> None:
    """With SGD at rate 1 one update moves the weights by the clipped gradient itself."""
    for options in ({"clip_norm": 1e-3}, {"clip_value": 1e-5}):
        model = made()
        before = weights(model)
        sgd = optim.SGD(model.parameters(), lr=1.0)
        fit(model, Chunks(*series, 300, 1), epochs=1, optimizer=sgd, progress=False, **options)
        moved = np.concatenate([(value - before[name]).ravel() for name, value in weights(model).items()])
        if "clip_norm" in options:
            assert np.linalg.norm(moved) == pytest.approx(1e-3, rel=1e-3)
        else:
            assert np.abs(moved).max() == pytest.approx(1e-5, rel=0.02)  # a weight near 0.4 is a multiple of 3e-8


def test_schedules(series: tuple[np.ndarray, np.ndarray]) -> None:
    rates: list[float] = []

    class Watch(Callback):
        def on_update(self, run: Run) -> None:
            rates.append(run.optimizer.param_groups[0]["lr"])

    def run(schedule: Any, optimizer: optim.Optimizer) -> History:
        rates.clear()
        options: dict[str, Any] = {"epochs": 2, "progress": False, "callbacks": [Watch()]}
        return fit(model, Chunks(*series, 50, 2), Chunks(*series, 50), optimizer=optimizer, schedule=schedule, **options)

    model = made()
    adam = optim.Adam(model.parameters(), lr=0.1)
    run("constant", adam)
    assert rates == [0.1] * 6
    run("linear", adam)
    np.testing.assert_allclose(rates, 0.1 * (1 - np.arange(6) / 6))
    run("cosine", adam)
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(6) / 6)))
    run(lambda done: 2.0 if done < 0.5 else 3.0, adam)
    np.testing.assert_allclose(rates, [0.2] * 3 + [0.3] * 3)
    assert adam.param_groups[0]["lr"] == 0.1
    history = run(optim.lr_scheduler.StepLR(adam, 1, 0.5), adam)
    np.testing.assert_allclose(rates, [0.1] * 3 + [0.05] * 3)
    np.testing.assert_allclose(history.lr, [0.05, 0.025])
    adam = optim.Adam(model.parameters(), lr=0.1)
    run(optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=0, threshold=10.0, threshold_mode="abs"), adam)
    assert adam.param_groups[0]["lr"] == 0.05  # the first epoch beats infinity, the second does not win by 10


# -- what is repeatable, what ends a run, and what is left ------------------------------------------------------------------------------


def test_one_seed_is_one_run_bit_for_bit(series: tuple[np.ndarray, np.ndarray]) -> None:
    def run(seed: int | None, before: int = 0) -> dict[str, np.ndarray]:
        model = made(dropout=0.3)
        gatecell.manual_seed(before)
        fit(model, Streams(*series, 20, 4, noise=0.1), epochs=2, lr=0.01, seed=seed, progress=False)
        return weights(model)

    assert same(run(3), run(3))
    assert same(run(3, before=1), run(3, before=2))
    assert not same(run(3), run(4))
    assert same(run(None, before=1), run(None, before=1))
    assert not same(run(None, before=1), run(None, before=2))


class Keep(Callback):
    """Copies of the weights after each epoch, and something to do after an update."""

    def __init__(self, after: Callable[[Run], None] = lambda run: None) -> None:
        self.weights: list[dict[str, np.ndarray]] = []
        self.after = after

    def on_update(self, run: Run) -> None:
        self.after(run)

    def on_epoch(self, run: Run) -> None:
        self.weights.append(weights(run.model))


def contrary(series: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """A validation part that grows worse as training goes on, from the second epoch at the latest."""
    return {"train": Chunks(*series, 50, 2), "val": Chunks(series[0], -series[1], 50), "lr": 0.05, "progress": False, "seed": 0}


def test_patience_and_the_best_weights(series: tuple[np.ndarray, np.ndarray]) -> None:
    model, keep = made(), Keep()
    history = fit(model, **contrary(series), epochs=50, patience=3, callbacks=[keep])
    best = int(np.argmin(history.val_loss))
    assert history.stopped == "patience"
    assert history.best_epoch == best
    assert len(history) == best + 1 + 3
    assert same(weights(model), keep.weights[best])
    assert not same(weights(model), keep.weights[-1])
    assert not model.training


def interrupt(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("validated", [True, False])
def test_ctrl_c_keeps_the_best_weights(series: tuple[np.ndarray, np.ndarray], validated: bool) -> None:
    """In the middle of the fourth epoch: the model has the best epoch's weights, or without validation those of the third."""
    options = contrary(series)
    if not validated:
        del options["val"]
    keep = Keep(lambda run: interrupt(run) if run.update == 11 else None)
    model = made()
    history = fit(model, **options, epochs=50, callbacks=[keep])
    assert history.stopped == "interrupted"
    assert len(history) == 3
    assert history.best_epoch == (int(np.argmin(history.val_loss)) if validated else 2)
    assert same(weights(model), keep.weights[history.best_epoch])
    assert all(p.grad is None for p in model.parameters())


def test_ctrl_c_before_anything_is_finished(series: tuple[np.ndarray, np.ndarray]) -> None:
    model = made()
    before = weights(model)
    history = fit(model, **contrary(series), epochs=50, callbacks=[Keep(interrupt)])
    assert (history.stopped, len(history), history.best_epoch) == ("interrupted", 0, None)
    assert same(weights(model), before)


def test_a_loss_that_is_not_finite(series: tuple[np.ndarray, np.ndarray]) -> None:
    model, keep = made(), Keep()

    def loss(output: Any, target: Any) -> Any:
        return nn.functional.mse_loss(output, target) * (math.inf if len(keep.weights) == 2 else 1.0)

    with pytest.warns(RuntimeWarning, match="the loss became inf in epoch 3; the model has its weights of epoch 2 again"):
        history = fit(model, Chunks(*series, 50, 2), epochs=9, loss=loss, progress=False, callbacks=[keep])
    assert history.stopped == "diverged"
    assert same(weights(model), keep.weights[1])


def test_a_callback_that_stops_or_fails(series: tuple[np.ndarray, np.ndarray]) -> None:
    model = made()
    history = fit(model, **contrary(series), epochs=9, callbacks=[Keep(lambda run: run.stop("enough") if run.update == 4 else None)])
    assert history.stopped == "enough"
    assert len(history) == 2

    def fail(run: Run) -> None:
        if run.update == 5:
            raise LookupError("of the callback's own")

    keep = Keep(fail)
    model = made()
    with pytest.raises(LookupError):
        fit(model, **contrary(series), epochs=9, callbacks=[keep])
    assert same(weights(model), keep.weights[0])


def test_the_progress_bar(series: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    text = io.StringIO()
    options = contrary(series)
    fit(made(), **options, epochs=3, callbacks=[Progress(text)])
    shown = text.getvalue()
    for part in ("9/9", "epoch 3/3", "loss ", "validation ", "best ", "update/s", "<"):  # "<": elapsed < left
        assert part in shown, part
    assert capsys.readouterr() == ("", "")
    fit(made(), **{**options, "progress": True}, epochs=1)
    assert "epoch 1/1" in capsys.readouterr().err


# -- bad input ------------------------------------------------------------------------------------------------------------------------


x300, y300 = np.ones((300, 2), np.float32), np.ones((300, 1), np.float32)


class Stateless(nn.Module):
    def __init__(self) -> None:
        self.head = nn.Linear(2, 1)

    def forward(self, x: Any) -> Any:
        return self.head(x)


class Forgetful(Net):
    def forward(self, x: Any, state: Any = None) -> Any:
        return super().forward(x, state)[0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train": 3}, TypeError, "train: wanted a sampler or"),
        ({"val": (x300,)}, TypeError, "val: wanted a sampler or"),
        ({"val": (hole(x300, (1, 1)), y300)}, ValueError, "val, x: wanted finite"),
        ({"train": Chunks(x300[:, :1], y300, 20)}, ValueError, "2 features"),
        ({"train": Chunks(x300, y300[:, 0], 20)}, ValueError, "shape"),
        ({"train": Chunks(x300, np.ones((300, 2), np.float32), 20)}, ValueError, "shape"),
        ({"val": Chunks(x300, np.ones((300, 2), np.float32), 20)}, ValueError, "shape"),
        ({"model": Stateless()}, TypeError, r"train: carrying a state wants a model called as model\(x, state\), got Stateless"),
        ({"model": Forgetful()}, TypeError, r"returns \(output, state\), got Tensor"),
        ({"model": object()}, TypeError, "model: wanted a gatecell.nn.Module"),
        ({"model": nn.Tanh(), "train": (x300, x300)}, ValueError, "at least one parameter"),
        ({"loss": "nope"}, TypeError, "loss: wanted a function of .output, target., got 'nope'"),
        ({"loss": lambda o, t: 0.5}, TypeError, "loss: wanted a Tensor of one number, got float"),
        ({"loss": lambda o, t: o - t}, TypeError, "loss: wanted a Tensor of one number, got Tensor of shape"),
        ({"epochs": 0}, ValueError, "epochs: wanted more than 0, got 0"),
        ({"epochs": 1.5}, TypeError, "epochs: wanted an int"),
        ({"patience": 2, "val": None}, ValueError, "patience=2 wants a validation part"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm: wanted more than 0"),
        ({"clip_value": "1"}, TypeError, "clip_value: wanted a number"),
        ({"lr": -1.0}, ValueError, "lr"),
        ({"seed": -1}, ValueError, "seed: wanted an int of at least 0"),
        ({"schedule": "sine"}, ValueError, "schedule: wanted one of constant, linear, cosine"),
        ({"schedule": 3}, TypeError, "schedule: wanted a name, a function"),
        ({"optimizer": 3}, TypeError, "optimizer: wanted an optimiser"),
        ({"optimizer": optim.SGD(made().parameters(), lr=0.1), "lr": 0.1}, ValueError, "give one of them"),
        ({"schedule": optim.lr_scheduler.StepLR(optim.SGD(made().parameters(), lr=0.1), 1)}, ValueError, "one of another"),
        ({"callbacks": [print]}, TypeError, "Callback objects"),
        ({"batch_size": 0, "train": (x300, y300), "val": None}, ValueError, "batch: wanted at least 1"),
    ],
)
def test_bad_arguments_change_nothing(change: dict[str, Any], error: type[Exception], message: str) -> None:
    options: dict[str, Any] = {"model": made(), "train": Streams(x300, y300, 20, 4), "val": Streams(x300, y300), "epochs": 1}
    options.update(change, progress=False)
    model = options["model"]
    before = weights(model) if isinstance(model, nn.Module) else {}
    gatecell.manual_seed(7)
    stream = gatecell.get_rng_state()
    with pytest.raises(error, match=message):
        fit(**options)
    assert gatecell.get_rng_state() == stream
    if isinstance(model, nn.Module):
        assert same(weights(model), before)
        assert model.training
