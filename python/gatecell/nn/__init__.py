"""Layers under torch.nn's names. Not here: optimisers (optim/), training loops (train/)."""

from . import functional, init, utils
from .containers import ModuleList, Sequential
from .layers import (
    Dropout,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Softmax,
    Standardize,
    Tanh,
)
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss
from .module import Module, Parameter
from .named import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .recurrent import Recurrent, RecurrentCell

__all__ = [
    "BCEWithLogitsLoss", "CrossEntropyLoss", "Dropout", "Embedding", "Flatten", "GRU", "GRUCell", "HuberLoss", "Identity", "L1Loss", "LSTM",
    "LSTMCell", "LayerNorm", "Linear", "LogSoftmax", "MSELoss", "Module", "ModuleList", "NLLLoss", "Parameter", "RNN", "RNNCell", "ReLU",
    "Recurrent", "RecurrentCell", "Sequential", "Sigmoid", "SmoothL1Loss", "Softmax", "Standardize", "Tanh", "functional", "init", "utils",
]  # fmt: skip
