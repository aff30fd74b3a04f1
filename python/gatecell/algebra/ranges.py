"""Intervals of every value of a program, for the integer formats.  Weights are unknown: a product has no bound.

States start at 0 and the step is iterated until nothing grows; a state that still grows after `PATIENCE` rounds has
no bound of its own.  Such states are widened one at a time, the fastest first, and the rest starts anew: a state that
grows only because another does is not condemned with it.
"""

from __future__ import annotations

from .graph import Node
from .ops import INF, OPS, Span
from .program import Program

PATIENCE = 12
ALL: Span = (-INF, INF)


def ranges(p: Program) -> dict[Node, Span]:
    """Value -> interval that holds for all weights, inputs and times; (-inf, inf) where only calibration can tell."""
    state: dict[str, Span] = dict.fromkeys(p.states, (0.0, 0.0))
    unbounded: list[str] = []
    rounds = 0
    while True:
        r: dict[Node, Span] = {}
        for n in p.nodes:
            if n.op == "state":
                r[n] = state[n.attr]
            elif n.op == "const":
                r[n] = (n.attr, n.attr)
            else:
                r[n] = OPS[n.op].span(*(r[a] for a in n.args)) if n.op in OPS else ALL
        wide = {s: (min(state[s][0], r[n][0]), max(state[s][1], r[n][1])) for s, n in p.outs.items()}
        new = {s: ALL if s in unbounded else v for s, v in wide.items()}
        if new == state:
            return r | {p.states[s]: v for s, v in new.items()}
        rounds += 1
        grown = [s for s in new if new[s] != state[s] and s not in unbounded]
        if grown and (rounds % PATIENCE == 0 or any(INF in map(abs, new[s]) for s in grown)):
            unbounded.append(max(grown, key=lambda s: max(map(abs, new[s]))))
            new = {s: ALL if s in unbounded else (0.0, 0.0) for s in new}
        state = new
