"""What the calibration data say about a model: ranges of inputs and values, second moments of what enters products.

Not here: formats and integers (quantizer.py).  Letters: T time, B batch, I input, N units of an axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algebra.graph import Node
from ..algebra.model import FloatLayer, FloatModel
from ..algebra.ops import OPS
from ..tensor.dtypes import Array
from ..tensor.engine import dense


@dataclass(frozen=True)
class Seen:
    """Of one layer."""

    peak: dict[Node, float]
    """Largest magnitude of every value."""
    arguments: dict[Node, Array]
    """What products multiply, over time and batch: (T * B, N) float64."""
    output: Array
    """(T, B, N) float64."""


def run(layer: FloatLayer, x: Array) -> Seen:
    """One layer over x (T, B, I) in float64, from states of 0.  ValueError: a value that is not finite, with its line of the page."""
    p = layer.program
    whole = {name: dense(w, 1) if p.weights[name].blocks != "1" else w for name in p.weights for w in layer.matrix(name)[:1]}
    matrices = {name: w.astype(np.float64).T for name, w in whole.items()}
    biases = {name: 0.0 if (b := layer.matrix(name)[1]) is None else b.astype(np.float64) for name in p.weights}
    steps, batch = x.shape[:2]
    nodes = [n for n in p.nodes if n.op not in ("state", "x", "const", "param")]
    wanted = {n.args[0] for n in nodes if n.op == "product"}
    over: dict[Node, Array] = {n: np.empty((steps, batch, layer.sizes[n.axis])) for n in wanted if n is not p.x}
    output = np.empty((steps, batch, layer.width))
    env: dict[Node, Any] = {n: np.zeros((batch, layer.sizes[n.axis])) for n in p.states.values()}
    env |= {n: n.attr for n in p.nodes if n.op == "const"}
    env |= {n: layer.weights[n.attr].astype(np.float64) for n in p.nodes if n.op == "param"}
    peak: dict[Node, Any] = dict.fromkeys(p.nodes, 0.0)
    for t in range(steps):
        env[p.x] = x[t]
        for n in nodes:
            with np.errstate(over="ignore", invalid="ignore"):  # exp of a gate that is wide open; and what is refused below
                if n.op == "product":
                    env[n] = env[n.args[0]] @ matrices[n.attr[0]] + biases[n.attr[0]]
                else:
                    env[n] = OPS[n.op].of(*(env[a] for a in n.args))
            peak[n] = np.maximum(peak[n], np.abs(env[n]))
        for n, values in over.items():
            values[t] = env[n]
        env |= {p.states[s]: v for s, v in {s: env[n] for s, n in p.outs.items()}.items()}
        output[t] = env[p.states[layer.output]]
    over |= {p.x: x} if p.x in wanted else {}
    flat = {n: np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for n, v in over.items()}
    peak[p.x] = x
    largest = {n: float(np.max(np.abs(v))) for n, v in peak.items()}
    beyond = next((n for n in p.nodes if not np.isfinite(largest[n])), None)
    if beyond is not None:
        raise ValueError(f"{p.name} computes {largest[beyond]} from this calibration data{layer.lines().where(beyond)}")
    return Seen(largest, flat, output)


def observe(model: FloatModel, x: Array) -> list[Seen]:
    """All layers over x (T, B, I), raw units."""
    seen: list[Seen] = []
    h = (x.astype(np.float64) - model.mean) / model.std
    for layer in model.layers:
        seen.append(run(layer, h))
        h = seen[-1].output
    return seen
