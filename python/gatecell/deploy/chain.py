"""From a step graph to a chain of layers, each a page: what integers and C are made from.

Not here: any arithmetic of integers, any C.  A linear layer is a page without memory, its activation in it; arithmetic with
constants is folded into the matrices around it.  What branches, or mixes features in another way, is Unsupported.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..algebra import ops
from ..algebra.model import FloatLayer, FloatModel
from ..cells import Cell, cells, record
from ..errors import Unsupported
from ..tensor.dtypes import Array
from .graph import ARITHMETIC, INPUT, Step, StepGraph


@record(axes="W:O out:O", bias="W")
def linear(W: Any, x: Any, out: Any) -> Any:
    return W.y(x)


def pages(op: str) -> tuple[Cell, Cell]:
    """An activation after a linear layer's product, and the activation alone."""
    activation = getattr(ops, op)

    def joined(W: Any, x: Any, out: Any) -> Any:
        return activation(W.y(x))

    def alone(x: Any, out: Any) -> Any:
        return activation(x)

    joined.__name__, alone.__name__ = f"linear_{op}", f"pointwise_{op}"
    return record(axes="W:O out:O", bias="W")(joined), record(axes="out:I")(alone)


ACTIVATIONS = {op: pages(op) for op in ("tanh", "sigmoid", "relu")}
"""Operations of the step graph that have a form on a chip, integers and floats; each is a primitive of ops.py too."""


class Chain:
    """A chain under construction: layers, and an affine map (a, c) of the present value that waits for the next matrix."""

    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.layers: list[FloatLayer] = []
        self.mean, self.std = np.zeros(graph.input.size), np.ones(graph.input.size)
        self.scale, self.shift = np.ones(graph.input.size), np.zeros(graph.input.size)

    def add(self, cell: Cell, weights: dict[str, Array], sizes: dict[str, int]) -> None:
        """A layer.  The waiting map goes into what multiplies x; before the first layer it is the input's standardisation."""
        if not self.layers:
            self.std = 1 / self.scale
            self.mean = -self.shift / self.scale
        elif not self.plain:
            weights = fold_in(cell, weights, self.scale, self.shift)
        self.layers.append(FloatLayer(cell.signature, cell.program, weights, sizes))
        width = self.layers[-1].width
        self.scale, self.shift = np.ones(width), np.zeros(width)

    @property
    def plain(self) -> bool:
        return bool((self.scale == 1).all() and (self.shift == 0).all())

    def affine(self, a: Array, c: Array) -> None:
        """The value becomes a v + c.  After a linear layer that is the layer's own business."""
        last = self.layers[-1] if self.layers else None
        if last is not None and last.program is linear.program:
            w = {"W": last.weights["W"] * a[:, None], "W+": last.weights.get("W+", np.zeros(last.width)) * a + c}
            self.layers[-1] = dataclasses.replace(last, weights=w)
        else:
            self.scale, self.shift = self.scale * a, self.shift * a + c

    def activate(self, op: str, where: str) -> None:
        joined, alone = ACTIVATIONS[op]
        last = self.layers[-1] if self.layers else None
        if last is None or not self.plain:
            of = "the input" if last is None else "a recurrence after arithmetic"
            raise Unsupported(f"{op} of {of} has no form on a chip yet: {where}")
        if last.program is linear.program:
            self.layers[-1] = FloatLayer(joined.signature, joined.program, last.weights, last.sizes)
        else:
            self.add(alone, {}, {"I": last.width})


def fold_in(cell: Cell, weights: dict[str, Array], scale: Array, shift: Array) -> dict[str, Array]:
    """Weights of a layer that reads v, from those of the same layer reading scale v + shift."""
    out = dict(weights)
    for family, gates in cell.program.families.items():
        arguments = {n.args[0].op for n in cell.program.nodes if n.op == "product" and n.attr[0].startswith(family + ".")}
        if cell.program.weights[f"{family}.{gates[0]}"].into == "I" and arguments == {"x"}:
            w = out[family].astype(np.float64)
            out[family] = w * scale
            out[family + "+"] = out.get(family + "+", np.zeros(len(w))) + w @ shift
    return out


def float_model(graph: StepGraph) -> FloatModel:
    """The chain of a step graph.

    ValueError: a parameter that is not finite.  Unsupported: no chain of recurrences, linear layers and activations; the message names the
    line.
    """
    for name, p in graph.parameters.items():
        if len(bad := np.argwhere(~np.isfinite(p))):
            first = tuple(bad[0].tolist())
            raise ValueError(f"parameter {name}: finite numbers wanted, got {p[first]} at {first}")
    if graph.input.kind != "real":
        raise Unsupported("tokens as input have no form on a chip yet: wanted a model of real numbers")
    started = [s for s in graph.states if s.start is not None]
    if started:
        raise Unsupported(f"state {started[0].state} starts from a parameter, not from 0, which has no form on a chip yet")
    chain = Chain(graph)
    at = INPUT
    for step in graph.steps:
        where = f"{step.op}{' in ' + step.line if step.line else ''}"
        data = [i for i in step.inputs if i not in graph.parameters]
        if data != [at]:
            raise Unsupported(f"{where}: wanted a chain, in which every operation reads the result of the one before it")
        follow(chain, step, where)
        at = step.name
    if not chain.layers:
        raise Unsupported("wanted a model with a recurrent or linear layer")
    if not chain.plain:
        raise Unsupported("arithmetic on the output of a recurrence has no form on a chip yet: wanted a linear layer after it")
    return FloatModel(tuple(chain.layers), chain.mean, chain.std)


def follow(chain: Chain, step: Step, where: str) -> None:
    """One more operation."""
    graph, weights = chain.graph, chain.graph.weights_of(step)
    if step.op == "recurrence":
        cell = cells[step.settings["cell"]]
        width = chain.layers[-1].width if chain.layers else graph.input.size
        chain.add(cell, weights, {**step.settings["axes"], "I": width})
    elif step.op == "linear":
        w = {"W": weights["weight"]} | ({"W+": weights["bias"]} if "bias" in weights else {})
        chain.add(linear, w, {"I": weights["weight"].shape[1], "O": step.size})
    elif step.op == "standardize":
        std = weights["std"].astype(np.float64)
        chain.affine(1 / std, -weights["mean"].astype(np.float64) / std)
    elif step.op == "state" and chain.layers and step.settings["state"] == chain.layers[-1].output:
        return  # the recurrence's result is its first state
    elif step.op in ACTIVATIONS:
        chain.activate(step.op, where)
    elif step.op in ARITHMETIC and step.op not in ("maximum", "minimum") and len(step.inputs) == 2:
        chain.affine(*constants(chain, step, where))
    elif step.op == "neg":
        chain.affine(-np.ones(step.size), np.zeros(step.size))
    else:
        raise Unsupported(f"{where} has no form on a chip yet")


def constants(chain: Chain, step: Step, where: str) -> tuple[Array, Array]:
    """(a, c) of an operation with a parameter: a v + c."""
    first = step.inputs[0] in chain.graph.parameters
    p = np.broadcast_to(chain.graph.parameters[step.inputs[0 if first else 1]].astype(np.float64), (step.size,))
    if len(chain.scale) != step.size:
        raise Unsupported(f"{where} widens a vector, which has no form on a chip yet")
    one, zero = np.ones(step.size), np.zeros(step.size)
    if step.op == "add":
        return one, p
    if step.op == "sub":
        return (-one, p) if first else (one, -p)
    if step.op == "mul":
        return p, zero
    if first:
        raise Unsupported(f"{where}: a division by a value has no form on a chip yet")
    return 1 / p, zero
