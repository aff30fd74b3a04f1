"""Learning rates over a run: by the share of it done, or by a scheduler stepped every epoch.  Not here: the schedulers (optim)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

Factor: TypeAlias = Callable[[float], float]
Scheduler: TypeAlias = LRScheduler | ReduceLROnPlateau

FACTORS: dict[str, Factor] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}
"""Share of a run that is done, 0 to 1 -> what the learning rate is multiplied by."""


class Rates:
    """Sets the learning rates of an optimiser's groups: their rates at the beginning times a factor, or as a scheduler does.

    TypeError, ValueError: no known name, no function, a scheduler of another optimiser.
    """

    def __init__(self, optimizer: Optimizer, schedule: str | Factor | Scheduler) -> None:
        self.optimizer = optimizer
        self.factor: Factor | None = None
        self.scheduler: Scheduler | None = None
        if isinstance(schedule, (LRScheduler, ReduceLROnPlateau)):
            if schedule.optimizer is not optimizer:
                raise ValueError("schedule: wanted a scheduler of the optimizer given, got one of another")
            self.scheduler = schedule
        elif isinstance(schedule, str):
            if schedule not in FACTORS:
                raise ValueError(f"schedule: wanted one of {', '.join(FACTORS)}, got {schedule!r}")
            self.factor = FACTORS[schedule]
        elif callable(schedule):
            self.factor = schedule
        else:
            raise TypeError(f"schedule: wanted a name, a function of the progress or a scheduler, got {type(schedule).__name__}")
        self.base = [group["lr"] for group in optimizer.param_groups]

    def set(self, done: float) -> None:
        """Before an update, when the share `done` of the run is."""
        if self.factor is not None:
            by = self.factor(done)
            for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
                group["lr"] = base * by


    def restore(self) -> None:
        """After the run: the factor was this run's alone, the rates are the optimiser's."""
        if self.factor is not None:
            for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
                group["lr"] = base

    def epoch(self, loss: float) -> None:
        """After an epoch with this loss."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        elif self.scheduler is not None:
            self.scheduler.step()
