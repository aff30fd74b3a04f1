"""From the tape of one forward pass to the step graph: every operation without its batch and time.

Not here: running the forward pass and judging the result (trace.py), the axes themselves (axes.py), what steps mean (graph.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from ..cells import cells, scans
from ..errors import Unsupported
from ..tensor.autograd import Node
from ..tensor.dtypes import Array
from ..tensor.tensor import Tensor
from .axes import BATCH, FEATURE, TIME, Misfit, Pile, Value, broadcast, covers_time, over_features, regroup, select, text, with_features
from .graph import ARITHMETIC, INPUT, POINTWISE, Input, Output, State, Step, StepGraph

Known: TypeAlias = Value | Pile


class TimeFirst(Exception):
    """The first two axes of the input are the other way round: time, batch.  Its text: the operation that says so, and its line."""


class Lowering:
    """One forward pass: `input` is the Tensor that went in, `spec` what it is, `names` the state_dict's names by id of the Tensor."""

    def __init__(self, input: Tensor, spec: Input, names: Mapping[int, str]) -> None:
        self.input, self.spec, self.names = input, spec, names
        self.lengths = dict(zip(spec.axes, input.shape, strict=True))
        axes = tuple(() if a == FEATURE and spec.size == 1 else (a,) for a in spec.axes)
        self.start = Value(INPUT, 1 if spec.kind == "tokens" else spec.size, axes)
        self.known: dict[tuple[Node, int], Known] = {}
        self.steps: list[Step] = []
        self.states: list[State] = []
        self.parameters: dict[str, Array] = {}
        self.line = ""

    def graph(self, output: Tensor) -> StepGraph:
        """The step graph of what `output` was made of.  Unsupported, with the operation and its line, where there is none."""
        for node in _below(output):
            if any(self.value(t) is not None for t in node.inputs):
                self.line = node.line
                try:
                    results = _lower(self, node)
                except Misfit as e:
                    raise Unsupported(f"{node.op} at {node.line} cannot run step by step: {e}") from None
                self.known.update({(node, i): v for i, v in enumerate(results)})
        found = self.value(output)
        if not isinstance(found, Value) or found.step == INPUT:
            raise Unsupported("the output is the input itself, does not depend on it, or is the final states of several layers")
        axes = tuple(a[0] if len(a) == 1 else FEATURE if not a and i == len(found.axes) - 1 else "" for i, a in enumerate(found.axes))
        if "" in axes or BATCH not in axes:
            raise Unsupported(f"an output with the axes batch, time, features, or batch, features wanted; its axes are {text(found.axes)}")
        return StepGraph(self.spec, Output(found.step, found.size, axes), tuple(self.steps), tuple(self.states), self.parameters)

    def value(self, t: Tensor) -> Known | None:
        """None: it does not depend on the input."""
        return self.start if t is self.input else self.known.get((t.node, t.index)) if t.node is not None else None

    def single(self, t: Tensor) -> Value:
        v = self.value(t)
        if v is None:
            raise Misfit("it joins constants to values")
        if isinstance(v, Pile):
            raise Misfit("it is applied to the final states of several layers: select one of them, as h_n[-1]")
        return v

    def emit(
        self,
        op: str,
        inputs: tuple[str, ...],
        size: int,
        settings: Mapping[str, Any] | None = None,
        weights: Mapping[str, str] | None = None,
    ) -> str:
        name = f"{op}_{sum(s.op == op for s in self.steps)}"
        self.steps.append(Step(name, op, inputs, size, settings or {}, weights or {}, self.line))
        return name

    def parameter(self, t: Tensor) -> str:
        """The name of a constant, which keeps its value of now."""
        if self.value(t) is not None:
            raise Misfit("its weights depend on the input")
        return self.constant(t.data, self.names.get(id(t)))

    def constant(self, array: Array, name: str | None = None) -> str:
        if name is None:
            taken = {*self.names.values(), *self.parameters}
            name = next(n for k in range(len(taken) + 1) if (n := f"constant.{k}") not in taken)
        self.parameters[name] = np.array(array, order="C")
        return name

    def vector(self, t: Tensor, like: Value) -> tuple[str, int]:
        """A constant operand as a parameter (n,) or (1,), and n: it must be the same for all rows and steps."""
        a = t.data
        if a.ndim > len(like.axes):
            raise Misfit(f"a constant of shape {a.shape} adds an axis")
        lined = a.reshape((1,) * (len(like.axes) - a.ndim) + a.shape)
        for i, axis in enumerate(like.axes):
            if BATCH in axis or TIME in axis:
                first = lined[(slice(None),) * i + (slice(1),)]
                if not np.array_equal(np.broadcast_to(first, lined.shape), lined, equal_nan=True):
                    raise Misfit(f"a constant of shape {a.shape} differs between rows or steps")
                lined = first
        if lined.size > 1 and (lined.size != lined.shape[-1] or like.axes[-1] not in ((), (FEATURE,))):
            raise Misfit(f"a constant of shape {a.shape} varies along another axis than the features")
        return (self.parameter(t) if a.shape == (lined.size,) else self.constant(lined.reshape(-1))), lined.size


def _below(output: Tensor) -> list[Node]:
    """The nodes that `output` was made of, inputs first."""
    nodes: set[Node] = set()
    todo = [output]
    while todo:
        node = todo.pop().node
        if node is not None and node not in nodes:
            nodes.add(node)
            todo += node.inputs
    return sorted(nodes, key=lambda n: n.order)


def _lower(low: Lowering, node: Node) -> tuple[Known, ...]:
    if node.op in LOWER:
        result = LOWER[node.op](low, node)
        return result if isinstance(result, tuple) else (result,)
    over = [low.single(t) for t in node.inputs if low.value(t) is not None]
    if "dim" in node.attrs and any(covers_time(v, node.attrs["dim"]) for v in over):
        raise Misfit("it mixes time steps")
    raise Misfit("the step graph has no such operation")


def _same(low: Lowering, node: Node) -> Known:
    return low.single(node.inputs[0])


def _pointwise(low: Lowering, node: Node) -> Known:
    v = low.single(node.inputs[0])
    return replace(v, step=low.emit(node.op, (v.step,), v.size))


def _arithmetic(low: Lowering, node: Node) -> Known:
    a, b = (low.value(t) for t in node.inputs)
    if a is not None and b is not None:
        p, q = (low.single(t) for t in node.inputs)
        axes, size = broadcast(p, q), max(p.size, q.size)
        return Value(low.emit(node.op, (p.step, q.step), size), size, axes)
    v = low.single(node.inputs[a is None])
    pairs = [(v.step, v.size) if low.value(t) is not None else low.vector(t, v) for t in node.inputs]
    step = low.emit(node.op, tuple(name for name, _ in pairs), size := max(n for _, n in pairs))
    return replace(v, step=step) if size == v.size else with_features(v, step, size)


def _clamp(low: Lowering, node: Node) -> Known:
    v = low.single(node.inputs[0])
    limits = {k: float(n) for k, n in node.attrs.items() if n is not None}
    return replace(v, step=low.emit("clamp", (v.step,), v.size, limits))


def _linear(low: Lowering, node: Node) -> Known:
    v, size = low.single(node.inputs[0]), node.inputs[1].shape[0]
    weights = dict(zip(("weight", "bias"), map(low.parameter, node.inputs[1:]), strict=False))
    return with_features(v, low.emit("linear", (v.step,), size, weights=weights), size)


def _matmul(low: Lowering, node: Node) -> Known:
    """By a constant matrix (I, O), or vector (I,) whose result has no feature axis."""
    v, w = low.single(node.inputs[0]), node.inputs[1]
    if low.value(w) is not None or w.ndim > 2:
        raise Misfit(f"a product of a value by a constant matrix wanted, got one by shape {w.shape}")
    weight = low.constant(w.data[None] if w.ndim == 1 else w.data.T)
    size = low.parameters[weight].shape[0]
    y = with_features(v, low.emit("linear", (v.step,), size, weights={"weight": weight}), size)
    return replace(y, axes=y.axes[:-1]) if w.ndim == 1 else y


def _embedding(low: Lowering, node: Node) -> Known:
    v, size = low.single(node.inputs[1]), node.inputs[0].shape[1]
    y = Value(low.emit("embedding", (v.step,), size, weights={"weight": low.parameter(node.inputs[0])}), size, ())
    return replace(y, axes=(*v.axes, y.features))


def _over_features(low: Lowering, node: Node) -> Known:
    v = low.single(node.inputs[0])
    dim = over_features(v, node.attrs["dim"])
    if node.op == "argmax":
        return Value(low.emit("argmax", (v.step,), 1), 1, v.axes[:dim] + v.axes[dim + 1 :])
    return replace(v, step=low.emit(node.op, (v.step,), v.size))


def _recurrence(low: Lowering, node: Node) -> tuple[Known, ...]:
    cell = cells.get(node.attrs["cell"])
    if cell is None:
        raise Misfit(f"the cell {node.attrs['cell']!r} is not registered")
    if node.attrs["reverse"]:
        raise Misfit("it reads the sequence from its end")
    if node.attrs["lengths"]:
        raise Misfit("its sequences end at lengths of their own")
    x, count = node.inputs[0], len(cell.states)
    states = dict(zip(cell.states, node.inputs[1 : 1 + count], strict=True))
    weights = {key: low.parameter(w) for key, w in zip(node.attrs["weights"], node.inputs[1 + count :], strict=True)}
    v = _over_time(low, node, x)
    axes = {cell.axis(s): t.shape[1] for s, t in states.items()}
    axes |= cell.blocks(axes, {key: low.parameters[name].shape for key, name in weights.items()})
    size = states[cell.states[0]].shape[1]
    step = low.emit("recurrence", (v.step,), size, {"cell": cell.name, "axes": axes}, weights)
    return (with_features(v, step, size), *_carried(low, step, states, cell.states[0]))


def _scan(low: Lowering, node: Node) -> tuple[Known, ...]:
    of, sizes = scans.get(node.attrs["scan"]), node.attrs["sizes"]
    if of is None:
        raise Misfit(f"the scan {node.attrs['scan']!r} is not registered")
    rest = iter(node.inputs)
    inputs, params, states = ({k: next(rest) for k in names} for names in (of.inputs, of.params, of.states))
    values = [_over_time(low, node, t) for t in inputs.values()]
    size = sizes["heads"] * sizes["H"]
    weights = {k: low.parameter(t) for k, t in params.items()}
    step = low.emit("scan", tuple(v.step for v in values), size, {"scan": of.name, **sizes}, weights)
    return (with_features(values[0], step, size), *_carried(low, step, states, None))


def _over_time(low: Lowering, node: Node, t: Tensor) -> Value:
    """What runs along time, its features last."""
    v = low.single(t)
    if v.axes[:2] == ((BATCH,), (TIME,)):
        raise TimeFirst(f"{node.op} at {node.line}")
    if v.axes[:2] != ((TIME,), (BATCH,)):
        raise Misfit(f"it runs along another axis than time: {text(v.axes)}")
    return v


def _carried(low: Lowering, step: str, states: Mapping[str, Tensor], first: str | None) -> list[Known]:
    """The states of a step, which start from constants; its result is that of the name `first`."""
    ends: list[Known] = []
    for s, t in states.items():
        if low.value(t) is not None:
            raise Misfit(f"its state {s} starts from something that depends on the input")
        if not np.array_equal(np.broadcast_to(t.data[:1], t.shape), t.data, equal_nan=True):
            raise Misfit(f"its state {s} starts from other values in every row")
        n = t.shape[1]
        low.states.append(State(step, s, n, low.constant(t.data[0]) if t.data.any() else None))
        end = Value(step if s == first else low.emit("state", (step,), n, {"state": s}), n, ())
        ends.append(replace(end, axes=((BATCH,), end.features)))
    return ends


def _cat(low: Lowering, node: Node) -> Known:
    values, dim = [low.single(t) for t in node.inputs], node.attrs["dim"]
    for v in values:
        over_features(v, dim)
    if len({v.axes[:dim] + v.axes[dim + 1 :] for v in values}) > 1:
        raise Misfit("it joins values over different axes")
    size = sum(v.size for v in values)
    axes = values[0].axes
    return Value(low.emit("cat", tuple(v.step for v in values), size), size, (*axes[:dim], (FEATURE,), *axes[dim + 1 :]))


def _stack(low: Lowering, node: Node) -> Known:
    values, dim = [low.single(t) for t in node.inputs], node.attrs["dim"]
    if len(values) == 1:
        return replace(values[0], axes=(*values[0].axes[:dim], (), *values[0].axes[dim:]))
    if dim != 0:
        raise Misfit("it stacks values along an axis that is not the first")
    return Pile(tuple(values))


def _getitem(low: Lowering, node: Node) -> Known:
    v, key = low.value(node.inputs[0]), node.attrs["key"]
    if isinstance(v, Pile) and key and isinstance(key[0], (int, np.integer)):
        v, key = v.values[key[0]], key[1:]
    if not isinstance(v, Value):
        raise Misfit("of the final states of several layers one can be selected, as h_n[-1]")
    axes, features = select(v, low.lengths, key)
    if features is None:
        return replace(v, axes=axes)
    n = features.stop - features.start
    return Value(low.emit("slice", (v.step,), n, {"start": features.start, "stop": features.stop}), n, axes)


def _reshape(low: Lowering, node: Node) -> Known:
    v, (t,), shape = low.single(node.inputs[0]), node.inputs, node.attrs["shape"]
    known = math.prod(n for n in shape if n != -1)
    return replace(v, axes=regroup(v, low.lengths, [t.numel() // known if n == -1 else n for n in shape]))


def _permute(low: Lowering, node: Node) -> Known:
    v = low.single(node.inputs[0])
    return replace(v, axes=tuple(v.axes[i] for i in node.attrs["axes"]))


def _expand(low: Lowering, node: Node) -> Known:
    v, shape = low.single(node.inputs[0]), node.inputs[0].shape
    if node.attrs["shape"] != (1,) * (len(node.attrs["shape"]) - len(shape)) + shape:
        raise Misfit("it repeats a value along an axis")
    return replace(v, axes=((),) * (len(node.attrs["shape"]) - len(shape)) + v.axes)


LOWER: dict[str, Callable[[Lowering, Node], Known | tuple[Known, ...]]] = {
    **dict.fromkeys(("detach", "clone"), _same),
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    **dict.fromkeys(("softmax", "log_softmax", "argmax"), _over_features),
    "clamp": _clamp,
    "linear": _linear,
    "matmul": _matmul,
    "embedding": _embedding,
    "recurrence": _recurrence,
    "scan": _scan,
    "cat": _cat,
    "stack": _stack,
    "getitem": _getitem,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
}
