"""Forecasting one column of a series some steps ahead: the parts in time order, the model, its training, its error.  Not here: CSV.

The target is how much the column changes, y(t + h) - y(t): a model that has learnt nothing is then as good as persistence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cells import Cell
from ..nn import Linear, Module, Recurrent, Standardize
from ..tensor import random
from ..tensor.tensor import Tensor
from .callbacks import Callback
from .fit import fit
from .history import History
from .sampling import Streams

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Task:
    """x (T, I) in its own units, column (T,) of the target, `horizon` steps ahead, and the parts of the series in time order.

    train, val, test: the steps t whose forecast is scored; t + horizon lies in the same part, so that no part sees a value of the next.
    """

    x: Array
    column: Array
    horizon: int
    train: range
    val: range
    test: range

    @classmethod
    def split(cls, x: npt.ArrayLike, column: npt.ArrayLike, horizon: int, shares: tuple[float, float] = (0.70, 0.15)) -> Task:
        """Training and validation get these shares of the steps, the test part the rest.

        TypeError, ValueError: no numbers, shapes that differ, parts without a step to score.
        """
        inputs, values = np.asarray(x, np.float32), np.asarray(column, np.float64)
        if inputs.ndim != 2 or values.shape != inputs.shape[:1]:
            raise ValueError(f"wanted x (T, I) and a column (T,), got shapes {inputs.shape} and {values.shape}")
        if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
            raise ValueError(f"horizon: wanted an int of at least 1, got {horizon!r}")
        steps = len(values)
        ends = [0, int(steps * shares[0]), int(steps * sum(shares)), steps]
        parts = [range(a, b - horizon) for a, b in pairwise(ends)]
        if not all(parts):
            raise ValueError(f"wanted parts of more than the {horizon} steps of the horizon, got {[b - a for a, b in pairwise(ends)]}")
        return cls(inputs, values, horizon, *parts)

    def change(self, part: range) -> Array:
        """y(t + h) - y(t) for the steps of a part, (len(part),)."""
        t = np.arange(part.start, part.stop)
        return np.asarray(self.column[t + self.horizon] - self.column[t])

    def statistics(self) -> tuple[Array, Array, float]:
        """Mean and deviation of x, (I,), and the deviation of the change: of the training part alone. ValueError: what never changes."""
        x = self.x[: self.train.stop].astype(np.float64)
        mean, std, scale = x.mean(0), x.std(0), float(self.change(self.train).std())
        still = np.flatnonzero(std == 0)
        if len(still) or not scale:
            what = f"input {still[0]} never changes" if len(still) else "the target never changes, or always by as much,"
            raise ValueError(f"{what} in the training part: nothing can be learnt from that")
        return mean, std, scale

    def rmse(self, forecast: npt.ArrayLike, part: range) -> float:
        """Root of the mean square error of a forecast of the change, (len(part),) or (len(part), 1), in the column's unit."""
        error = np.asarray(forecast, np.float64).reshape(len(part)) - self.change(part)
        return float(np.sqrt(np.mean(error**2)))


class Forecaster(Module):
    """Standardize -> recurrent layer -> Linear: x (T, B, I) in its own units -> an output per step (T, B, 1), and the state after them."""

    def __init__(self, cell: str | Cell, mean: npt.ArrayLike, std: npt.ArrayLike, hidden_size: int, num_layers: int = 1) -> None:
        self.standardize = Standardize(mean, std)
        self.recurrent = Recurrent(cell, len(np.atleast_1d(mean)), hidden_size, num_layers)
        self.head = Linear(hidden_size, 1)

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.recurrent(self.standardize(x), state)
        return self.head(h), state

    def scale_output(self, scale: float) -> None:
        """Multiply what it gives from now on: the weights are learnt for a target of deviation 1, the unit is put in afterwards."""
        assert self.head.bias is not None
        self.head.weight.data *= np.float32(scale)
        self.head.bias.data *= np.float32(scale)


@dataclass(frozen=True)
class Recipe:
    """How a Forecaster is trained: streams of truncated BPTT with carried state, cosine decay, clipping, early stopping.

    epochs: passes over the training part, each of T // (batch + 1) // length updates. noise: on the inputs, in their standard deviations.
    warm_up: steps before the validation part that set its state.
    """

    hidden_size: int = 32
    num_layers: int = 1
    length: int = 96
    batch: int = 32
    burn_in: int = 24
    epochs: int = 40
    lr: float = 1e-2
    clip_norm: float = 1.0
    noise: float = 0.0
    patience: int | None = None
    warm_up: int = 168

    def fitted(self, steps: int) -> Recipe:
        """The same with fewer and shorter streams where a training part of so many steps is too short for its own."""
        length = max(1, min(self.length, steps // 4))
        batch = max(1, min(self.batch, steps // length - 1))
        return replace(self, length=length, batch=batch, burn_in=min(self.burn_in, length // 4))


def train_forecaster(
    task: Task, cell: str | Cell, recipe: Recipe, *, seed: int = 0, progress: bool = True, callbacks: Iterable[Callback] = ()
) -> tuple[Forecaster, History]:
    """A model that forecasts the change in the column's unit, and what happened: its losses count in squares of the change's deviation.

    One seed gives one model, bit for bit. ValueError: a series too short for the recipe, values that are not finite or never change.
    """
    mean, std, scale = task.statistics()

    def series(part: range) -> tuple[Array, Array]:
        return task.x[part.start : part.stop], (task.change(part) / scale).astype(np.float32)[:, None]

    warm_up = min(recipe.warm_up, task.val.start)
    train = Streams(*series(task.train), recipe.length, recipe.batch, recipe.burn_in, noise=recipe.noise * std)
    val = Streams(*series(range(task.val.start - warm_up, task.val.stop)), burn_in=warm_up)
    random.manual_seed(seed)
    model = Forecaster(cell, mean, std, recipe.hidden_size, recipe.num_layers)
    history = fit(
        model,
        train,
        val,
        epochs=recipe.epochs,
        lr=recipe.lr,
        schedule="cosine",
        clip_norm=recipe.clip_norm,
        patience=recipe.patience,
        seed=seed,
        progress=progress,
        callbacks=callbacks,
    )
    model.scale_output(scale)
    return model, history
