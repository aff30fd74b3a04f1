"""Module: a tree of parameters, buffers and sub-modules under torch's names, with its state_dict. No layer is defined here.

What a module owns is read from its attributes: every Parameter and Module found there, in the order of assignment, and the Tensors named by
register_buffer(). There is no second list that could disagree with the attributes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..tensor.device import device as Device
from ..tensor.dtypes import as_dtype
from ..tensor.tensor import Tensor

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A Tensor that its Module trains: assigned as an attribute, it appears in parameters() and in the state_dict."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.data if isinstance(data, Tensor) else data)
        if isinstance(data, Tensor):
            self.version = data.version
        as_dtype(self.data.dtype)  # what a Tensor of results may be for a moment, a model is not: it has to be saved
        self.requires_grad = requires_grad


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) did not find in the mapping, and what it did not use of it."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of every layer and model: subclasses define forward(); calling the module calls it.

    A floating-point NumPy array among the positional arguments becomes a Tensor of the module's own dtype; Tensors pass unchanged.
    """

    training: bool = True
    _buffers: Mapping[str, bool] = {}  # name of a buffer -> is it part of the state_dict?

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward(), so it cannot be called")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for a in args:
            if isinstance(a, np.ndarray) and a.dtype.kind == "f" and (dtype := self.dtype) is not None:
                args = tuple([to_tensor(a, dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args])
                break
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, Parameter) and not (value is None or isinstance(value, Parameter)):
            raise TypeError(f"{type(self).__name__}.{name} is a parameter: wanted a Parameter or None, got {type(value).__name__}")
        if name in self._buffers and not (value is None or isinstance(value, Tensor)):
            raise TypeError(f"{type(self).__name__}.{name} is a buffer: wanted a Tensor or None, got {type(value).__name__}")
        object.__setattr__(self, name, value)

    # -- the tree -------------------------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(attribute, module) of the modules directly inside, each module once."""
        seen: set[int] = set()
        for name, value in self.__dict__.items():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of the whole tree, this module first, each module once."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """Like named_modules(), but a module that is reached by two names appears under both, as it does in a state_dict."""
        yield prefix, self
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield from value._walk(_join(prefix, name))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter), each parameter once, a module's own before those of its children."""
        seen: set[int] = set()
        for path, module in self._walk(prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__.items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, Tensor) of everything given to register_buffer(), each once."""
        seen: set[int] = set()
        for path, module in self._walk(prefix) if recurse else [(prefix, self)]:
            for name in module._buffers:
                value = module.__dict__.get(name)
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def register_buffer(self, name: str, tensor: Tensor | npt.NDArray[Any] | None, persistent: bool = True) -> None:
        """Make `tensor` part of the module without training it. Without `persistent` it stays out of the state_dict."""
        self._check_name(name)
        if isinstance(tensor, np.ndarray):
            as_dtype(tensor.dtype)
            tensor = Tensor(tensor)
        elif not (tensor is None or isinstance(tensor, Tensor)):
            raise TypeError(f"a buffer is a Tensor, a NumPy array or None, got {type(tensor).__name__}")
        self.__dict__["_buffers"] = {**self._buffers, name: persistent}
        self.__dict__[name] = tensor

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        self._check_name(name)
        if not (param is None or isinstance(param, Parameter)):
            raise TypeError(f"parameter {name!r}: wanted a Parameter or None, got {type(param).__name__}")
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        self._check_name(name)
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"module {name!r}: wanted a Module or None, got {type(module).__name__}")
        setattr(self, name, module)

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a name is a str, got {type(name).__name__}")
        if not name or "." in name:
            raise ValueError(f"a name is not empty and has no dot, got {name!r}")
        if hasattr(type(self), name):
            raise ValueError(f"{name!r} is an attribute of {type(self).__name__} already")

    # -- state ----------------------------------------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """{dotted name: Tensor} of all parameters and persistent buffers, off the tape.

        The Tensors share the module's memory: copy what must not move.
        """
        state: dict[str, Tensor] = {}
        for path, module in self._walk(prefix.removesuffix(".")):
            own = [n for n, v in module.__dict__.items() if isinstance(v, Parameter)]
            own += [n for n, persistent in module._buffers.items() if persistent and module.__dict__.get(n) is not None]
            state.update((_join(path, name), module.__dict__[name].detach()) for name in own)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy arrays (NumPy, gatecell or torch, of any real dtype) into the parameters and buffers of the same names.

        Everything is checked first; when anything is wrong nothing is changed. TypeError: no mapping, or values that are no real arrays.
        ValueError: missing or unexpected names (with `strict`), wrong shapes; the message lists all of them.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict wants a mapping of names to arrays, got {type(state_dict).__name__}")
        own = self.state_dict()
        arrays = {name: _as_real_array(name, state_dict[name], own[name].data.dtype) for name in own if name in state_dict}
        keys = IncompatibleKeys([n for n in own if n not in state_dict], [str(n) for n in state_dict if n not in own])
        troubles = []
        if strict and keys.missing_keys:
            troubles.append("missing: " + ", ".join(keys.missing_keys))
        if strict and keys.unexpected_keys:
            troubles.append("unexpected: " + ", ".join(keys.unexpected_keys))
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                troubles.append(f"wrong shape: {name} wants {tuple(own[name].shape)}, got {array.shape}")
            if not own[name].data.flags.writeable:
                troubles.append(f"read-only: {name}")
        if troubles:
            raise ValueError(f"state_dict does not fit {type(self).__name__}, nothing was loaded:\n  " + "\n  ".join(troubles))
        for name, array in arrays.items():
            own[name].data[...] = array
            own[name].changed()
        return keys

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """dtype of the first floating-point parameter or buffer: what NumPy input is converted to. None for a module without any."""
        for value in self.__dict__.values():  # mostly it is the first parameter of one's own
            if isinstance(value, Parameter) and value.data.dtype.kind == "f":
                return value.data.dtype
        for tensor in chain(self.parameters(), self.buffers()):
            if tensor.data.dtype.kind == "f":
                return tensor.data.dtype
        return None

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None) -> M:
        """Convert floating-point parameters and buffers to a dtype, in place; "cpu" is the one device. ValueError for others."""
        for arg in args:
            if isinstance(arg, str):
                device = arg
            else:
                dtype = arg
        if device is not None:
            Device(device)
        if dtype is not None:
            wanted = as_dtype(dtype)
            if wanted.kind != "f":
                raise TypeError(f"a module's dtype is float32 or float64, got {wanted}")
            for tensor in (*self.parameters(), *self.buffers()):
                if tensor.data.dtype.kind == "f":
                    tensor.data = tensor.data.astype(wanted, copy=False)
                    tensor.grad = None if tensor.grad is None else Tensor(tensor.grad.data.astype(wanted, copy=False))
        return self

    def float(self: M) -> M:
        return self.to(dtype=np.float32)

    def double(self: M) -> M:
        return self.to(dtype=np.float64)

    def cpu(self: M) -> M:
        return self

    # -- modes ----------------------------------------------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set `training` in the whole tree: dropout acts while it is True."""
        if not isinstance(mode, bool):
            raise TypeError(f"train(mode) wants a bool, got {type(mode).__name__}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        clear_gradients(self.parameters(), set_to_none)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call fn with every module of the tree, children before parents."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- text -----------------------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The arguments that repr() shows between the parentheses."""
        return ""

    def __repr__(self) -> str:
        rows = [self.extra_repr()] if self.extra_repr() else []
        children = [f"({name}): {child!r}" for name, child in self.__dict__.items() if isinstance(child, Module)]
        if not children:
            return f"{type(self).__name__}({', '.join(rows)})"
        body = "\n".join(rows + children).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


# -- what layers share ----------------------------------------------------------------------------------------------------------------


def to_tensor(value: Any, dtype: npt.DTypeLike | None, what: str = "input") -> Tensor:
    """A layer's floating-point input: a NumPy array of any real dtype is converted to `dtype`, a Tensor must have it already.

    Without `dtype` (a layer without parameters) floating-point values keep theirs and other NumPy arrays become float32.
    TypeError: neither Tensor nor array, a Tensor of another dtype, an array that is not real.
    """
    if isinstance(value, Tensor):
        if dtype is not None and value.data.dtype != dtype:
            raise TypeError(f"{what}: wanted a Tensor of {np.dtype(dtype)}, got {value.data.dtype} (convert it with .to())")
        return value
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{what}: wanted a Tensor or a NumPy array, got {type(value).__name__}")
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{what}: wanted real numbers, got dtype {value.dtype}")
    if dtype is None:
        dtype = value.dtype if value.dtype in (np.float32, np.float64) else np.float32
    return Tensor(value.astype(dtype, copy=False))


def positive(name: str, value: Any) -> int:
    """`value` as an int of at least 1. TypeError when it is no integer, ValueError when it is smaller."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} wants an int, got {value!r} ({type(value).__name__})")
    if operator.index(value) < 1:
        raise ValueError(f"{name} wants at least 1, got {value}")
    return operator.index(value)


def probability(name: str, value: Any) -> float:
    """`value` as a float in [0, 1]. TypeError when it is no number, ValueError when it is outside."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise TypeError(f"{name} wants a number, got {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} wants a probability, 0 <= {name} <= 1, got {value}")
    return float(value)


def clear_gradients(tensors: Iterable[Tensor], set_to_none: bool = True) -> None:
    """Forget gradients, or with set_to_none=False fill those that exist with zeros in place."""
    for tensor in tensors:
        if set_to_none:
            tensor.grad = None
        elif tensor.grad is not None:
            tensor.grad.zero_()


def _as_real_array(name: str, value: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A copy: the values may be views of what is about to be overwritten."""
    if not isinstance(value, Tensor) and hasattr(value, "detach"):  # a torch tensor: it gives its array only without its tape, on the CPU
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as e:  # ragged lists; torch's types, layouts and devices that NumPy lacks
        raise TypeError(f"{name}: wanted an array of real numbers, got {type(value).__name__}: {e}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: wanted an array of real numbers, got {type(value).__name__} of dtype {array.dtype}")
    with np.errstate(all="ignore"):  # beyond float32 is infinity, as in torch
        return array.astype(dtype)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
