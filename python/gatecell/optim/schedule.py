"""What learning-rate schedules share: the optimiser they change, t, their state, checks of options. The schedules: lr_scheduler.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .optimizer import Optimizer


class Schedule:
    """What every schedule has: the optimiser, get_last_lr(), and a state of plain numbers."""

    kept: tuple[str, ...] = ("last_epoch", "_last_lr")  # attributes that are its state

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = checked(optimizer)
        self.last_epoch = -1
        self._last_lr: list[float] = []

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group, as last set."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: where the schedule stands. Its options come from the constructor again."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """ValueError, and no change, when something is missing."""
        if missing := [name for name in self.kept if name not in state_dict]:
            raise ValueError(f"state of {type(self).__name__} lacks {', '.join(missing)}")
        for name in self.kept:
            setattr(self, name, state_dict[name])

    def set_rates(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = float(rate)
        self._last_lr = [float(rate) for rate in rates]


class LRScheduler(Schedule):
    """Base of the schedules that depend on t alone: subclasses define get_lr() from `last_epoch` (t) and `base_lrs` (rates at t = 0)."""

    kept = (*Schedule.kept, "base_lrs")

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        super().__init__(optimizer)
        for group in optimizer.param_groups:
            if last_epoch != -1 and "initial_lr" not in group:
                raise ValueError(f"last_epoch={last_epoch} wants 'initial_lr' in every group: resume with load_state_dict() instead")
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group at t = last_epoch."""
        raise TypeError(f"{type(self).__name__} defines no get_lr()")

    def step(self) -> None:
        self.last_epoch += 1
        self.set_rates(self.get_lr())

    def restart(self) -> None:
        """Stand at t = 0, whatever others did to the rates."""
        self.set_rates(self.base_lrs)
        self.last_epoch = -1
        self.step()


class FactorLR(LRScheduler):
    """lr = floor + (initial - floor) * factor(t), reached by multiplying the present rate: several such schedules can act together."""

    floor = 0.0

    def factor(self, t: int) -> float:
        raise TypeError(f"{type(self).__name__} defines no factor()")

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        before, now = self.factor(t - 1) if t > 0 else 1.0, self.factor(t)
        if now == before:
            return [group["lr"] for group in self.optimizer.param_groups]
        if before == 0:
            return [self.floor + (base - self.floor) * now for base in self.base_lrs]
        return [self.floor + (group["lr"] - self.floor) * (now / before) for group in self.optimizer.param_groups]


def checked(optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"a schedule wants an optimiser of gatecell.optim, got {type(optimizer).__name__}")
    return optimizer


def per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """`value` for each parameter group: itself, or a list with one for each."""
    count = len(checked(optimizer).param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} wants one value or {count}, one per parameter group, got {len(value)}")
    return list(value)


def at_least_one(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} wants an integer of at least 1, got {value!r}")
    return value


def within(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError(f"{name} wants {low} <= {name} <= {high}, got {value}")
    return value
