"""The demo's networks: recipes per horizon, training, and forecasts one hour at a time, as a device makes them.  Not here: integers, C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from ...deploy.stream import streamed
from ...train import Callback, Run
from ...train.forecast import Forecaster, Recipe, train_forecaster
from .problem import WARM_UP, rows, weather_tasks
from .workers import Progress

Array = npt.NDArray[Any]

# Chosen on the validation part: one hour ahead a network has learnt what there is after some 900 updates, a day ahead after 200.
# There noise on the inputs and early stopping keep it from learning the years by heart.
RECIPES: Mapping[int, Recipe] = {
    1: Recipe(epochs=100, lr=1e-2),
    24: Recipe(epochs=40, lr=3e-3, noise=0.1, patience=12),
}
QUICK: Mapping[int, Recipe] = {1: replace(RECIPES[1], epochs=40), 24: replace(RECIPES[24], epochs=20)}


@dataclass(frozen=True)
class Job:
    """One network to train: horizon in hours, name of the cell, seed."""

    horizon: int
    cell: str
    seed: int
    recipe: Recipe

    @property
    def cost(self) -> float:
        """Time it takes, in epochs."""
        return self.recipe.epochs


@dataclass(frozen=True)
class Trained:
    """A trained network as it comes back from its process.

    weights: by name. val, test: RMSE in degrees, streamed. forecasts: of the change, (hours of the test part,). epochs: finished.
    """

    job: Job
    weights: dict[str, Array]
    val: float
    test: float
    forecasts: Array
    epochs: int
    best_epoch: int
    seconds: float

    @property
    def parameters(self) -> int:
        """How many numbers were learnt."""
        return sum(p.numel() for p in self.model().parameters())

    def model(self) -> Forecaster:
        """The network again, ready to predict."""
        mean, std, _ = weather_tasks()[self.job.horizon].statistics()
        model = Forecaster(self.job.cell, mean, std, self.job.recipe.hidden_size, self.job.recipe.num_layers)
        model.load_state_dict(self.weights)
        model.eval()
        return model


def train(job: Job, progress: Progress) -> Trained:
    """Train a network and let it forecast the validation and the test part."""
    task = weather_tasks()[job.horizon]
    model, history = train_forecaster(task, job.cell, job.recipe, seed=job.seed, progress=False, callbacks=[_Tell(progress)])
    weights = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    val, test = (streamed(model, rows(task, part))[WARM_UP:, 0] for part in (task.val, task.test))
    rmse = task.rmse(val, task.val), task.rmse(test, task.test)
    return Trained(job, weights, *rmse, test, len(history), history.best_epoch or 0, sum(history.seconds))


class _Tell(Callback):
    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_epoch(self, run: Run) -> None:
        if not self.progress(run.epoch / run.epochs):
            run.stop("interrupted")
