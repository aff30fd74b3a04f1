"""gatecell: train recurrent networks on a CPU, ship them as plain C.  The public names, nothing else."""

from __future__ import annotations

from importlib import import_module as _import
from typing import Any as _Any

from .cells import cell, cells, scan, scans
from .errors import Unsupported
from .tensor.autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled

# isort: off
from .tensor.create import (
    FloatTensor, LongTensor, arange, as_tensor, bernoulli, empty, empty_like, eye, from_numpy, full, full_like, linspace, multinomial,
    ones, ones_like, rand, rand_like, randint, randn, randn_like, randperm, tensor, zeros, zeros_like,
)  # fmt: skip
from .tensor.device import cuda, device
from .tensor.dtypes import bool_ as bool, double, float32, float64, int8, int16, int32, int64, long, uint8  # torch's names
from .tensor.functions import (
    abs, add, allclose, argmax, argmin, bmm, cat, chunk, clamp, concat, cos, div, equal, exp, flatten, flip, is_tensor, isfinite, isnan,
    log, log_softmax, matmul, max, maximum, mean, min, minimum, mm, mul, permute, pow, relu, reshape, sigmoid, sin, softmax, split, sqrt,
    squeeze, stack, std, sub, sum, tanh, transpose, unbind, unsqueeze, var, where,
)  # fmt: skip
# isort: on
from .tensor.random import dropout_at, get_rng_state, manual_seed, set_rng_state
from .tensor.tensor import Tensor

float = float32

# Imported when first asked for: `import gatecell` alone stays light.  Name -> (module, name in it; "": the module itself).
_LAZY = {
    "nn": ("nn", ""),
    "optim": ("optim", ""),
    "cpu": ("tensor.engine", "cpu"),
    "set_num_threads": ("tensor.engine", "set_num_threads"),
    "get_num_threads": ("tensor.engine", "get_num_threads"),
    "fit": ("train", "fit"),
    "inspect": ("nn.inspection", "inspect"),
    "Stream": ("deploy.stream", "Stream"),
    "quantize": ("deploy.quantize", "quantize"),
    "export_c": ("deploy.export", "export_c"),
    "save": ("exchange.files", "save"),
    "load": ("exchange.files", "load"),
    "load_state": ("exchange.files", "load_state"),
    "load_weights": ("exchange.layouts", "load_weights"),
}


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'gatecell' has no attribute {name!r}")
    module, inside = _LAZY[name]
    found = _import(f".{module}", __name__)
    value = getattr(found, inside) if inside else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(n for n in globals() if not n.startswith("_")), *_LAZY})


__version__ = "0.1.0"
__all__ = [
    "FloatTensor", "LongTensor", "Tensor", "Unsupported", "abs", "add", "allclose", "arange", "argmax", "argmin", "as_tensor",
    "bernoulli", "bmm", "bool", "cat", "cell", "cells", "chunk", "clamp", "concat", "cos", "cuda", "device", "div", "double", "dropout_at",
    "empty", "empty_like", "enable_grad", "equal", "exp", "eye", "flatten", "flip", "float", "float32", "float64", "from_numpy",
    "full", "full_like", "get_rng_state", "int16", "int32", "int64", "int8", "is_grad_enabled", "is_tensor", "isfinite", "isnan",
    "linspace", "log", "log_softmax", "long", "manual_seed", "matmul", "max", "maximum", "mean", "min", "minimum", "mm", "mul",
    "multinomial", "no_grad", "ones", "ones_like", "permute", "pow", "rand", "rand_like", "randint", "randn", "randn_like",
    "randperm", "relu", "reshape", "scan", "scans",
    "set_grad_enabled", "set_rng_state", "sigmoid", "sin", "softmax", "split", "sqrt", "squeeze",
    "stack", "std", "sub", "sum", "tanh", "tensor", "transpose", "uint8", "unbind", "unsqueeze", "var", "where", "zeros",
    "zeros_like", *_LAZY,
]  # fmt: skip
