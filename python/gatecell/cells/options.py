"""What a driver may do to any cell: zoneout, dropout inside the recurrence, a bound on states.  Not here: random numbers, any cell.

Each option makes a record of a record: the same weights, the same states, other equations.  While training these read masks, further
inputs that the driver draws; at inference they read none, and a record is spelled so that a file can name it:
"NAME with clip c 3.0, zoneout h 0.05".

* zoneout (Krueger et al. 2017): a state's unit keeps its old value with a probability; at inference it moves as far as on average.
  What else the step computes reads the new value, as in the paper.
* recurrent dropout (Gal & Ghahramani 2016): what the recurrent products read, one mask for all steps.
* candidate dropout (Semeniuta, Severyn & Barth 2016): the candidate, a mask for every step; what a state remembers is never dropped.
* clip: a bound on a state's absolute value, before anything reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ..algebra.gates import named
from ..algebra.graph import Node, is_leaf, needed
from ..algebra.ops import lerp, maximum
from ..algebra.program import Program
from ..algebra.ranges import ranges
from ..algebra.rewrite import Changes, Given, Rewritten
from ..errors import Unsupported
from .cell import RECURRENT, Cell, cells


@dataclass(frozen=True)
class Options:
    """What is asked of a cell; `Options()`: nothing."""

    zoneout: tuple[tuple[str, float], ...] = ()
    """(state, probability)."""
    recurrent: float = 0.0
    candidate: float = 0.0
    clip: tuple[tuple[str, float], ...] = ()
    """(state, bound)."""

    def __bool__(self) -> bool:
        return self != NONE


NONE = Options()


@dataclass(frozen=True)
class Mask:
    """A further input of a record in training: 0 with probability p, else `kept`, over (T, B, axis), or (B, axis) unless `timed`."""

    axis: str
    p: float
    kept: float
    timed: bool


class Derived(Cell):
    """A record of a record."""

    def __init__(self, base: Cell, name: str, changes: Changes, masks: Mapping[str, Mask], did: str) -> None:
        self.__dict__.update(base.__dict__)
        for kept in ("program", "backward"):
            self.__dict__.pop(kept, None)
        self.page = Rewritten(f"{base.page.__name__}_{did}", base.signature, base.program, changes)
        axes = {**base.signature.axes, **{m: mask.axis for m, mask in masks.items()}}
        self.signature = replace(base.signature, page=self.page, axes=axes, given=tuple(masks))
        self.base, self.name, self.title, self.masks = base, name, f"{base.title}, {name.removeprefix(base.name).strip()}", dict(masks)


@cache
def inference(cell: Cell, o: Options) -> Cell:
    """The record that a layer with these options runs when it does not train; the cell itself where they change nothing."""
    if not o.clip and not o.zoneout:
        return cell
    out = dict(_clips(cell, o)[1])
    for s, p in o.zoneout:
        out[s] = _then(out.get(s), _moved(p))
    words = [f"clip {s} {bound!r}" for s, bound in o.clip] + [f"zoneout {s} {p!r}" for s, p in o.zoneout]
    did = "_".join(["clipped"] * bool(o.clip) + ["zoned"] * bool(o.zoneout))
    return Derived(cell, f"{cell.name} with {', '.join(words)}", Changes(value=_clips(cell, o)[0], out=out), {}, did)


@cache
def training(cell: Cell, o: Options) -> Cell:
    """The record that it runs while training; `masks` says what it is given."""
    masks = _masks(cell, o)
    if not masks:
        return inference(cell, o)
    value, out = _clips(cell, o)
    for s, _ in o.zoneout:
        out[s] = _then(out.get(s), _chosen(f"mask_{s}"))
    if o.candidate:
        value[named(cell.program)[cell.candidate]] = lambda v, given: v * given["mask_candidate"]
    read = _read(cell.program)

    def argument(product: Node, v: Any, given: Given) -> Any:
        return v * given[f"mask_over_{product.args[0].axis}"] if o.recurrent and product in read else v

    return Derived(cell, f"{cell.name} in training with {o}", Changes(argument, value, out, tuple(masks)), masks, "masked")


def options(cell: Cell, *, zoneout: Any = 0.0, recurrent: float = 0.0, candidate: float = 0.0, clip: Any = None) -> Options:
    """Checked, and without what does nothing.  `zoneout`, `clip`: a number, or {state: number}.

    A number for zoneout is every state's, one for clip that of every state which its equations do not bound.
    TypeError, ValueError: what is no probability, no positive bound, no state of the cell.  Unsupported: a cell without what is dropped.
    """
    p = cell.program
    free = [s for s, n in p.states.items() if max(map(abs, ranges(p)[n])) == float("inf")]
    zones = _by_state(cell, "zoneout", zoneout, cell.states)
    bounds = _by_state(cell, "clip", clip, free)
    for s, share in zones.items():
        _probability(f"zoneout of {s}", share)
    for s, bound in bounds.items():
        if not 0 < bound < float("inf"):
            raise ValueError(f"clip of {s} wants a finite bound above 0, got {bound}")
    if clip is not None and not bounds:
        raise Unsupported(f"clip: the states of {cell.name} are bounded by its equations: name one, as {{{cell.states[0]!r}: bound}}")
    o = Options(
        tuple((s, share) for s, share in zones.items() if share),
        _probability("recurrent_dropout", recurrent),
        _probability("candidate_dropout", candidate),
        tuple(bounds.items()),
    )
    if o.recurrent and not _read(p):
        raise Unsupported(f"recurrent_dropout: no product of {cell.name} reads a state")
    if o.candidate and not cell.candidate:
        raise Unsupported(f"candidate_dropout: {cell.name} has no candidate: what it computes anew is its state")
    return o


def by_name(name: str) -> Cell | None:
    """The record for inference that is spelled so; None: there is none."""
    base, _, rest = name.partition(" with ")
    found = re.findall(r"(clip|zoneout) (\w+) ([0-9.e+-]+)(?:, |$)", rest)
    if " " in base or base not in cells or not found or len(found) > 2 * len(cells[base].states):
        return None
    try:
        parts = {kind: {s: float(v) for k, s, v in found if k == kind} for kind in ("clip", "zoneout")}
        made = inference(cells[base], options(cells[base], zoneout=parts["zoneout"], clip=parts["clip"] or None))
    except ValueError:
        return None
    return made if made.name == name else None


def _masks(cell: Cell, o: Options) -> dict[str, Mask]:
    out = {f"mask_{s}": Mask(cell.axis(s), p, 1.0, True) for s, p in o.zoneout}
    if o.recurrent:
        axes = dict.fromkeys(n.args[0].axis for n in _read(cell.program))
        out |= {f"mask_over_{axis}": Mask(axis, o.recurrent, _scale(o.recurrent), False) for axis in axes}
    if o.candidate:
        axis = named(cell.program)[cell.candidate].axis
        out["mask_candidate"] = Mask(axis, o.candidate, _scale(o.candidate), True)
    return out


def _scale(p: float) -> float:
    """What keeps the mean."""
    return 1 / (1 - p) if p < 1 else 0.0


def _read(p: Program) -> list[Node]:
    """The recurrent products: those of the recurrent family that read something of a state."""
    ours = [n for n in p.nodes if n.op == "product" and n.attr[0].split(".")[0] == RECURRENT]
    return [n for n in ours if any(a.op == "state" for a in needed(n.args))]


Change = Callable[[Any, Any, Given], Any]


def _clips(cell: Cell, o: Options) -> tuple[dict[Node, Callable[[Any, Given], Any]], dict[str, Change]]:
    """Of new values, for all that read them; a state that only moves is bounded where it arrives."""
    value: dict[Node, Callable[[Any, Given], Any]] = {}
    out: dict[str, Change] = {}
    for s, bound in o.clip:
        n = cell.program.outs[s]
        if is_leaf(n):
            out[s] = _bounded_new(bound)
        else:
            value[n] = _bounded_value(bound)
    return value, out


def _moved(p: float) -> Change:
    return lambda new, old, given: lerp(p, new, old)


def _chosen(mask: str) -> Change:
    """One of the two, to the bit."""
    return lambda new, old, given: given[mask] * new + (1.0 - given[mask]) * old


def _bounded_new(k: float) -> Change:
    return lambda new, old, given: _bounded(new, k)


def _bounded_value(k: float) -> Callable[[Any, Given], Any]:
    return lambda v, given: _bounded(v, k)


def _then(first: Change | None, second: Change) -> Change:
    return second if first is None else lambda new, old, given: second(first(new, old, given), old, given)


def _bounded(v: Any, k: float) -> Any:
    """v within [-k, k]; a NaN stays one."""
    return -maximum(-k, -maximum(-k, v))


def _by_state(cell: Cell, what: str, given: Any, every: list[str]) -> dict[str, float]:
    """In the order of the cell's states."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(every, _number(what, given))
    if unknown := [s for s in given if s not in cell.states]:
        raise ValueError(f"{what}: states of {cell.name} wanted, {', '.join(cell.states)}, got {unknown[0]!r}")
    return {s: _number(f"{what} of {s}", given[s]) for s in cell.states if s in given}


def _number(what: str, v: Any) -> float:
    if isinstance(v, bool) or not hasattr(v, "__float__"):
        raise TypeError(f"{what} wants a number, or one for each of several states, got {type(v).__name__}")
    return float(v)


def _probability(what: str, v: Any) -> float:
    if not 0 <= _number(what, v) <= 1:
        raise ValueError(f"{what} wants a probability, 0 to 1, got {v}")
    return float(v)
