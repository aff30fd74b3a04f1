"""The functions behind layers and losses, with torch.nn.functional's names, meaning and defaults.

Not here: the layers and their parameters (nn/), recurrences (recurrence.py).  Every loss takes reduction "mean", "sum" or "none".
"""

from __future__ import annotations

import numpy as np

from . import random
from .checks import wants
from .dtypes import int64
from .tensor import Tensor, apply


def _typed(name: str, what: str, value: object, kinds: str) -> None:
    """TypeError unless `value` is a Tensor of these kinds of dtype."""
    if not isinstance(value, Tensor) or value.dtype.kind not in kinds:
        got = f"a Tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name}: {what} wanted, got {got}")


def check_probability(name: str, p: float) -> float:
    """`p` where it is a number in [0, 1]; else TypeError, ValueError."""
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise TypeError(f"{name}: a number in [0, 1] wanted, got {type(p).__name__}")
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: a number in [0, 1] wanted, got {p}")
    return p


def _reduce(name: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction 'mean', 'sum' or 'none' wanted, got {reduction!r}")
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _pair(name: str, input: Tensor, target: Tensor) -> None:
    """Two tensors of floats and of one shape: torch broadcasts (N,) against (N, 1) into (N, N) with a warning; here it is an error."""
    _typed(name, "an input Tensor of floats", input, "f")
    _typed(name, "a target Tensor of floats", target, "f")
    if input.shape != target.shape:
        raise ValueError(f"{name}: a target of the input's shape {input.shape} wanted, got {target.shape}")


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    _pair("mse_loss", input, target)
    return _reduce("mse_loss", (input - target).square(), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|."""
    _pair("l1_loss", input, target)
    return _reduce("l1_loss", (input - target).abs(), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 for |d| <= delta, beyond it delta (|d| - delta / 2)."""
    _pair("huber_loss", input, target)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta > 0 wanted, got {delta}")
    d = (input - target).abs()
    near = d.clamp(max=delta)  # one formula for both: near (d - near / 2)
    return _reduce("huber_loss", near * (d - 0.5 * near), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Huber's loss over beta; beta 0 is `l1_loss`."""
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta >= 0 wanted, got {beta}")
    return huber_loss(input, target, reduction, beta) / beta if beta else l1_loss(input, target, reduction)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """-input[n, target[n]]: input (N, C, ...) of log-probabilities, or (C,); target (N, ...) of class numbers, or ().

    `weight` (C,) scales each class; the mean divides by the weights counted.  Places whose target is `ignore_index` count nothing.
    """
    return _class_loss("nll_loss", input, target, weight, ignore_index, reduction)


def _class_loss(name: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str) -> Tensor:
    _typed(name, "an input Tensor of floats (N, C, ...)", input, "f")
    _typed(name, "a target Tensor of class numbers (integers)", target, "iu")
    if not input.ndim:
        raise ValueError(f"{name}: an input with a class axis wanted, got shape ()")
    axis = 1 if input.ndim > 1 else 0
    classes = input.shape[axis]
    if (shape := input.shape[:axis] + input.shape[axis + 1 :]) != target.shape:
        raise ValueError(f"{name}: for input {input.shape} a target of shape {shape} wanted, got {target.shape}")
    kept = target.data != ignore_index
    labels = np.where(kept, target.data, 0).astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{name}: class numbers 0 to {classes - 1} wanted, got {labels.min()} to {labels.max()}")
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{name}: a weight of shape {(classes,)} wanted, got {weight.shape}")
    counted = Tensor((kept if weight is None else kept * weight.data[labels]).astype(input.dtype))
    loss = -apply("pick", input, index=np.expand_dims(labels, axis), dim=axis).squeeze(axis) * counted
    return loss.sum() / counted.sum() if reduction == "mean" else _reduce(name, loss, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """`nll_loss` of `log_softmax(input, 1)`: input (N, C, ...) of any real numbers (the class axis is the second), target (N, ...).

    `label_smoothing` e: (1 - e) of the loss, and e of the mean loss over all classes.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing in [0, 1] wanted, got {label_smoothing}")
    if label_smoothing and weight is not None:
        raise ValueError("cross_entropy: either class weights or label_smoothing, got both")
    _typed("cross_entropy", "an input Tensor of floats (N, C, ...)", input, "f")
    if not input.ndim:
        raise ValueError("cross_entropy: an input with a class axis wanted, got shape ()")
    axis = 1 if input.ndim > 1 else 0
    logp = input.log_softmax(axis)
    loss = _class_loss("cross_entropy", logp, target, weight, ignore_index, reduction)
    if not label_smoothing:
        return loss
    kept = Tensor((target.data != ignore_index).astype(input.dtype))
    spread = -logp.mean(axis) * kept
    spread = spread.sum() / kept.sum() if reduction == "mean" else _reduce("cross_entropy", spread, reduction)
    return (1 - label_smoothing) * loss + label_smoothing * spread


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """-(target log s + (1 - target) log(1 - s)) with s = sigmoid(input), without the overflow of computing s first."""
    _pair("binary_cross_entropy_with_logits", input, target)
    yes = target * logsigmoid(input)
    loss = -((yes if pos_weight is None else yes * pos_weight) + (1 - target) * logsigmoid(-input))
    return _reduce("binary_cross_entropy_with_logits", loss if weight is None else loss * weight, reduction)


@wants("input")
def relu(input: Tensor) -> Tensor:
    """x where it is above 0, else 0."""
    return input.relu()


@wants("input")
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return input.sigmoid()


@wants("input")
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


@wants("input")
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without its overflow."""
    return input._real("log_sigmoid")


@wants("input")
def softplus(input: Tensor) -> Tensor:
    """log(1 + e^input)."""
    return -logsigmoid(-input)


@wants("input")
def silu(input: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return input * input.sigmoid()


@wants("input")
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x above 0, negative_slope x below."""
    return input.relu() + negative_slope * input.clamp(max=0)


@wants("input")
def softmax(input: Tensor, dim: int) -> Tensor:
    """e^x over its sum along `dim`."""
    return input.softmax(dim)


@wants("input")
def log_softmax(input: Tensor, dim: int) -> Tensor:
    """The logarithm of softmax, without its overflow."""
    return input.log_softmax(dim)


@wants("input")
def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training, each element 0 with probability p, the others over 1 - p, by its place (random.py); else the input itself."""
    check_probability("dropout: p", p)
    if not training or p == 0:
        return input
    return input * Tensor(random.dropout_mask(input.shape, p, input.dtype))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input (..., I) by weight (O, I), plus bias (O,): (..., O)."""
    _typed("linear", "an input Tensor of floats (..., I)", input, "f")
    _typed("linear", "a weight Tensor of floats (O, I)", weight, "f")
    if not input.ndim or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: input (..., I) with weight (O, I) wanted, got {input.shape} with {weight.shape}")
    if bias is not None:
        _typed("linear", "a bias Tensor of floats (O,)", bias, "f")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias {weight.shape[:1]} wanted, got {bias.shape}")
    if not input.dtype == weight.dtype == (weight if bias is None else bias).dtype:
        got = ", ".join(str(t.dtype) for t in (input, weight, bias) if t is not None)
        raise TypeError(f"linear: input, weight and bias of one dtype wanted, got {got}")
    return apply("linear", input, weight) if bias is None else apply("linear", input, weight, bias)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row input[...] of weight (V, D): (..., D).  The row `padding_idx` gets no gradient."""
    _typed("embedding", "a Tensor of integers", input, "iu")
    _in_range("embedding", input, weight.shape[0])
    if padding_idx is None:
        return apply("embedding", weight, input)
    fixed = Tensor(np.arange(weight.shape[0])[:, None] == padding_idx % weight.shape[0])
    return apply("embedding", apply("where", fixed, weight.detach(), weight), input)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes) with a 1 at each number; -1: as many classes as the largest number asks for."""
    _typed("one_hot", "a Tensor of integers", input, "iu")
    n = int(input.data.max(initial=-1)) + 1 if num_classes == -1 else num_classes
    _in_range("one_hot", input, n)
    return Tensor(np.eye(n, dtype=int64)[input.data])


def _in_range(name: str, input: Tensor, n: int) -> None:
    if input.data.size and not 0 <= input.data.min() <= input.data.max() < n:
        raise IndexError(f"{name}: numbers 0 to {n - 1} wanted, got {input.data.min()} to {input.data.max()}")
