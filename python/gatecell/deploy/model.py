"""A step graph as a Module: what `load` gives.  It predicts, trains on, streams, quantises and exports without the class it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..cells import cells, scans
from ..nn import Module, Parameter
from ..nn.module import to_tensor
from ..tensor import functional as F
from ..tensor.create import as_tensor
from ..tensor.dtypes import Array
from ..tensor.functions import cat
from ..tensor.recurrence import recurrence
from ..tensor.scan import scan
from ..tensor.tensor import Tensor, apply
from .axes import BATCH, FEATURE, TIME
from .graph import ARITHMETIC, INPUT, POINTWISE, Step, StepGraph


class GraphModel(Module):
    """A Module with `arrays` as parameters under their dotted names, those in `buffers` not trained, and the forward pass of `graph`.

    ValueError: names that are no paths of attributes, or of attributes that a Module has already.
    """

    def __init__(self, graph: StepGraph, arrays: Mapping[str, Array], buffers: Collection[str]) -> None:
        self._graph = replace(graph, parameters={})
        self._used = tuple(graph.parameters)
        for name, array in arrays.items():
            owner: Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in owner.__dict__:
                    owner.add_module(part, Module())
                owner = owner.__dict__[part]
                if not isinstance(owner, Module):
                    raise ValueError(f"{name!r}: {part!r} is a parameter, and cannot hold others")
            if last in owner.__dict__:
                raise ValueError(f"{name!r}: the name is taken")
            if name in buffers or array.dtype.kind != "f":
                owner.register_buffer(last, Tensor(array))
            else:
                owner.register_parameter(last, Parameter(array))

    def step_graph(self) -> StepGraph:
        """The graph with the parameters as they are now (copies)."""
        state = self.state_dict()
        return replace(self._graph, parameters={name: np.array(state[name].data, order="C") for name in self._used})

    def forward(self, input: Any) -> Tensor:
        """The whole sequence, in the layout and with the result of the model that was saved; its batch axis may be missing."""
        g = self._graph
        x, bare = _timed(g, as_tensor(input) if g.input.kind == "tokens" else to_tensor(input, self.dtype))
        own = {n: t for pairs in (self.named_parameters(), self.named_buffers()) for n, t in pairs}
        values: dict[str, Tensor] = {**own, INPUT: x}
        last: dict[tuple[str, str], Tensor] = {}
        for s in g.steps:
            if s.op in ("recurrence", "scan"):
                rows = x.shape[1]
                start = {t.state: own[t.start].expand(rows, t.size) if t.start else self._zeros(rows, t.size) for t in g.states_of(s)}
                weights = {key: own[name] for key, name in s.weights.items()}
                if s.op == "scan":
                    of, sizes = scans[s.settings["scan"]], {k: s.settings[k] for k in ("H", "N", "heads")}
                    given = {k: values[i] for k, i in zip(of.inputs, s.inputs, strict=True)}
                    values[s.name], ends = scan(of, given, {k: weights[k] for k in of.params}, start, **sizes)
                else:
                    values[s.name], ends = recurrence(cells[s.settings["cell"]], values[s.inputs[0]], start, weights)
                last |= {(s.name, name): t for name, t in ends.items()}
            elif s.op == "state":
                values[s.name] = last[s.inputs[0], s.settings["state"]].unsqueeze(0)  # of the last step; so is all that is made of it
            else:
                values[s.name] = _apply(s, [values[i] for i in s.inputs], {role: own[name] for role, name in s.weights.items()})
        return _arranged(g, values[g.output.step], bare)

    def _zeros(self, rows: int, n: int) -> Tensor:
        return Tensor(np.zeros((rows, n), self.dtype))

    def extra_repr(self) -> str:
        g = self._graph
        return f"{g.input.kind} {g.input.size} -> {', '.join(s.op for s in g.steps)} -> {g.output.size}"


def _timed(g: StepGraph, x: Tensor) -> tuple[Tensor, bool]:
    """The input as (T, B, n), tokens as (T, B), and whether it came without a batch; ValueError where it does not fit."""
    axes, spec = g.input.axes, g.input
    bare = x.ndim == len(axes) - 1
    if bare:
        x = x.unsqueeze(axes.index(BATCH))
    if x.ndim != len(axes) or (FEATURE in axes and x.shape[-1] != spec.size):
        raise ValueError(f"input: ({', '.join(axes)}) with {spec.size} features wanted, got shape {tuple(x.shape)}")
    order = [axes.index(a) for a in (TIME, BATCH, FEATURE) if a in axes]
    x = x.permute(order)
    return x if spec.kind == "tokens" or FEATURE in axes else x.unsqueeze(-1), bare


def _apply(s: Step, a: list[Tensor], w: Mapping[str, Tensor]) -> Tensor:
    """A step on Tensors (T, B, n); parameters among `a` are (n,)."""
    if s.op in POINTWISE or s.op in ARITHMETIC:
        return apply(s.op, *a)
    match s.op:
        case "linear":
            return F.linear(a[0], w["weight"], w.get("bias"))
        case "standardize":
            return (a[0] - w["mean"]) / w["std"]
        case "embedding":
            return F.embedding(a[0] if a[0].ndim == 2 else a[0].squeeze(-1), w["weight"])
        case "clamp":
            return a[0].clamp(s.settings.get("low"), s.settings.get("high"))
        case "softmax":
            return a[0].softmax(-1)
        case "log_softmax":
            return a[0].log_softmax(-1)
        case "argmax":
            return a[0].argmax(-1, keepdim=True)
        case "cat":
            return cat(a, -1)
        case "slice":
            return a[0][..., s.settings["start"] : s.settings["stop"]]
    raise AssertionError(f"step {s.name}: checked graphs have no {s.op!r}")


def _arranged(g: StepGraph, y: Tensor, bare: bool) -> Tensor:
    """(T, B, n) in the model's layout, one sequence without a batch where it came so."""
    own = [TIME, BATCH, FEATURE]
    if not g.output.every_step:
        y, own = y[-1], own[1:]
    if FEATURE not in g.output.axes:
        y, own = y.squeeze(-1), own[:-1]
    y = y.permute([own.index(a) for a in g.output.axes])
    return y.squeeze(g.output.axes.index(BATCH)) if bare else y
