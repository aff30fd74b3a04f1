"""Learning-rate schedules under torch's names, arguments and meaning: they change `lr` (and OneCycleLR momentum) of an optimiser's groups.

t is the number of step() calls so far; a schedule acts once when it is made, as t = 0. ValueError: an option out of range.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from .optimizer import Group, Optimizer
from .schedule import FactorLR, LRScheduler, Schedule, at_least_one, checked, per_group, within

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


Factor: TypeAlias = Callable[[int], float]


class LambdaLR(LRScheduler):
    """lr = initial * f(t); one function for all groups or one for each."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas = per_group("lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(FactorLR):
    """lr = initial * gamma ** (t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = at_least_one("step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return float(self.gamma ** (t // self.step_size))


class MultiStepLR(FactorLR):
    """lr = initial * gamma ** (milestones passed)."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return float(self.gamma ** bisect_right(self.milestones, t))


class ExponentialLR(FactorLR):
    """lr = initial * gamma ** t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # the ratio is gamma itself: gamma ** t may underflow long before lr does
        return [group["lr"] * (self.gamma if self.last_epoch else 1) for group in self.optimizer.param_groups]


class ConstantLR(FactorLR):
    """lr = initial * factor while t < total_iters, then initial."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self.start_factor, self.total_iters = within("factor", factor, 0, 1), total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.start_factor if t < self.total_iters else 1.0


class LinearLR(FactorLR):
    """lr goes on a straight line from initial * start_factor at t = 0 to initial * end_factor at t = total_iters, and stays."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor wants 0 < start_factor <= 1, got {start_factor}")
        self.start_factor, self.end_factor = start_factor, within("end_factor", end_factor, 0, 1)
        self.total_iters = at_least_one("total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(t, self.total_iters) / self.total_iters


class CosineAnnealingLR(FactorLR):
    """Half a cosine from initial at t = 0 to eta_min at t = T_max, and up again after it (Loshchilov & Hutter 2017, without restarts)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.floor = at_least_one("T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return 0.0 if t % (2 * self.T_max) == self.T_max else (1 + math.cos(math.pi * t / self.T_max)) / 2


class SequentialLR(LRScheduler):
    """One schedule after the other: the next takes over, at its own t = 0, when t reaches a milestone."""

    kept = Schedule.kept

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1) -> None:
        Schedule.__init__(self, optimizer)
        for schedule in schedulers:
            if not isinstance(schedule, LRScheduler) or schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR wants schedules of this optimiser that depend on t alone, got {type(schedule).__name__}")
        if not schedulers or len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR wants one increasing milestone between schedules, got {list(milestones)} for {len(schedulers)}")
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.base_lrs = schedulers[0].base_lrs
        self.last_epoch = last_epoch
        self.step()

    def step(self) -> None:
        self.last_epoch += 1
        now = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[now]
        if self.last_epoch == 0 or (now and self._milestones[now - 1] == self.last_epoch):
            schedule.restart()
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        inner = state_dict.get("_schedulers", [])
        if len(inner) != len(self._schedulers):
            raise ValueError(f"state of SequentialLR: wanted {len(self._schedulers)} schedules, got {len(inner)}")
        super().load_state_dict(state_dict)
        for schedule, state in zip(self._schedulers, inner, strict=True):
            schedule.load_state_dict(state)


class OneCycleLR(LRScheduler):
    """Smith & Topin 2018: lr from max_lr / div_factor up to max_lr in pct_start of all steps, then down to start / final_div_factor.

    Momentum (SGD's, or Adam's first beta) goes the opposite way between max_momentum and base_momentum. With three_phase lr comes down
    as it went up first. Steps: total_steps, or epochs * steps_per_epoch; one more step() than these is a ValueError.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        checked(optimizer)
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("OneCycleLR wants total_steps, or epochs and steps_per_epoch")
        if total_steps is None:
            total_steps = at_least_one("epochs", epochs) * at_least_one("steps_per_epoch", steps_per_epoch)
        self.total_steps = at_least_one("total_steps", total_steps)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy wants 'cos' or 'linear', got {anneal_strategy!r}")
        self.momentum = "betas" if "betas" in optimizer.defaults else "momentum" if "momentum" in optimizer.defaults else ""
        if cycle_momentum and not self.momentum:
            raise ValueError(f"cycle_momentum wants an optimiser with momentum or betas, got {type(optimizer).__name__}")
        self.cycle_momentum, self.linear = cycle_momentum, anneal_strategy == "linear"
        up = within("pct_start", pct_start, 0, 1) * self.total_steps - 1
        self.ends = [up, 2 * up, self.total_steps - 1] if three_phase else [up, self.total_steps - 1]
        # per group, the values at the ends of the phases
        top, low, high = (per_group(n, v, optimizer) for n, v in (("max_lr", max_lr), ("base_", base_momentum), ("max_", max_momentum)))
        self.rates = [self._turns(r / div_factor, r, r / div_factor / final_div_factor, three_phase) for r in top]
        self.momenta = [self._turns(h, b, h, three_phase) for h, b in zip(high, low, strict=True)]
        if last_epoch == -1:
            for group, rates in zip(optimizer.param_groups, self.rates, strict=True):
                group["initial_lr"] = rates[0]
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _turns(start: float, middle: float, end: float, three_phase: bool) -> list[float]:
        return [start, middle, start, end] if three_phase else [start, middle, end]

    def step(self) -> None:
        if self.last_epoch + 1 > self.total_steps:
            raise ValueError(f"OneCycleLR has {self.total_steps} steps, got one more")
        super().step()

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        phase = next((i for i, end in enumerate(self.ends) if t <= end), len(self.ends) - 1)
        start, end = (self.ends[phase - 1] if phase else 0.0), self.ends[phase]
        done = (t - start) / (end - start)
        if self.cycle_momentum:
            for group, turns in zip(self.optimizer.param_groups, self.momenta, strict=True):
                self._set_momentum(group, self._between(turns[phase], turns[phase + 1], done))
        return [self._between(turns[phase], turns[phase + 1], done) for turns in self.rates]

    def _between(self, start: float, end: float, done: float) -> float:
        return start + (end - start) * done if self.linear else end + (start - end) / 2 * (1 + math.cos(math.pi * done))

    def _set_momentum(self, group: Group, value: float) -> None:
        group[self.momentum] = (value, *group["betas"][1:]) if self.momentum == "betas" else value


class ReduceLROnPlateau(Schedule):
    """Multiplies lr by `factor` once the watched value has not improved for more than `patience` steps: scheduler.step(validation_loss)."""

    kept = (*Schedule.kept, "best", "num_bad_epochs", "cooldown_counter")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(optimizer)
        if factor >= 1:
            raise ValueError(f"factor wants factor < 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode wants 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode wants 'rel' or 'abs', got {threshold_mode!r}")
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.min_lrs = per_group("min_lr", min_lr, optimizer)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def is_better(self, value: float) -> bool:
        """Is `value` better than the best so far by more than the threshold?"""
        if math.isinf(self.best):
            return value < self.best if self.mode == "min" else value > self.best
        margin = self.threshold * (self.best if self.threshold_mode == "rel" else 1)
        return value < self.best - margin if self.mode == "min" else value > self.best + margin

    def step(self, metrics: Any) -> None:
        value = float(metrics)
        self.last_epoch += 1
        if self.is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _reduce(self) -> None:
        for group, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            rate = max(group["lr"] * self.factor, low)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate
