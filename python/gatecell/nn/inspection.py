"""What the recurrent layers of a model computed: every gate and state at every step, by name.  Public as gatecell.inspect.

Not here: which value of a step a gate is (algebra/gates.py), pictures (report/gates.py).
Letters: T time, B batch, N units of a gate or state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algebra.gates import named
from ..algebra.graph import needed
from ..cells import Cell, reference
from ..tensor import bptt, engine
from ..tensor.autograd import no_grad, watching
from ..tensor.dtypes import Array
from ..tensor.recurrence import Call
from .module import Module


@dataclass(frozen=True)
class Seen(Mapping[str, Array]):
    """One layer and direction over a sequence: name -> (T, B, N), gates first; NaN beyond a row's length.

    cell     the record that ran; `gates` by the names of its page, `states` by theirs
    start    {state: (B, N)} before the first step that ran
    reverse  whether time ran from the last step; arrays are in the order of the input either way
    """

    cell: Cell
    gates: Mapping[str, Array]
    states: Mapping[str, Array]
    start: Mapping[str, Array]
    reverse: bool

    def __getitem__(self, name: str) -> Array:
        if name not in self.gates and name not in self.states:
            raise KeyError(f"{name!r}: one of {', '.join(self)} wanted")
        return self.gates[name] if name in self.gates else self.states[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.gates, *self.states))

    def __len__(self) -> int:
        return len(self.gates) + len(self.states)


def inspect(model: Module, *args: Any, **kwargs: Any) -> dict[str, Seen]:
    """Run the model once, as at inference, on what it is called with; {layer: what it computed}, in the order in which layers ran.

    A layer goes by the path of its module and its place there: "encoder.l0", "encoder.l0_reverse"; one that runs several times, as
    a cell in a loop does, has its steps one after the other, and where the batch is another, a name of its own: "encoder.l0 (2)".
    States are the bits that the model computed; gates are computed once more from them, in float64, and rounded.
    TypeError: not a Module.  ValueError: nothing in it recurs.
    """
    if not isinstance(model, Module):
        raise TypeError(f"inspect: a Module wanted, got {type(model).__name__}")
    modes = [(m, m.training) for m in model.modules()]
    calls: list[Call] = []
    try:
        model.eval()
        with no_grad(), watching(calls):
            model(*args, **kwargs)
    finally:
        for m, training in modes:
            m.training = training
    if not calls:
        raise ValueError(f"inspect: a model with a recurrent layer wanted; nothing recurs in {type(model).__name__}")
    names = {id(t): name for name, t in model.named_parameters()}
    out: dict[str, list[Seen]] = {}
    batches: dict[str, list[int]] = {}
    for call in calls:
        name, rows = _name(call, names), call.x.shape[1]
        known = batches.setdefault(name, [])
        known += [rows] * (rows not in known)
        turn = known.index(rows)
        out.setdefault(f"{name} ({turn + 1})" if turn else name, []).append(_seen(call))
    return {name: _joined(parts) for name, parts in out.items()}


def _name(call: Call, names: Mapping[int, str]) -> str:
    """The weights' own: "encoder.weight_ih_l0_reverse" -> "encoder.l0_reverse"."""
    for key, t in call.weights.items():
        if id(t) in names:
            path, _, last = names[id(t)].rpartition(".")
            place = last.removeprefix(call.cell.torch_name(key)).removeprefix("_")
            return ".".join(p for p in (path, place) if p) or call.cell.name
    return call.cell.name


def _seen(call: Call) -> Seen:
    p = call.cell.program
    layer = engine.Layer(call.form, {key: t.data for key, t in call.weights.items()})
    _, _, saved = bptt.forward(
        layer, call.x, call.start, reverse=call.reverse, training=True, lengths=call.lengths, states_alone=True, given=call.given
    )
    over = {s: saved.states[s][:, :, :n] for s, n in call.form.states.items()}
    old, new = (slice(1, None), slice(None, -1)) if call.reverse else (slice(None, -1), slice(1, None))
    weights = reference.matrices(p, {key: t.data.astype(np.float64) for key, t in call.weights.items()})
    env = {p.x: call.x.astype(np.float64)} | {n: over[s][old].astype(np.float64) for s, n in p.states.items()}
    wanted = named(p)
    with np.errstate(all="ignore"):
        reference.evaluate(needed(wanted.values()), env, weights)
    T, B = call.x.shape[:2]
    beyond = np.zeros((T, B), bool) if call.lengths is None else np.arange(T)[:, None] >= call.lengths

    def shown(a: Array, units: int) -> Array:
        out = np.array(np.broadcast_to(a, (T, B, units)), call.x.dtype)
        out[beyond] = np.nan
        return out

    gates = {name: shown(env[n], call.form.sizes[n.axis]) for name, n in wanted.items()}
    states = {s: shown(a[new], a.shape[2]) for s, a in over.items()}
    return Seen(call.cell, gates, states, dict(call.start), call.reverse)


def _joined(parts: list[Seen]) -> Seen:
    first = parts[0]
    if len(parts) == 1:
        return first
    gates = {k: np.concatenate([p.gates[k] for p in parts]) for k in first.gates}
    states = {k: np.concatenate([p.states[k] for p in parts]) for k in first.states}
    return Seen(first.cell, gates, states, first.start, first.reverse)
