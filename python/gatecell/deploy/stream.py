"""One step at a time, the state kept in between: what a device does.  Not here: what a step computes (graph.py), integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import cells
from ..nn import Module
from ..tensor import engine
from ..tensor.dtypes import Array
from ..tensor.tensor import Tensor
from .axes import BATCH, FEATURE, TIME
from .graph import Step, StepGraph, evaluate
from .quantized import QuantizedModel
from .trace import trace


class Stream:
    """s = Stream(model, batch=1); y = s.step(x): the model on `batch` independent sequences, a step of each at a time.

    model: a Module whose forward maps a sequence to an output per step, or to one from the last step (then `step` gives, at every step,
    what forward would give if the sequence ended there).  Its weights are copied: later training does not change the stream.
    Of a quantised model, its `stream`: the same calls, computed in integers.
    TypeError, ValueError: no Module, batch below 1.  Unsupported: a model that cannot run step by step, and why.
    """

    def __new__(cls, model: Module | StepGraph | QuantizedModel, batch: int = 1) -> Any:
        return model.stream(batch) if isinstance(model, QuantizedModel) else super().__new__(cls)

    def __init__(self, model: Module | StepGraph, batch: int = 1) -> None:
        if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)):
            raise TypeError(f"batch: a whole number wanted, got {type(batch).__name__}")
        if batch < 1:
            raise ValueError(f"batch: at least 1 wanted, got {batch}")
        self.graph = model if isinstance(model, StepGraph) else trace(model)
        self.batch = int(batch)
        spec, out = self.graph.input, self.graph.output
        self._shape = (self.batch,) + (spec.size,) * (FEATURE in spec.axes)
        self._axes = [a for a in out.axes if a != TIME]
        self._layers = {s.name: self._layer(s) for s in self.graph.steps if s.op == "recurrence"}
        self.reset()

    def _layer(self, s: Step) -> engine.Layer:
        sizes = {**s.settings["axes"], "I": self.graph.size(s.inputs[0])}
        return engine.Layer(cells[s.settings["cell"]], self.graph.weights_of(s), sizes)

    def reset(self) -> None:
        """Back to the state that a sequence begins with."""
        self._states = self.graph.start(self.batch)

    def step(self, x: Any, out: Array | None = None) -> Array:
        """The next step's input (batch, features), or (batch,) of tokens or of a single feature, to that step's output (batch, features).

        With a batch of 1 its axis may be missing, from x and then from the result.  Real numbers of any type are converted.
        `out`: an array of the result's shape and dtype to write into.
        TypeError: what is no array of numbers, `out` of another dtype; ValueError: wrong shapes, tokens out of range.
        """
        given = self._checked(x)
        bare = self.batch == 1 and given.ndim == len(self._shape) - 1
        y, states = evaluate(self.graph, given.reshape(self.batch, -1), self._states, self._recur)
        y = y.T if self._axes[0] == FEATURE else y
        y = y.reshape([self.batch if a == BATCH else y.size // self.batch for a in self._axes if not bare or a != BATCH])
        if out is not None:
            if not isinstance(out, np.ndarray) or out.dtype != y.dtype:
                raise TypeError(f"out: an array of {y.dtype} wanted, got {getattr(out, 'dtype', type(out).__name__)}")
            if out.shape != y.shape:
                raise ValueError(f"out: shape {y.shape} wanted, got {out.shape}")
            out[...] = y
        self._states = states
        return y if out is None else out

    def _recur(self, graph: StepGraph, s: Step, x: Array, states: Mapping[str, Array]) -> Mapping[str, Array]:
        return engine.forward(self._layers[s.name], x[None], states)[1]

    def _checked(self, x: Any) -> Array:
        a = x.data if isinstance(x, Tensor) else np.asarray(x)
        spec = self.graph.input
        kinds = "iu" if spec.kind == "tokens" else "fiub"
        if a.dtype.kind not in kinds:
            raise TypeError(f"x: {'whole' if spec.kind == 'tokens' else 'real'} numbers wanted, got {a.dtype}")
        if a.shape != self._shape and (self.batch != 1 or a.shape != self._shape[1:]):
            raise ValueError(f"x: shape {self._shape} wanted{f', or {self._shape[1:]}' * (self.batch == 1)}, got {a.shape}")
        if spec.kind == "tokens":
            if a.size and not 0 <= a.min() <= a.max() < spec.size:
                raise ValueError(f"x: tokens 0 to {spec.size - 1} wanted, got {a.min()} to {a.max()}")
            return a
        return a.astype(self.graph.dtype, copy=False)

    @property
    def state(self) -> dict[str, Array]:
        """Copies of all states by name, (batch, n) each; assign such a mapping to go on from there."""
        return {f"{step}.{name}": a.copy() for (step, name), a in self._states.items()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        own = {f"{step}.{name}": ((step, name), a) for (step, name), a in self._states.items()}
        if not isinstance(state, Mapping):
            raise TypeError(f"state: a mapping of names to arrays wanted, got {type(state).__name__}")
        if set(state) != set(own):
            raise ValueError(f"state: the names {', '.join(own) or 'none'} wanted, got {', '.join(map(str, state)) or 'none'}")
        new = {}
        for name, (key, a) in own.items():
            value = np.asarray(state[name])
            if value.dtype.kind not in "fiub":
                raise TypeError(f"state {name}: real numbers wanted, got {value.dtype}")
            if value.shape != a.shape:
                raise ValueError(f"state {name}: shape {a.shape} wanted, got {value.shape}")
            new[key] = value.astype(a.dtype)
        self._states = new
