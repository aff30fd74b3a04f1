"""A module's step graph: run its forward pass twice, with other numbers of rows and steps, and believe only what agrees.

Not here: what the operations of the pass mean (lowering.py), the graph itself (graph.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import Unsupported
from ..nn import Module
from ..tensor.autograd import no_grad, tracing
from ..tensor.dtypes import Array
from ..tensor.tensor import Tensor
from .axes import BATCH, FEATURE, TIME
from .graph import INPUT, Input, State, Step, StepGraph, check, evaluate
from .layout import arranged, timed
from .lowering import Lowering, TimeFirst

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
"""Rows and steps are lengths that no weight has, so that no size is taken for another."""
TOLERANCE = {"f4": 1e-3, "f8": 1e-9}
"""Streaming against forward, relative to the largest output: other orders of sums, over a dozen steps; a wrong graph is off by far more."""


def trace(model: Module) -> StepGraph:
    """What `model` (a Module that maps a sequence to an output per step, or to one from the last step) computes at one step.

    Its parameters are copies.  How many features it reads is the `input_size` of the model, else what its first layer that fits reads.
    TypeError: not a Module.  Unsupported: forward cannot be run on (B, T, features) or (B, T) of tokens, does
    something that has no meaning step by step (the message names the operation and the line), or streaming does not give what it gives.
    """
    if not isinstance(model, Module):
        raise TypeError(f"a Module wanted, got {type(model).__name__}")
    known = getattr(model, "step_graph", None)
    if known is not None:
        graph: StepGraph = known()
        return graph
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        return _trace(model)
    finally:
        for m, training in modes:
            m.training = training


def _trace(model: Module) -> StepGraph:
    sizes = {n for t in model.state_dict().values() for n in t.shape}
    few, rows, other_rows, many = [p for p in PRIMES if p not in sizes][:4]
    rng = np.random.default_rng(0)
    spec, x, y = _first_run(model, (rows, many), rng)
    graph, spec = _lower(model, spec, x, y)
    lengths = (other_rows, few) if graph.input.axes[0] == BATCH else (few, other_rows)
    try:
        x = _sequence(graph.input, lengths, rng, graph, x.dtype)
        again, _ = _lower(model, spec, x, _run(model, x))
        x = _sequence(graph.input, (rows, many), rng, graph, x.dtype)
        y = _run(model, x)
    except Unsupported:
        raise
    except Exception as e:
        raise Unsupported(f"forward runs once, but not again on {x.shape}: {type(e).__name__}: {e}") from e
    if difference := graph.same_as(again):
        raise Unsupported(f"forward does something else when rows and steps are other in number, or when called again: {difference}")
    try:
        check(graph)
    except ValueError as e:
        raise Unsupported(f"what forward does cannot run step by step: {e}") from None
    _compare(graph, x.data, y.data)
    return graph


def _first_run(model: Module, lengths: tuple[int, int], rng: np.random.Generator) -> tuple[Input, Tensor, Tensor]:
    """The first of the candidates for its input that forward accepts."""
    failures = []
    for spec in _candidates(model):
        x = _sequence(spec, lengths, rng, None, model.dtype or np.dtype(np.float32))
        try:
            return spec, x, _run(model, x)
        except Unsupported:
            raise
        except Exception as e:
            failures.append(f"{spec.kind} {x.shape}: {type(e).__name__}: {e}")
    tried = "\n  ".join(failures[:5])
    raise Unsupported(f"forward runs on none of the inputs that its layers suggest (an attribute input_size would tell):\n  {tried}")


def _candidates(model: Module) -> Iterator[Input]:
    """What the model may read, the first layer's guess first."""
    seen = set()
    for spec in _guesses(model):
        if (key := (spec.kind, spec.size, spec.axes)) not in seen:
            seen.add(key)
            yield spec


def _guesses(model: Module) -> Iterator[Input]:
    full, bare = (BATCH, TIME, FEATURE), (BATCH, TIME)
    for m in model.modules():
        for name, kind, axes in (("num_embeddings", "tokens", bare), ("input_size", "real", full), ("in_features", "real", full)):
            if isinstance(size := getattr(m, name, None), int):
                yield Input(kind, size, axes)
        if isinstance(mean := getattr(m, "mean", None), Tensor) and mean.ndim == 1:
            yield Input("real", mean.numel(), full)
    yield Input("real", 1, bare)
    for p in model.parameters():
        yield from (Input("real", n, full) for n in reversed(p.shape))


def _sequence(spec: Input, lengths: tuple[int, int], rng: np.random.Generator, graph: StepGraph | None, dtype: np.dtype[Any]) -> Tensor:
    """A random input with those lengths of its first two axes; of a model that standardises, in the model's units."""
    if spec.kind == "tokens":
        return Tensor(rng.integers(0, spec.size, lengths))
    x = rng.normal(size=lengths + (spec.size,) * (len(spec.axes) - 2))
    for s in graph.steps if graph is not None else ():
        if graph is not None and s.op == "standardize" and s.inputs == (INPUT,):
            w = graph.weights_of(s)
            x = x * w["std"] + w["mean"]
    return Tensor(x.astype(dtype))


def _run(model: Module, x: Tensor) -> Tensor:
    with no_grad(), tracing():
        y = model(x)
    y = y[0] if isinstance(y, tuple) and y else y
    if not isinstance(y, Tensor):
        raise Unsupported(f"forward wanted to return a Tensor, or a tuple whose first is one; got {type(y).__name__}")
    return y


def _lower(model: Module, spec: Input, x: Tensor, y: Tensor) -> tuple[StepGraph, Input]:
    kept = model.state_dict()
    names = {id(t): n for pairs in (model.named_parameters(), model.named_buffers()) for n, t in pairs if n in kept}
    try:
        return tidy(Lowering(x, spec, names).graph(y)), spec
    except TimeFirst:
        spec = replace(spec, axes=(TIME, BATCH, *spec.axes[2:]))
    try:
        return tidy(Lowering(x, spec, names).graph(y)), spec
    except TimeFirst as e:
        raise Unsupported(f"{e} cannot run step by step: one layer runs along the axis that is another's batch; see batch_first") from None


def _compare(graph: StepGraph, x: Array, y: Array) -> None:
    """Stream x through the graph; Unsupported unless y comes out."""
    got = forward(graph, x)
    if got.shape != y.shape or got.dtype.kind != y.dtype.kind:
        raise Unsupported(f"streaming gives {got.dtype} {got.shape}, forward {y.dtype} {y.shape}")
    scale = float(np.abs(y[np.isfinite(y)]).max(initial=1e-30))
    same = (got == y) | ((got != got) & (y != y))
    error = float(np.abs(np.where(same, 0, got) - np.where(same, 0, y)).max(initial=0)) / scale
    if not error <= TOLERANCE.get(y.dtype.str[1:], 0):
        raise Unsupported(
            f"streaming differs from forward by {error:.2g} of the largest output: does forward compute outside of Tensors, "
            "or keep something from call to call?"
        )


def forward(graph: StepGraph, x: Array) -> Array:
    """The whole sequence in the model's layout, step by step through `evaluate`: the definition, slow on purpose."""
    rows, bare = timed(graph.input, x)
    states = graph.start(rows.shape[1])
    outputs = []
    for xt in rows:
        y, states = evaluate(graph, xt, states)
        outputs.append(y)
    return arranged(graph.output, np.stack(outputs), bare)


def tidy(graph: StepGraph) -> StepGraph:
    """The same graph without what the output does not need, (x - mean) / std as one step, steps counted anew."""
    steps = list(graph.steps)
    for k, s in enumerate(steps):
        before = next((p for p in steps[:k] if s.op == "div" and p.op == "sub" and s.inputs[0] == p.name), None)
        if before is not None and (w := _constants(graph, before, s)):
            steps[k] = Step(s.name, "standardize", before.inputs[:1], s.size, weights=w, line=before.line)
    needed = {graph.output.step}
    for s in reversed(steps):
        if s.name in needed:
            needed |= {*s.inputs, *s.weights.values()}
    steps = [s for s in steps if s.name in needed]
    states = [s for s in graph.states if s.step in needed]
    needed |= {s.start for s in states if s.start}
    count: dict[str, int] = {}
    new = {}
    for s in steps:
        new[s.name] = f"{s.op}_{count.setdefault(s.op, 0)}"
        count[s.op] += 1
    return replace(
        graph,
        output=replace(graph.output, step=new.get(graph.output.step, graph.output.step)),
        steps=tuple(replace(s, name=new[s.name], inputs=tuple(new.get(i, i) for i in s.inputs)) for s in steps),
        states=tuple(State(new[s.step], s.state, s.size, s.start) for s in states),
        parameters={n: p for n, p in graph.parameters.items() if n in needed},
    )


def _constants(graph: StepGraph, sub: Step, div: Step) -> dict[str, str]:
    """The weights of a standardize step in place of two; {} where they are none."""
    w = {"mean": sub.inputs[1], "std": div.inputs[1]}
    fit = all(name in graph.parameters and graph.parameters[name].shape == (div.size,) for name in w.values())
    return w if fit and sub.size == div.size and sub.inputs[0] not in graph.parameters else {}
