"""A step graph as calls: recurrences and linear layers by the core, the rest by the loops of the ufuncs that its definitions call.

Not here: what the operations mean: STEP_OPS is run once, on values that write down which ufuncs they meet.  So a stream's numbers are
forward's, bit for bit.  Rows are padded to whole vectors, as the core wants them.  Letters: B batch, I input, N units, n length of a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from ..cells import Cell, cells, scans
from ..tensor.dtypes import Array
from ..tensor.engine import Layer, form, padded
from ..tensor.products import linear
from ..tensor.scan import stepper
from .graph import INPUT, STEP_OPS, Step, StepGraph
from .stream_calls import Call, Calls, Turns, both


class Value(np.lib.mixins.NDArrayOperatorsMixin):
    """A step's result, the first n of each row of `whole`; a ufunc of it becomes a call and another Value.

    It has what the definitions of STEP_OPS ask of an array (B, n), and no more.
    """

    def __init__(self, plan: GraphCalls, whole: Turns, n: int) -> None:
        self.plan, self.whole, self.n = plan, whole, n

    @property
    def turns(self) -> Turns:
        return self.part(0, self.n)

    def part(self, start: int, stop: int) -> Turns:
        return self.whole[0][:, start:stop], self.whole[1][:, start:stop]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        return NotImplemented if method != "__call__" or settings else self.plan.loop(ufunc, inputs)

    def max(self, axis: int, keepdims: bool) -> Value:
        return self.plan.collected(np.maximum, self.part(0, 1), self)

    def sum(self, axis: int, keepdims: bool) -> Value:
        y = self.plan.value(1)
        self.plan.call("sum", self.turns, y.turns)
        return y

    def clip(self, low: float | None, high: float | None, **_: Any) -> Value:
        above = self if low is None else self.plan.loop(np.maximum, (self, low))
        return above if high is None else self.plan.loop(np.minimum, (above, high))


class GraphCalls:
    """`calls`: those of a graph for `batch` rows.  ValueError: parameters of several floating types."""

    def __init__(self, graph: StepGraph, batch: int) -> None:
        self.graph, self.batch, self.dtype = graph, batch, graph.dtype
        kinds = {p.dtype for p in graph.parameters.values() if p.dtype.kind == "f"}
        if len(kinds) > 1:
            raise ValueError(f"parameters of one type wanted, got {', '.join(sorted(map(str, kinds)))}")
        tokens = graph.input.size if graph.input.kind == "tokens" else 0
        x = self.value(graph.size(INPUT), np.int64 if tokens else self.dtype)
        self.calls = Calls(graph, x.turns[0], x.turns, tokens)
        self.values: dict[str, Any] = {name: self.constant(p) for name, p in graph.parameters.items() if p.ndim == 1} | {INPUT: x}
        self.slots: dict[tuple[str, str], Array] = {}
        for s in graph.steps:
            self.values[s.name] = self.step(s)
        self.calls.y = self.values[graph.output.step].turns
        self.values.clear()  # they know their plan: a circle would keep a stream's memory after it

    def rows(self, *shape: int, dtype: Any = None) -> Array:
        """Zeros (..., padded n)."""
        a: Array = _core.empty((*shape[:-1], padded(shape[-1])), self.dtype if dtype is None else np.dtype(dtype))
        a[...] = 0
        return a

    def value(self, n: int, dtype: Any = None) -> Value:
        return Value(self, both(self.rows(self.batch, n, dtype=dtype)), n)

    def constant(self, a: Any) -> Array:
        """A copy, (1, n)."""
        return np.array(a, self.dtype).reshape(1, -1)

    def call(self, kind: str, *on: Turns, of: Any = None) -> None:
        self.calls.calls.append(Call(kind, on, of))

    def step(self, s: Step) -> Value:
        """Calls for one operation, and its result."""
        weights = self.graph.weights_of(s)
        x = self.values[s.inputs[0]]
        if s.op == "recurrence":
            return self.recurrence(s, x, weights)
        if s.op == "scan":
            return self.scan(s, weights)
        if s.op == "linear":
            y = self.value(s.size)
            own = {"W": weights["weight"]} | ({"W+": weights["bias"]} if "bias" in weights else {})
            self.layer(linear, own, {"O": s.size}, x, {linear.states[0]: y.whole[0][None]})
            return y
        if s.op == "state":
            slots = self.slots[s.inputs[0], s.settings["state"]]
            return Value(self, (slots[1], slots[0]), s.size)
        if s.op in ("embedding", "argmax", "slice", "cat"):
            return self.moved(s, weights)
        constants = {role: self.constant(w) for role, w in weights.items()}
        result: Any = STEP_OPS[s.op].of([self.values[i] for i in s.inputs], constants, s.settings)
        if isinstance(result, Value):
            return result
        y = self.value(s.size)  # of constants alone
        y.whole[0][:, : s.size] = result
        return y

    def moved(self, s: Step, weights: Mapping[str, Array]) -> Value:
        """The operations that compute nothing."""
        values = [self.values[i] for i in s.inputs]
        x, y = values[0], self.value(s.size, np.int64 if s.op == "argmax" else self.dtype)
        if s.op == "embedding":
            self.call("lookup", x.turns, both(np.array(weights["weight"], self.dtype, order="C")), y.turns)
        elif s.op == "argmax":
            self.call("argmax", x.turns, y.turns)
        elif s.op == "slice":
            self.call("copy", x.part(s.settings["start"], s.settings["stop"]), y.turns)
        else:
            at = 0
            for v in values:
                self.call("copy", v.turns, y.part(at, at + v.n))
                at += v.n
        return y

    def loop(self, ufunc: np.ufunc, inputs: tuple[Any, ...]) -> Value:
        """A ufunc of values and constants."""
        places = [v.turns if isinstance(v, Value) else both(self.constant(v)) for v in inputs]
        y = self.value(max(p[0].shape[1] for p in places))
        self.call("loop", *places, y.turns, of=ufunc)
        return y

    def collected(self, ufunc: np.ufunc, start: Turns, x: Value) -> Value:
        """The reduction of every row, (B, 1); the loop that runs is the one that ufunc.reduce runs."""
        y = self.value(1)
        self.call("copy", start, y.turns)
        self.call("loop", y.turns, x.turns, y.turns, of=ufunc)
        return y

    def scan(self, s: Step, weights: Mapping[str, Array]) -> Value:
        of, y, slots = scans[s.settings["scan"]], self.value(s.size), self.states(s)
        given: dict[str, Turns] = {k: self.values[i].whole for k, i in zip(of.inputs, s.inputs, strict=True)}
        given |= {k: both(np.array(w, self.dtype)) for k, w in weights.items()} | {"output": y.whole}
        given |= {k: (a[0], a[1]) for k, a in slots.items()} | {k + "'": (a[1], a[0]) for k, a in slots.items()}
        self.call("scan", of=stepper(of, s.settings, self.batch, *({k: a[turn] for k, a in given.items()} for turn in range(2))))
        self.calls.work += self.batch * 10 * s.size * s.settings["N"]
        return y

    def states(self, s: Step) -> dict[str, Array]:
        """The slots of its states, (2, B, padded n)."""
        slots = {}
        for t in self.graph.states_of(s):
            a = self.slots[s.name, t.state] = slots[t.state] = self.rows(2, self.batch, t.size)
            name = f"{s.name}.{t.state}"
            self.calls.states[name] = a[0, :, : t.size], a[1, :, : t.size]
            self.calls.start[name] = self.constant(np.zeros(t.size) if t.start is None else self.graph.parameters[t.start])
        return slots

    def recurrence(self, s: Step, x: Value, weights: Mapping[str, Array]) -> Value:
        slots = self.states(s)
        cell = cells[s.settings["cell"]]
        self.layer(cell, weights, s.settings["axes"], x, slots)
        first = slots[cell.states[0]]
        return Value(self, (first[1], first[0]), s.size)

    def layer(self, cell: Cell, weights: Mapping[str, Array], sizes: Mapping[str, int], x: Value, slots: Mapping[str, Array]) -> None:
        """A cell's step from slot to slot, (2, B, padded N); where nothing is read, one slot (1, B, padded N) will do."""
        layer = Layer(form(cell, {**sizes, "I": x.n}), weights)
        turns = []
        for turn in range(2):
            places = {"x": x.whole[turn]}
            for state, a in slots.items():
                places[state] = places[state + "'"] = a[0] if len(a) == 1 else a[::-1] if turn else a
            turns.append(places)
        self.call("layer", of=layer.stepper(layer.form.infer, self.batch, *turns))
        self.calls.work += self.batch * sum(w.size for w in weights.values())
