"""torch.nn.functional's names: what layers and losses compute, as functions of Tensors. They are written in tensor/functional.py."""

from ..tensor.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    dropout,
    embedding,
    huber_loss,
    l1_loss,
    leaky_relu,
    linear,
    log_softmax,
    logsigmoid,
    mse_loss,
    nll_loss,
    one_hot,
    relu,
    sigmoid,
    silu,
    smooth_l1_loss,
    softmax,
    softplus,
    tanh,
)

__all__ = [
    "binary_cross_entropy_with_logits", "cross_entropy", "dropout", "embedding", "huber_loss", "l1_loss", "leaky_relu", "linear",
    "log_softmax", "logsigmoid", "mse_loss", "nll_loss", "one_hot", "relu", "sigmoid", "silu", "smooth_l1_loss", "softmax",
    "softplus", "tanh",
]  # fmt: skip
