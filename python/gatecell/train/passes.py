"""Passes over batches: forward with carried state, an epoch of updates, an evaluation.  Not here: what ends a run (fit.py)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..nn import Module
from ..nn.utils import clip_grad_norm_, clip_grad_value_
from ..optim import Optimizer
from ..tensor.autograd import no_grad
from ..tensor.tensor import Tensor
from .sampling import Batch, Sampler

Loss = Callable[[Tensor, Tensor], Tensor]


def predictions(model: Module, sampler: Sampler, rng: np.random.Generator | None) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """(batch, output cut to what is scored, target) for each batch; a state that is carried on comes without its gradient."""
    state = None
    for batch in sampler.batches(rng):
        x = _tensor(model, batch.x)
        if sampler.carries:
            output, state = model(x, None if batch.fresh else _detached(state))
        else:
            output = model(x)
            output = output[0] if isinstance(output, tuple) else output
        yield batch, output[batch.scored] if batch.scored else output, _tensor(model, batch.y)


def check(model: Module, sampler: Sampler, loss: Loss, name: str) -> None:
    """Try the first batch, changing nothing. TypeError, ValueError: the model, the data and the loss do not fit."""
    if not callable(loss):
        raise TypeError(f"loss: wanted a function of (output, target), got {loss!r}")
    if sampler.carries:
        try:
            inspect.signature(model.forward).bind(None, None)
        except TypeError:
            raise TypeError(f"{name}: carrying a state wants a model called as model(x, state), got {type(model).__name__}") from None
    training = model.training
    model.eval()
    try:
        with no_grad():
            batch = next(iter(sampler.batches(None)))
            answer = model(_tensor(model, batch.x), *([None] if sampler.carries else []))
            if sampler.carries and not (isinstance(answer, tuple) and len(answer) == 2):
                raise TypeError(f"{name}: carrying a state wants a model that returns (output, state), got {_described(answer)}")
            output = answer[0] if isinstance(answer, tuple) else answer
            if not isinstance(output, Tensor):
                raise TypeError(f"{name}: wanted a model that returns a Tensor, or one first in a tuple, got {_described(output)}")
            value = loss(output[batch.scored] if batch.scored else output, _tensor(model, batch.y))
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise TypeError(f"loss: wanted a Tensor of one number, got {_described(value)}")
    finally:
        model.train(training)


def evaluation(model: Module, sampler: Sampler, loss: Loss) -> float:
    """Mean loss over the scored values, in order, without noise or dropout; the model's mode is put back."""
    training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        with no_grad():
            for batch, output, target in predictions(model, sampler, None):
                total += float(loss(output, target)) * batch.y.size
                count += batch.y.size
    finally:
        model.train(training)
    return total / count


class Updates:
    """Epochs of updates: forward, loss, gradient, clipping, the optimiser's step."""

    def __init__(self, model: Module, optimizer: Optimizer, loss: Loss, clip_norm: float | None, clip_value: float | None) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.clip_norm, self.clip_value = clip_norm, clip_value

    def epoch(self, sampler: Sampler, rng: np.random.Generator, before: Callable[[], None], after: Callable[[float], bool]) -> float:
        """The mean loss of one pass. `before` each update, `after` each with its loss: False ends the pass.

        A loss that is not finite ends it too, before its gradient is taken, and is returned itself.
        """
        self.model.train()
        total, count = 0.0, 0
        for batch, output, target in predictions(self.model, sampler, rng):
            before()
            loss = self.loss(output, target)
            value = float(loss)
            if math.isfinite(value):
                self._update(loss)
                total += value * batch.y.size
                count += batch.y.size
            if not after(value):
                break
            if not math.isfinite(value):
                return value
        return total / count

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.clip_value is not None:
            clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(parameters, self.clip_norm)
        self.optimizer.step()


def _tensor(model: Module, values: Any) -> Tensor:
    """Floats in the model's dtype, integers (classes, indices) as they are."""
    floats = values.dtype.kind == "f" and model.dtype is not None
    return Tensor(values.astype(model.dtype, copy=False) if floats else values)


def _detached(state: Any) -> Any:
    """The same tensors, in the same tuples, lists and mappings, without their history."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: _detached(value) for name, value in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(_detached(value) for value in state)
    return state


def _described(value: Any) -> str:
    return f"{type(value).__name__}" + (f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else "")
