"""What arguments have to be, and the sentences for those that are not.  Not here: shapes that an operation wants (each says its own)."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .dtypes import Array

P = ParamSpec("P")
R = TypeVar("R")


class HasArray:
    """The base of Tensor, for those that Tensor is made of."""

    __slots__ = ()
    data: Array


def whole(name: str, value: Any) -> int:
    """`value` as an int; TypeError where it is none: a float, even 2.0."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: a whole number wanted, got {what(value)}") from None


def what(value: object) -> str:
    """What came, for a message that says what was wanted."""
    if isinstance(value, HasArray):
        return f"a Tensor of {value.data.dtype} and shape {value.data.shape}"
    kind = type(value).__name__
    return f"{kind} (make it a Tensor with from_numpy)" if isinstance(value, np.ndarray) else kind


def tensor_of(name: str, value: Any) -> Any:
    """`value` where it is a Tensor, else TypeError."""
    if not isinstance(value, HasArray):
        raise TypeError(f"{name}: a Tensor wanted, got {what(value)}")
    return value


def wants(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: TypeError, before anything else, unless the arguments of these names are Tensors."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        order = list(inspect.signature(function).parameters)
        places = [(order.index(name), name) for name in names]

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for place, name in places:
                if place < len(args) or name in kwargs:  # else the call itself says what is missing
                    tensor_of(f"{function.__name__}: {name}", args[place] if place < len(args) else kwargs[name])
            return function(*args, **kwargs)

        return checked

    return decorate
