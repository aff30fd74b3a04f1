"""fit(): epochs, validation, the best weights, and what ends a run.  Not here: batches (sampling.py), updates (passes.py)."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..nn import Module
from ..nn.functional import mse_loss
from ..optim import Adam, Optimizer
from ..tensor import random
from .callbacks import Callback, Progress, Run
from .history import History
from .passes import Loss, Updates, check, evaluation
from .rates import Factor, Rates, Scheduler
from .sampling import Sampler, Samples

Data = Sampler | tuple[Any, Any]


def fit(
    model: Module,
    train: Data,
    val: Data | None = None,
    *,
    loss: Loss = mse_loss,
    epochs: int = 10,
    optimizer: Optimizer | None = None,
    lr: float | None = None,
    schedule: str | Factor | Scheduler = "constant",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    patience: int | None = None,
    batch_size: int = 32,
    seed: int | None = None,
    progress: bool = True,
    callbacks: Iterable[Callback] = (),
) -> History:
    """Train `model` in place and return what happened. The model ends in evaluation mode, with its best weights.

    train, val  a sampler (Windows, Chunks, Streams, Samples), or (x, y) with samples along the first axis, `batch_size` of them at a time.
                A model that returns a tuple gives its output first. For Streams it takes a state and returns it, as every recurrent layer
                does: model(x, state) -> (output, state); the state is carried to the next batch, without its gradient.
    loss        (output, target) -> a single number, the mean over what is compared.
    optimizer   of the model's parameters; by default Adam with `lr` (1e-3).
    schedule    of the learning rate: "constant", "linear" or "cosine" decay to 0 over all updates; a function from the share of the run
                that is done, 0 to 1, to a factor; or a scheduler of optim.lr_scheduler, which is stepped once an epoch.
    clip_norm, clip_value  bounds of the gradients' joint norm, of each of their elements.
    patience    stop after so many epochs without a better validation loss.
    seed        fixes what is random here, bit for bit: batches, noise, dropout. None: drawn from the stream that manual_seed() starts.
    progress    show a bar with losses, speed and the time left; see callbacks.Callback for more to be called.

    The best weights are those of the epoch with the lowest validation loss, without a validation part those of the last finished epoch.
    They are kept whatever ends the run: patience, Ctrl-C (which returns normally), a loss that is not finite (with a RuntimeWarning), an
    exception of a callback. TypeError and ValueError come before anything is changed: wrong types, shapes that do not fit, values that
    are not finite.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: wanted a gatecell.nn.Module, got {type(model).__name__}")
    batches, checks = _sampler("train", train, batch_size), None if val is None else _sampler("val", val, batch_size)
    _positive("epochs", epochs, int)
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value), ("patience", patience)):
        if value is not None:
            _positive(name, value, int if name == "patience" else float)
    if patience is not None and checks is None:
        raise ValueError(f"patience={patience} wants a validation part: give val")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
        raise ValueError(f"seed: wanted an int of at least 0 or None, got {seed!r}")
    optimizer = _optimizer(model, optimizer, lr)
    rates = Rates(optimizer, schedule)
    called = _callbacks(callbacks, progress)
    check(model, batches, loss, "train")
    if checks is not None:
        check(model, checks, loss, "val")

    if seed is not None:
        random.manual_seed(seed)
    draw = np.random.default_rng(int(random.generator().integers(2**63)) if seed is None else seed)
    run = Run(model, optimizer, epochs, epochs * len(batches))
    history, kept, updates = run.history, _Kept(model), Updates(model, optimizer, loss, clip_norm, clip_value)

    def after(value: float) -> bool:
        run.loss, run.update = value, run.update + 1
        _each(called, "on_update", run)
        return not run.stopping

    try:
        _each(called, "on_begin", run)
        while run.epoch < epochs and not run.stopping:
            began = time.perf_counter()
            mean = updates.epoch(batches, draw, lambda: rates.set(run.update / run.updates), after)
            if not math.isfinite(mean):
                run.stop("diverged")
                break
            validation = None if checks is None else evaluation(model, checks, loss)
            if kept.offer(validation):
                history.best_epoch = run.epoch
            rates.epoch(mean if validation is None else validation)
            history.add(mean, validation, optimizer.param_groups[0]["lr"], time.perf_counter() - began)
            run.epoch += 1
            if patience is not None and run.epoch - (history.best_epoch or 0) > patience:
                run.stop("patience")
            _each(called, "on_epoch", run)
    except KeyboardInterrupt:
        run.stop("interrupted")
    finally:
        kept.restore()
        rates.restore()
        model.eval().zero_grad()
        _each(called, "on_end", run)
    if history.stopped == "diverged":
        back = "initial weights" if history.best_epoch is None else f"weights of epoch {history.best_epoch + 1}"
        warnings.warn(f"the loss became {run.loss} in epoch {run.epoch + 1}; the model has its {back} again", RuntimeWarning, stacklevel=2)
    return history


def evaluate(model: Module, data: Data, loss: Loss = mse_loss, batch_size: int = 32) -> float:
    """Mean loss over data in order, without noise or dropout; the model's mode is put back. Arguments and errors as of fit()."""
    if not isinstance(model, Module):
        raise TypeError(f"model: wanted a gatecell.nn.Module, got {type(model).__name__}")
    sampler = _sampler("data", data, batch_size)
    check(model, sampler, loss, "data")
    return evaluation(model, sampler, loss)


class _Kept:
    """A copy of the best weights so far; at first the initial ones."""

    def __init__(self, model: Module) -> None:
        self.model, self.best = model, math.inf
        self.weights = _weights(model)

    def offer(self, loss: float | None) -> bool:
        """Keep the model's weights if they are better; a None is always better than the one before."""
        better = loss is None or loss < self.best
        if better:
            self.weights = _weights(self.model)  # in one piece: Ctrl-C may come at any time
            self.best = math.inf if loss is None else loss
        return better

    def restore(self) -> None:
        self.model.load_state_dict(self.weights)


def _weights(model: Module) -> dict[str, Any]:
    return {name: value.data.copy() for name, value in model.state_dict().items()}


def _sampler(name: str, data: Any, batch_size: int) -> Sampler:
    if isinstance(data, Sampler):
        return data
    if not isinstance(data, tuple) or len(data) != 2:
        raise TypeError(f"{name}: wanted a sampler or (x, y), got {type(data).__name__}")
    try:
        return Samples(*data, batch=batch_size)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}, {error}") from None


def _optimizer(model: Module, optimizer: Optimizer | None, lr: float | None) -> Optimizer:
    if optimizer is None:
        return Adam(model.parameters(), lr=1e-3 if lr is None else lr)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: wanted an optimiser of gatecell.optim, got {type(optimizer).__name__}")
    if lr is not None:
        raise ValueError(f"lr={lr} beside an optimizer, which has its own: give one of them")
    return optimizer


def _callbacks(given: Iterable[Callback], progress: bool) -> list[Callback]:
    called = [*given, *([Progress()] if progress else [])]
    for callback in called:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: wanted gatecell.train.Callback objects, got {type(callback).__name__}")
    return called


def _positive(name: str, value: Any, kind: type) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer) if kind is int else (int, float, np.number)):
        raise TypeError(f"{name}: wanted {'an int' if kind is int else 'a number'}, got {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: wanted more than 0, got {value}")


def _each(called: list[Callback], what: str, run: Run) -> None:
    for callback in called:
        getattr(callback, what)(run)
