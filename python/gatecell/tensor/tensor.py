"""Tensor: a NumPy array and how it came to be, with torch's methods and meaning.

Not here: what an operation computes (ops.py), writing in place (inplace.py), the walk back (autograd.py), making tensors from nothing
(create.py), losses (functional.py).
`data` is the array itself: what is done to it directly, the tape does not see.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from . import autograd
from .autograd import Backward, Node, Version, mode
from .checks import what
from .device import device as Device
from .dtypes import Array, DType, Scalar, as_dtype, bool_, float32, float64, int64, promote
from .inplace import InPlace, plain_key
from .ops import OPS, Together, kept

Operand: TypeAlias = "Tensor | Scalar"
_bool: TypeAlias = bool  # the class has methods of these names
_float: TypeAlias = float


class Tensor(InPlace):
    """An array (shared; anything else becomes float32, as with torch.Tensor) and what the tape knows of it.

    data: the array; grad: accumulated gradient or None; node, index: the operation that made it and which of its results it is;
    version: how often its memory was written in place, one count for all that share it (see `changed`).
    """

    __slots__ = ("data", "_grad", "node", "index", "version", "_requires_grad", "__weakref__")
    __array_priority__ = 1000.0  # NumPy numbers on the left leave + - * / to this class
    __hash__ = object.__hash__

    def __init__(self, data: Any, requires_grad: _bool = False) -> None:
        if type(data) is not np.ndarray:
            data = np.asarray(data) if isinstance(data, (np.ndarray, np.generic)) else np.array(data, np.float32)
        self.data: Array = data
        self._grad: Tensor | None = None
        self.node: Node | None = None
        self.index = 0
        self.version: Version = [0]
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
            given = gradient.data if isinstance(gradient, Tensor) else np.asarray(gradient)
            seed = np.array(given, dtype=self.dtype)  # a copy: it may be the gradient of a leaf that is about to grow
            if seed.shape != self.shape:
                raise ValueError(f"backward: gradient of shape {self.shape} wanted, got {seed.shape}")
        found = autograd.gradients(self, seed, retain_graph) if self.node is not None else [(self, seed)]
        for leaf, g in found:
            if leaf._grad is None:
                leaf._grad = Tensor(np.array(g, order="C"))
            else:
                leaf._grad.data += g
                leaf._grad.changed()

    def detach(self) -> Tensor:
        """The same memory, cut from the tape."""
        if mode.trace:
            return apply("detach", self)
        y = Tensor(self.data)
        y.version = self.version
        return y

    def clone(self) -> Tensor:
        return apply("clone", self)

    def contiguous(self) -> Tensor:
        """Itself where its elements lie in order without gaps, else a clone that has them so."""
        return self if self.data.flags.c_contiguous else apply("clone", self, order="C")

    def __getitem__(self, key: Any) -> Tensor:
        """Numbers, slices, None and ... give a view; arrays and lists of indices or booleans a copy.  IndexError where it is outside."""
        y = self._op("getitem", key=plain_key(key))
        if y.node is not None:  # the way back reads the indices, which are no inputs
            indices = [k.version for k in (key if isinstance(key, tuple) else (key,)) if isinstance(k, Tensor)]
            y.node.kept += tuple(("an index", v, v[0]) for v in indices)
        return y

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


def apply(name: str, *inputs: Tensor, **attrs: Any) -> Tensor:
    """Carry out an operation of the table on tensors of fitting types, and note it on the tape where someone may want it."""
    op = OPS[name]
    arrays = tuple([t.data for t in inputs])
    if op.view or isinstance(op.pull, Together):  # places, or on the core: NumPy has nothing to warn of
        y = Tensor(op.of(*arrays, **attrs))
        if op.view and np.may_share_memory(y.data, arrays[0]):
            y.version = inputs[0].version
    else:
        with np.errstate(all="ignore"):  # inf and nan are results, as in torch
            y = Tensor(op.of(*arrays, **attrs))
    if not (mode.grad or mode.trace):
        return y
    wanted = tuple([t._requires_grad for t in inputs])
    followed = mode.grad and op.pull is not None and True in wanted
    if followed or mode.trace:

        def backward(g: Array) -> tuple[Array | None, ...]:
            return op.gradients(g, wanted, y_data, arrays, attrs)

        y_data = y.data
        record(name, inputs, (y,), backward, attrs, followed, kept(op.reads, wanted) if op.reads else ())
    return y


def record(
    name: str,
    inputs: tuple[Tensor, ...],
    results: tuple[Tensor, ...],
    backward: Backward,
    attrs: dict[str, Any],
    followed: bool,
    reads: Iterable[int],
) -> None:
    """Note that `results`, new tensors, come from `inputs` (arguments as in `autograd.Node`).

    followed: gradients will want to know; reads: what `backward` reads of them, numbers of inputs, and -1 for the first result.
    """
    node = Node(name, inputs, attrs, backward, len(results))
    for i, t in enumerate(results):
        t.node, t.index = node, i
        t._requires_grad = followed and t.data.dtype.kind == "f"
    if followed:
        node.kept = tuple([(i, v := (inputs[i] if i >= 0 else results[0]).version, v[0]) for i in reads])
