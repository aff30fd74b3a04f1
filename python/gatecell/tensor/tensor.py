"""Tensor: a NumPy array and how it came to be, with torch's methods and meaning.

Not here: what an operation computes (ops.py), the walk back (autograd.py), making tensors from nothing (create.py), losses (functional.py).
`data` is the array itself: what is done to it directly, the tape does not see.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from ..errors import Unsupported
from . import autograd, random
from .autograd import Backward, Node, mode
from .checks import what
from .device import device as Device
from .dtypes import Array, DType, Scalar, as_dtype, bool_, float32, float64, int64, promote
from .methods import Methods
from .ops import OPS, Together

Operand: TypeAlias = "Tensor | Scalar"
_bool: TypeAlias = bool  # the class has methods of these names
_float: TypeAlias = float


class Tensor(Methods):
    """An array (shared; anything else becomes float32, as with torch.Tensor) and what the tape knows of it.

    data: the array; grad: accumulated gradient or None; node, index: the operation that made it and which of its results it is.
    """

    __slots__ = ("data", "_grad", "node", "index", "_requires_grad", "__weakref__")
    __array_priority__ = 1000.0  # NumPy numbers on the left leave + - * / to this class
    __hash__ = object.__hash__

    def __init__(self, data: Any, requires_grad: _bool = False) -> None:
        self.data: Array = np.asarray(data) if isinstance(data, (np.ndarray, np.generic)) else np.array(data, np.float32)
        self._grad: Tensor | None = None
        self.node: Node | None = None
        self.index = 0
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True

    # What it is.

    @property
    def requires_grad(self) -> _bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: _bool) -> None:
        if value and self.data.dtype.kind != "f":
            raise TypeError(f"only tensors of floats can require gradients, this one is {self.data.dtype}")
        if not value and self._requires_grad and self.node is not None:
            raise RuntimeError("requires_grad can only be switched off on a leaf: use detach()")
        self._requires_grad = _bool(value)

    def requires_grad_(self, requires_grad: _bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        """What backward() added up: None, or a Tensor of this one's shape and dtype; TypeError and ValueError for others."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor) or value.data.dtype != self.data.dtype:
                raise TypeError(f"grad: a Tensor of {self.data.dtype} or None wanted, got {what(value)}")
            if value.data.shape != self.data.shape:
                raise ValueError(f"grad: shape {self.data.shape} wanted, got {value.data.shape}")
        self._grad = value

    @property
    def is_leaf(self) -> _bool:
        return self.node is None or not self._requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def device(self) -> Device:
        return Device()

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.data.shape if dim is None else self.data.shape[dim]

    def dim(self) -> int:
        return self.data.ndim

    def numel(self) -> int:
        return int(self.data.size)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="tensor(", precision=4, threshold=1000, edgeitems=3)
        kind = "" if self.dtype in (float32, int64, bool_) else f", dtype={self.dtype}"
        return f"tensor({text}{kind}{', requires_grad=True' if self._requires_grad else ''})"

    # Out of it.

    def numpy(self) -> Array:
        """The array itself, memory shared; the tape does not see what NumPy computes from it (torch refuses if it needs a gradient)."""
        return self.data

    def __array__(self, dtype: DType = None, copy: _bool | None = None) -> Array:
        if copy is False and dtype is not None and np.dtype(dtype) != self.dtype:
            raise ValueError(f"no array of {np.dtype(dtype)} without a copy of this {self.dtype}")
        return np.array(self.data, dtype=dtype, copy=True) if copy else np.asarray(self.data, dtype=dtype)

    def item(self) -> Any:
        """Its only element as a Python number."""
        if self.data.size != 1:
            raise ValueError(f"item() wants a tensor of one element, this one is of shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        return self.data.tolist()

    def __bool__(self) -> _bool:
        return _bool(self.item())

    def __float__(self) -> _float:
        return _float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.data.size == 1 else format(str(self), spec)

    def __len__(self) -> int:
        if not self.data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return iter([self[i] for i in range(len(self))])

    def __contains__(self, value: Any) -> _bool:
        return _bool(np.any(self.data == np.asarray(value)))

    # The tape.

    def backward(self, gradient: Tensor | None = None, retain_graph: _bool = False) -> None:
        """Add d(self)/d(leaf) to `grad` of every leaf that requires one.  `gradient`: of a result that is not a single number.

        RuntimeError where nothing requires a gradient, or the graph was walked before; ValueError for a gradient of another shape.
        """
        if not self._requires_grad:
            raise RuntimeError("backward: this tensor requires no gradient (made under no_grad, detached, or of inputs without)")
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(f"backward without a gradient wants a result of one element, got shape {self.shape}")
            seed = np.ones_like(self.data)
        else:
            seed = np.array(np.asarray(gradient), dtype=self.dtype)  # a copy: it may be the gradient of a leaf that is about to grow
            if seed.shape != self.shape:
                raise ValueError(f"backward: gradient of shape {self.shape} wanted, got {seed.shape}")
        found = autograd.gradients(self, seed, retain_graph) if self.node is not None else [(self, seed)]
        for leaf, g in found:
            if leaf._grad is None:
                leaf._grad = Tensor(np.array(g, order="C"))
            else:
                leaf._grad.data += g

    def detach(self) -> Tensor:
        """The same memory, cut from the tape."""
        return apply("detach", self) if mode.trace else Tensor(self.data)

    def clone(self) -> Tensor:
        return apply("clone", self)

    def zero_(self) -> Tensor:
        return self.fill_(0)

    def fill_(self, value: Scalar) -> Tensor:
        self._writable()
        self.data.fill(value)
        return self

    def copy_(self, source: Tensor | Array) -> Tensor:
        """Overwrite the elements by those of `source` (broadcast, cast)."""
        self._writable(source)
        np.copyto(self.data, np.asarray(source), casting="unsafe")
        return self

    def uniform_(self, low: _float = 0.0, high: _float = 1.0) -> Tensor:
        self._writable()
        self.data[...] = random.uniform(low, high, self.shape)
        return self

    def normal_(self, mean: _float = 0.0, std: _float = 1.0) -> Tensor:
        self._writable()
        self.data[...] = random.normal(self.shape) * std + mean
        return self

    def _followed(self) -> _bool:
        """Whether the tape would want to know of a change."""
        return (self._requires_grad and mode.grad) or (self.node is not None and mode.trace)

    def _writable(self, *sources: Any) -> None:
        """RuntimeError where a write would escape the tape, Unsupported where it would escape a trace."""
        for t in (self, *sources):
            if isinstance(t, Tensor) and t._followed():
                if mode.trace:
                    raise Unsupported(f"a write into a tensor at {autograd.user_line()} cannot run step by step: use cat, stack or where")
                raise RuntimeError(
                    "writing into a tensor, or from one, that the tape follows: do it under no_grad(), "
                    "or make a new tensor with where, cat or stack"
                )

    def __getitem__(self, key: Any) -> Tensor:
        """Numbers, slices, None and ... give a view; arrays and lists of indices or booleans a copy.  IndexError where it is outside."""
        return self._op("getitem", key=_plain_key(key))

    def __setitem__(self, key: Any, value: Operand | Array) -> None:
        self._writable(value)
        self.data[_plain_key(key)] = np.asarray(value)

    def __iadd__(self, other: Operand) -> Tensor:
        return self._update("add", other)

    def __isub__(self, other: Operand) -> Tensor:
        return self._update("sub", other)

    def __imul__(self, other: Operand) -> Tensor:
        return self._update("mul", other)

    def __itruediv__(self, other: Operand) -> Tensor:
        return self._update("div", other)

    def add_(self, other: Operand, alpha: _float = 1) -> Tensor:
        """self += alpha * other, in place."""
        return self._in_place("add", other if alpha == 1 else self._binary("mul", other, alpha))

    def sub_(self, other: Operand, alpha: _float = 1) -> Tensor:
        """self -= alpha * other, in place."""
        return self._in_place("sub", other if alpha == 1 else self._binary("mul", other, alpha))

    def mul_(self, other: Operand) -> Tensor:
        """self *= other, in place."""
        return self._in_place("mul", other)

    def div_(self, other: Operand) -> Tensor:
        """self /= other, in place."""
        return self._in_place("div", other)

    def _in_place(self, name: str, other: Operand) -> Tensor:
        self._writable(other)
        return self._update(name, other)

    def _update(self, name: str, other: Operand) -> Tensor:
        """`a += b`: in place where the tape does not follow; else a new tensor under the old name (other names keep the old value)."""
        if self._followed() or (isinstance(other, Tensor) and other._followed()):
            if self._requires_grad and self.node is None:
                raise RuntimeError("a leaf that requires a gradient cannot change in place: do it under no_grad()")
            return self._binary(name, self, other)
        np.copyto(self.data, self._binary(name, self, other).data, casting="same_kind")
        return self

    # Types.

    def to(self, *args: Any, dtype: DType = None, device: Any = None, copy: _bool = False, non_blocking: _bool = False) -> Tensor:
        """Another element type; a device other than the CPU is a ValueError."""
        for a in args:
            if isinstance(a, Tensor):
                dtype = a.dtype
            elif isinstance(a, (str, Device)):
                device = a
            elif not isinstance(a, _bool):
                dtype = a
        if device is not None:
            Device(device)
        if dtype is None or as_dtype(dtype) == self.dtype:
            return self.clone() if copy else self
        return apply("cast", self, dtype=as_dtype(dtype))

    def type(self, dtype: DType) -> Tensor:
        return self.to(dtype)

    def float(self) -> Tensor:
        return self.to(float32)

    def double(self) -> Tensor:
        return self.to(float64)

    def long(self) -> Tensor:
        return self.to(int64)

    def bool(self) -> Tensor:
        return self.to(bool_)

    def cpu(self) -> Tensor:
        return self

    # How operations are carried out.

    def _op(self, name: str, *others: Tensor, **attrs: Any) -> Tensor:
        return apply(name, self, *others, **attrs)

    @staticmethod
    def _binary(name: str, a: Operand, b: Operand) -> Tensor:
        """An operation of two, after torch's promotion of types."""
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.data.dtype == b.data.dtype and a.data.dtype.kind == "f":
            return apply(name, a, b)
        for v in (a, b):
            if not isinstance(v, (Tensor, bool, int, float, np.generic)):
                raise TypeError(f"{name}: a Tensor or a number wanted, got {what(v)}")
        values = [v.data if isinstance(v, Tensor) else v for v in (a, b)]
        dtype = promote(*values)
        if dtype.kind != "f" and name == "div":
            dtype = float32
        return apply(name, *(v.to(dtype) if isinstance(v, Tensor) else Tensor(np.asarray(v, dtype)) for v in (a, b)))


def _plain_key(key: Any) -> tuple[Any, ...]:
    """An index as NumPy takes it: Tensors become arrays, lists stay."""
    return tuple(k.data if isinstance(k, Tensor) else k for k in (key if isinstance(key, tuple) else (key,)))


def apply(name: str, *inputs: Tensor, **attrs: Any) -> Tensor:
    """Carry out an operation of the table on tensors of fitting types, and note it on the tape where someone may want it."""
    op = OPS[name]
    arrays = tuple(t.data for t in inputs)
    if isinstance(op.pull, Together):  # on the core, which warns of nothing
        y = Tensor(op.of(*arrays))
    else:
        with np.errstate(all="ignore"):  # inf and nan are results, as in torch
            y = Tensor(op.of(*arrays, **attrs))
    if mode.trace or (mode.grad and op.pull is not None and any(t._requires_grad for t in inputs)):

        def backward(g: Array) -> tuple[Array | None, ...]:
            return op.gradients(g, wanted, y_data, arrays, attrs)

        wanted, y_data = tuple(t._requires_grad for t in inputs), y.data
        record(name, inputs, (y,), backward, attrs)
    return y


def record(name: str, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...], backward: Backward, attrs: dict[str, Any]) -> None:
    """Note on the tape that `results`, new tensors, come from `inputs` (arguments as in `autograd.Node`), where anyone wants it."""
    followed = mode.grad and any(t._requires_grad for t in inputs)
    if followed or mode.trace:
        node = Node(name, inputs, attrs, backward, len(results))
        for i, t in enumerate(results):
            t.node, t.index = node, i
            t._requires_grad = followed and t.data.dtype.kind == "f"
