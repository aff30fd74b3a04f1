"""What a network has to beat: persistence, yesterday's same hour, and ridge regression on the same inputs over a window of hours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...train.forecast import Task
from .problem import CHANGES, WEATHER

Array = npt.NDArray[np.float64]

LAGS = (24, 48, 96, 168)
QUICK_LAGS = (48, 168)
"""Hours in the window, the present one included."""
ALPHAS = (0.01, 1.0, 100.0)
"""Weights of the penalty, for inputs of unit variance."""


def persistence(task: Task, part: range) -> float:
    """RMSE of "it stays as it is"."""
    return task.rmse(np.zeros(len(part)), part)


def yesterday(task: Task, part: range) -> float:
    """RMSE of the value a day before the hour that is forecast."""
    t = np.arange(part.start, part.stop)
    return task.rmse(task.column[t + task.horizon - 24] - task.column[t], part)


class Ridge:
    """scikit-learn's ridge regression for several horizons at once; window and penalty of each chosen on the validation part.

    A window of all inputs, less the columns that are linear functions of others: of the changes its first hour's are kept, as the weather
    holds the others, of the calendar its last hour's, which the others are a rotation of.
    ImportError: scikit-learn is not installed (it is the extra gatecell[sklearn]).
    """

    def __init__(self, tasks: Sequence[Task], lags: Sequence[int] = LAGS, alphas: Sequence[float] = ALPHAS) -> None:
        from sklearn import linear_model

        self._fit, self.lags, self.alphas = linear_model.Ridge, lags, alphas
        self.tasks = tasks
        self.errors: dict[tuple[int, float], list[tuple[float, float]]] = {}  # (lags, alpha) -> (validation, test) RMSE of each task

    def __len__(self) -> int:
        """How many fits there are."""
        return len(self.lags) * len(self.alphas)

    def fits(self) -> Iterator[tuple[int, float]]:
        """Do them all, one (lags, alpha) at a time."""
        widest = max(self.tasks, key=lambda task: task.horizon)
        mean, std, _ = widest.statistics()
        z = (widest.x - mean) / std
        targets = np.stack([task.change(widest.train)[max(self.lags) - 1 :] for task in self.tasks], axis=1)
        for lags in self.lags:
            rows = _windows(z, lags)
            known = rows[max(self.lags) - lags : widest.train.stop - lags + 1]  # every window has the same hours to learn from
            for alpha in self.alphas:
                model = self._fit(alpha=alpha).fit(known, targets)
                self.errors[lags, alpha] = [
                    (self._error(model, rows, lags, i, task.val), self._error(model, rows, lags, i, task.test))
                    for i, task in enumerate(self.tasks)
                ]
                yield lags, alpha

    def _error(self, model: Any, rows: Array, lags: int, index: int, part: range) -> float:
        forecast = model.predict(rows[part.start - lags + 1 : part.stop - lags + 1])
        return self.tasks[index].rmse(forecast.reshape(len(part), -1)[:, index], part)

    def chosen(self, index: int) -> tuple[int, float]:
        """(lags, alpha) with the lowest validation error for a task."""
        return min(self.errors, key=lambda setting: self.errors[setting][index][0])


def _windows(z: Array, lags: int) -> Array:
    """(T - lags + 1, lags * weather + changes + calendar): row r holds the hours r .. r + lags - 1."""
    weather, changes, calendar = np.split(z, [len(WEATHER), len(WEATHER) + len(CHANGES)], axis=1)
    rows = len(z) - lags + 1
    seen = np.lib.stride_tricks.sliding_window_view(weather, lags, axis=0).reshape(rows, -1)
    return np.concatenate([seen, changes[:rows], calendar[lags - 1 :]], axis=1)
