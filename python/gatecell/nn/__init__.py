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
from .mamba import Mamba, selective_scan
from .module import Module, Parameter
from .named import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .recurrent import Recurrent, RecurrentCell
from .rwkv import RWKVAttention, RWKVBlock, RWKVFeedForward
from .s4d import S4D
from .xlstm import MLSTM, MLSTMBlock, MLSTMCell, mlstm

__all__ = [
    "BCEWithLogitsLoss", "CrossEntropyLoss", "Dropout", "Embedding", "Flatten", "GRU", "GRUCell", "HuberLoss", "Identity", "L1Loss",
    "LSTM", "LSTMCell", "LayerNorm", "Linear", "LogSoftmax", "MLSTM", "MLSTMBlock", "MLSTMCell", "MSELoss", "Mamba", "Module", "ModuleList",
    "NLLLoss", "Parameter", "RNN", "RNNCell", "RWKVAttention", "RWKVBlock", "RWKVFeedForward", "ReLU", "Recurrent", "RecurrentCell",
    "S4D", "Sequential", "Sigmoid", "SmoothL1Loss", "Softmax", "Standardize", "Tanh", "functional", "init", "mlstm", "selective_scan",
    "utils",
]  # fmt: skip
