"""One step at a time, the state kept in between: what a device does.  Not here: what a step computes (graph.py), integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..cells import cells
from ..nn import Module
from ..tensor import engine
from ..tensor.dtypes import Array
from ..tensor.products import Product
from .axes import BATCH, FEATURE, TIME
from .door import batch_size, new_states, step_input, step_output
from .graph import INPUT, STEP_OPS, Step, StepGraph
from .quantized import QuantizedModel
from .stepper import Stepper
from .trace import trace


class Stream:
    """s = Stream(model, batch=1); y = s.step(x): the model on `batch` independent sequences, a step of each at a time.

    model: a Module whose forward maps a sequence to an output per step, or to one from the last step (then `step` gives, at every step,
    what forward would give if the sequence ended there).  Its weights are copied: later training does not change the stream.
    Of a quantised model, its `stream`: the same calls, computed in integers.
    recurrences: of the step graph, name -> Stepper; Cython code steps them without the GIL (stream.pxd).  One thread at a time.
    TypeError, ValueError: no Module, batch below 1.  Unsupported: a model that cannot run step by step, and why.
    """

    def __new__(cls, model: Module | StepGraph | QuantizedModel, batch: int = 1) -> Any:
        return model.stream(batch) if isinstance(model, QuantizedModel) else super().__new__(cls)

    def __init__(self, model: Module | StepGraph, batch: int = 1) -> None:
        self.batch = batch_size(batch)
        self.graph = model if isinstance(model, StepGraph) else trace(model)
        spec, axes = self.graph.input, [a for a in self.graph.output.axes if a != TIME]
        self._shape = (self.batch,) + (spec.size,) * (FEATURE in spec.axes)
        self._dtype = self.graph.dtype
        self.recurrences = {s.name: self._stepper(s) for s in self.graph.steps if s.op == "recurrence"}
        self._values = {name: p[None] for name, p in self.graph.parameters.items()}
        self._program = [(s.name, self._prepared(s), s.inputs) for s in self.graph.steps]
        self._plain = {s.op for s in self.graph.steps} <= {"recurrence", "state"}
        self._start = {f"{step}.{state}": a for (step, state), a in self.graph.start(self.batch).items()}
        self._turned = axes[0] == FEATURE
        y = self._evaluated(np.zeros((self.batch, self.graph.size(INPUT)), np.int64 if spec.kind == "tokens" else self._dtype))
        lengths = {BATCH: self.batch, FEATURE: y.size // self.batch}
        self._result = [tuple(lengths[a] for a in axes if a != BATCH or not bare) for bare in (False, True)]
        self._result_dtype = y.dtype
        self.reset()

    def _stepper(self, s: Step) -> Stepper:
        sizes = {**s.settings["axes"], "I": self.graph.size(s.inputs[0])}
        return Stepper(engine.Layer(cells[s.settings["cell"]], self.graph.weights_of(s), sizes), self.batch)

    def _prepared(self, s: Step) -> Callable[..., Array]:
        """What a step does to the arrays that it reads."""
        if s.op == "recurrence":
            return self.recurrences[s.name]
        if s.op == "state":
            recurrence, name = self.recurrences[s.inputs[0]], s.settings["state"]
            return lambda _: recurrence.state[name]
        op, weights, settings = STEP_OPS[s.op].of, self.graph.weights_of(s), s.settings
        if s.op == "linear":
            return Product(weights["weight"], weights.get("bias"), rows=self.batch)
        return lambda *arrays: op(arrays, weights, settings)

    def reset(self) -> None:
        """Back to the state that a sequence begins with."""
        self.state = self._start

    def step(self, x: Any, out: Array | None = None) -> Array:
        """The next step's input (batch, features), or (batch,) of tokens or of a single feature, to that step's output (batch, features).

        With a batch of 1 its axis may be missing, from x and then from the result.  Real numbers of any type are converted.
        `out`: an array of the result's shape and dtype to write into; a recurrence allocates nothing in any case.
        TypeError: what is no array of numbers, `out` of another dtype; ValueError: wrong shapes, tokens out of range, a read-only `out`.
        """
        given = self._checked(x)
        shape = self._result[given.ndim < len(self._shape)]
        out = step_output(out, shape, self._result_dtype)
        y = self._evaluated(given.reshape(self.batch, -1))
        out[...] = (y.T if self._turned else y).reshape(shape)
        return out

    def _evaluated(self, x: Array) -> Array:
        """graph.evaluate's numbers; the values of a step stay until the next."""
        self._values[INPUT] = x
        if self._plain:
            self._run()
        else:
            with np.errstate(all="ignore"):  # 0.7 us
                self._run()
        return self._values[self.graph.output.step]

    def _run(self) -> None:
        values = self._values
        for name, run, inputs in self._program:
            values[name] = run(*[values[i] for i in inputs])

    def _checked(self, x: Any) -> Array:
        spec = self.graph.input
        a = step_input(x, self._shape, "whole" if spec.kind == "tokens" else "real")
        if spec.kind == "tokens":
            if a.size and not 0 <= a.min() <= a.max() < spec.size:
                raise ValueError(f"x: tokens 0 to {spec.size - 1} wanted, got {a.min()} to {a.max()}")
            return a
        return np.asarray(a, self._dtype, order="C")

    @property
    def state(self) -> dict[str, Array]:
        """Copies of all states by name, (batch, n) each; assign such a mapping to go on from there."""
        return {name: a.copy() for name, a in self._states().items()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        own = self._states()
        for name, value in new_states(state, own).items():
            own[name][...] = value

    def _states(self) -> dict[str, Array]:
        """The states where they live now: the next step moves them."""
        return {f"{s.step}.{s.state}": self.recurrences[s.step].state[s.state] for s in self.graph.states}


def streamed(model: Module | StepGraph | QuantizedModel, x: Array) -> Array:
    """One sequence, x (T, I) -> the outputs of every step (T, O) float32, with nothing but the state kept from step to step."""
    stream = model.stream() if isinstance(model, QuantizedModel) else Stream(model)
    return np.stack([stream.step(row).reshape(-1) for row in x]).astype(np.float32)
