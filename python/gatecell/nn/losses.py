"""Losses as modules, torch's names, arguments and defaults; what they compute is in functional.py.

The target may be a NumPy array: of real numbers it takes the prediction's dtype, of class numbers it stays integer.
reduction: "mean", "sum" or "none".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import functional as F
from ..tensor.tensor import Tensor
from .module import Module, to_tensor


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction: wanted 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction


class MSELoss(_Loss):
    """(input - target)^2."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.mse_loss(*_pair(input, target), reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.l1_loss(*_pair(input, target), reduction=self.reduction)


class HuberLoss(_Loss):
    """d^2 / 2 where |d| < delta, else delta * (|d| - delta / 2), for d = input - target (Huber 1964)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"delta wants a positive number, got {delta}")
        self.delta = delta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.huber_loss(*_pair(input, target), reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(_Loss):
    """HuberLoss with delta = beta, divided by beta; L1Loss for beta 0."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"beta wants a number of at least 0, got {beta}")
        self.beta = beta

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.smooth_l1_loss(*_pair(input, target), reduction=self.reduction, beta=self.beta)


class CrossEntropyLoss(_Loss):
    """-log softmax(input) at the target: input (N, C, ...) of scores, target (N, ...) of class numbers.

    weight: (C,), a factor per class; ignore_index: class number that does not count; label_smoothing: share given to all classes alike.
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing wants 0 <= label_smoothing <= 1, got {label_smoothing}")
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Any) -> Tensor:
        x, classes = _pair(input, target, classes=True)
        return F.cross_entropy(x, classes, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_Loss):
    """-input at the target: input (N, C, ...) of log-probabilities, target (N, ...); the rest as in CrossEntropyLoss."""

    weight: Tensor | None

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.nll_loss(*_pair(input, target, classes=True), self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """-(target log s + (1 - target) log(1 - s)) with s = sigmoid(input), target of input's shape in [0, 1].

    weight: a factor per element; pos_weight: a factor on the first summand.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(*_pair(input, target), self.weight, self.reduction, self.pos_weight)


def _pair(input: Any, target: Any, classes: bool = False) -> tuple[Tensor, Tensor]:
    prediction = to_tensor(input, None)
    if isinstance(target, Tensor):
        return prediction, target
    if classes and isinstance(target, np.ndarray) and target.dtype.kind in "iu":
        return prediction, Tensor(target)
    return prediction, to_tensor(target, prediction.dtype, "target")
