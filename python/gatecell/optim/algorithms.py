"""The update rules: SGD, Adam, AdamW, RMSprop, with torch's arguments, defaults, names of state and results to rounding.

Each works in place on one piece of one parameter (optimizer.py cuts them) and writes temporaries only into `work`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .optimizer import Array, Group, Optimizer, State

INF = math.inf


class SGD(Optimizer):
    """p -= lr * v with v = momentum * v + (1 - dampening) * g, v = g at the first step; nesterov descends g + momentum * v."""

    bounds: ClassVar = {"lr": (0, INF), "momentum": (0, INF), "weight_decay": (0, INF)}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(f"nesterov wants momentum > 0 and dampening 0, got {group['momentum']} and {group['dampening']}")

    def initial_state(self, group: Group, p: Array) -> State:
        return {"momentum_buffer": np.zeros(p.shape, p.dtype)} if group["momentum"] else {}

    def update(self, group: Group, p: Array, g: Array, state: State, work: Array, first: bool) -> None:
        momentum = group["momentum"]
        if momentum:
            v = state["momentum_buffer"]
            v *= momentum
            v += g if first or not group["dampening"] else np.multiply(g, 1 - group["dampening"], out=work)
            g = np.add(g, np.multiply(v, momentum, out=work), out=work) if group["nesterov"] else v
        p -= np.multiply(g, group["lr"], out=work)


class Adam(Optimizer):
    """Kingma & Ba 2015: p -= lr * m / (sqrt(v) + eps), m and v the bias-corrected running means of g and g^2.

    amsgrad divides by the largest v so far (Reddi, Kale & Kumar 2018); weight_decay adds weight_decay * p to g, or with
    decoupled_weight_decay shrinks p by lr * weight_decay (AdamW).
    """

    bounds: ClassVar = {"lr": (0, INF), "betas": (0, 1), "eps": (0, INF), "weight_decay": (0, INF)}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {**options, "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group: Group) -> None:
        super().check(group)
        if not isinstance(group["betas"], (tuple, list)) or len(group["betas"]) != 2:
            raise ValueError(f"betas wants 2 numbers, got {group['betas']}")

    def initial_state(self, group: Group, p: Array) -> State:
        names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
        return {"step": 0, **{name: np.zeros(p.shape, p.dtype) for name in names}}

    def update(self, group: Group, p: Array, g: Array, state: State, work: Array, first: bool) -> None:
        lr, (beta1, beta2), t = group["lr"], group["betas"], state["step"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        if group["decoupled_weight_decay"] and group["weight_decay"]:
            p *= 1 - lr * group["weight_decay"]
        np.subtract(g, m, out=work)
        work *= 1 - beta1
        m += work
        np.multiply(g, g, out=work)
        work *= 1 - beta2
        v *= beta2
        v += work
        if group["amsgrad"]:
            v = np.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        # lr * (m / c1) / (sqrt(v) / c2 + eps), with the two corrections taken out of the passes over memory
        c1, c2 = 1 - beta1**t, math.sqrt(1 - beta2**t)
        np.sqrt(v, out=work)
        work += group["eps"] * c2
        np.divide(m, work, out=work)
        work *= lr * c2 / c1
        p -= work


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): p shrinks by lr * weight_decay, m and v do not see it."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


class RMSprop(Optimizer):
    """Tieleman & Hinton 2012: p -= lr * g / (sqrt(v) + eps), v the running mean of g^2, less the squared mean of g when `centered`."""

    bounds: ClassVar = {"lr": (0, INF), "alpha": (0, INF), "eps": (0, INF), "weight_decay": (0, INF), "momentum": (0, INF)}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**options, "centered": centered, "maximize": maximize})

    def initial_state(self, group: Group, p: Array) -> State:
        names = ["square_avg", *(["momentum_buffer"] if group["momentum"] else []), *(["grad_avg"] if group["centered"] else [])]
        return {"step": 0, **{name: np.zeros(p.shape, p.dtype) for name in names}}

    def update(self, group: Group, p: Array, g: Array, state: State, work: Array, first: bool) -> None:
        alpha, v = group["alpha"], state["square_avg"]
        np.multiply(g, g, out=work)
        work *= 1 - alpha
        v *= alpha
        v += work
        if group["centered"]:
            mean = state["grad_avg"]
            np.subtract(g, mean, out=work)
            work *= 1 - alpha
            mean += work
            np.multiply(mean, mean, out=work)
            np.subtract(v, work, out=work)
            np.sqrt(work, out=work)
        else:
            np.sqrt(v, out=work)
        work += group["eps"]
        np.divide(g, work, out=work)
        if group["momentum"]:
            velocity = state["momentum_buffer"]
            velocity *= group["momentum"]
            velocity += work
            np.multiply(velocity, group["lr"], out=work)
        else:
            work *= group["lr"]
        p -= work
