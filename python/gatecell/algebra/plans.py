"""The plans of a cell: inference, training, the way back, and the gradient of the input.

Arrays by name: "x"; "given.m", ... the further inputs; a state "h" (slot t) and "h'" (slot t + 1); "keep0", ... over time;
"dy", the outside gradient of the first state over time; "carry.h", the gradient that flows back through time (ring: read t + 1, written t);
"cross0", ... gradients of products and of parameters over time; "arg0", ... arguments of products that no other array holds; "dx".
"""

from __future__ import annotations

from dataclasses import dataclass

from .derive import Backward
from .graph import Node, is_leaf
from .loops import Array, Plan, lower
from .program import Program


@dataclass(frozen=True)
class Use:
    """A product's part in its weight's gradient: the sum over time and batch of `gradient` times `argument`."""

    weight: str
    gradient: str
    argument: str


@dataclass(frozen=True)
class Plans:
    infer: Plan
    train: Plan
    back: Plan
    dx: Plan | None
    uses: list[Use]
    sums: dict[str, str]
    """Parameter -> array over time whose sum is its gradient."""
    reuse: dict[str, str]
    """Array that the way back writes over time -> kept value in whose place it may go: the last to read it is the one that writes."""


def plans(p: Program, d: Backward) -> Plans:
    first = next(iter(p.states))
    over = {p.x: (Array("x", "given", p.x.axis),)} | {n: (Array(s, "over", n.axis),) for s, n in p.states.items()}
    over |= {n: (Array(f"given.{name}", "given", n.axis),) for name, n in p.given.items()}
    new = {s: Array(s + "'", "over", n.axis, 1) for s, n in p.states.items()}
    keep = {n: Array(f"keep{k}", "over", n.axis) for k, n in enumerate(d.keep)}

    states = {new[s].name: n for s, n in p.outs.items()}
    fresh = {a.name: a for a in new.values()}
    infer = lower("infer", states, over, fresh, p.names)
    train = lower("train", states | {a.name: n for n, a in keep.items()}, over, fresh | {a.name: a for a in keep.values()}, p.names)

    known = over | {n: (new[s],) for s, n in p.outs.items() if not is_leaf(n)} | {n: (a,) for n, a in keep.items()}
    seeds: dict[Node, tuple[Array, ...]] = {d.seeds[s]: (Array("carry." + s, "ring", n.axis, 1),) for s, n in p.states.items()}
    seeds[d.seeds[first]] += (Array("dy", "given", p.states[first].axis),)
    outs: dict[str, Node] = {f"carry'.{s}": n for s, n in d.states.items()}
    stored = {name: Array(name, "ring", p.states[s].axis) for s, name in zip(p.states, outs, strict=True)}
    held: dict[Node, str] = {}

    def hold(n: Node, kind: str, axis: str) -> str:
        """The array over time that has a value; one is made where none has."""
        if n in known:
            return known[n][0].name
        if n not in held:
            held[n] = f"{kind}{len(held)}"
            outs[held[n]], stored[held[n]] = n, Array(held[n], "over", axis)
        return held[n]

    uses = [
        Use(w, hold(g, "cross", p.weights[w].out), hold(a, "arg", p.weights[w].into)) for w in p.weights for g, a in d.weights.get(w, ())
    ]
    sums = {name: hold(g, "cross", g.axis if g.axis != "1" else p.states[first].axis) for name, g in d.params.items()}
    back = lower("back", outs, known | seeds, stored, p.names, descending=True)

    dx = None
    if d.x is not None:
        have = known | {n: (stored[name],) for n, name in held.items()}
        dx = lower("dx", {"dx": d.x}, have, {"dx": Array("dx", "over", p.x.axis)}, p.names)
    return Plans(infer, train, back, dx, uses, sums, _reuse(back, dx, uses))


def _reuse(back: Plan, dx: Plan | None, uses: list[Use]) -> dict[str, str]:
    """Kept values give their place to what is written where they are last read.

    A tile is read before it is written, so reading and writing in one loop is right as long as only its own units are read.
    """
    after = {u.argument for u in uses} | {u.gradient for u in uses} | set(dx.arrays if dx else ())
    reads: dict[str, int] = {}  # kept value -> last pass that reads it by units
    whole: set[str] = set()  # read by products or reductions, all units at once, or after something was written
    writes: dict[str, int] = {}
    for k, p in enumerate(back.passes):
        whole |= {r.source for r in p.reductions} | {t.source for loop in p.loops for t in loop.terms}
        for loop in p.loops:
            written = {loop.arrays[i.dst] for i in loop.code if i.dst < len(loop.arrays)}
            whole |= {loop.arrays[i.src[0]] for i in loop.code if i.op == "copy" and i.src[0] < len(loop.arrays)}  # copied last
            reads |= {a: k for a in loop.arrays if a.startswith("keep")}
            writes |= {a: k for a in written if a.startswith(("cross", "arg"))}
    out: dict[str, str] = {}
    for array, k in writes.items():
        free = (a for a, last in reads.items() if last <= k and a not in whole | after and a not in out.values())
        place = next((a for a in free if back.arrays[a].axis == back.arrays[array].axis), None)
        if place is not None:
            out[array] = place
    return out
