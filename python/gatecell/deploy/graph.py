"""The step graph: what a model computes at one time step.  Quantisation, C export, streaming and files read it.

Not here: how it is found in a module's forward (trace.py), time (stream.py), files (exchange/).
Every value is one vector per row of the batch: (B, n); batch and time are nowhere in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..cells import cells, reference, scans
from ..tensor.dtypes import Array
from ..tensor.ops import OPS
from .scan_step import SIZE_LIMIT, scan_by_reference, scan_size, scan_units

Shape: TypeAlias = tuple[int, ...]
INPUT = "input"
STEPS_LIMIT = 10_000
"""Beyond it a graph is a mistake, or an attack."""


@dataclass(frozen=True)
class Step:
    """One operation at one time step.

    name      of its result; unique among steps and parameters
    op        a key of STEP_OPS
    inputs    what it reads: INPUT, names of earlier steps, or (arithmetic only) of parameters, vectors (n,) or (1,)
    size      n: its result is (B, n), with n = 1 broadcast against others
    settings  numbers and strings by name, as JSON has them
    weights   role -> name of a parameter
    line      the user's source line it comes from; not compared, not saved
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    size: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    line: str = field(default="", compare=False)


@dataclass(frozen=True)
class State:
    """A vector (B, size) that a recurrence or a scan carries from step to step.

    step   name of the Step with op "recurrence" or "scan" that owns it
    state  the page's name for it; a cell's first state is the result of the step
    start  name of the parameter (size,) it starts from; None: zeros
    """

    step: str
    state: str
    size: int
    start: str | None = None


@dataclass(frozen=True)
class Input:
    """What the model reads.  kind "real": `size` features; "tokens": whole numbers below `size`, one per step.

    axes  the layout of a whole sequence, as ("batch", "time", "feature"); tokens, and a single feature, may come without "feature"
    """

    kind: str
    size: int
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """What the model gives: the value of `step`, (B, size), at every time step where "time" is among its axes, else after the last one.

    axes  the layout of the whole, as ("batch", "time", "feature") or ("batch", "feature"); a single feature may come without "feature"
    """

    step: str
    size: int
    axes: tuple[str, ...]

    @property
    def every_step(self) -> bool:
        return "time" in self.axes


@dataclass(frozen=True, eq=False)
class StepGraph:
    """A whole model: `steps` in an order in which each finds what it reads; `parameters` by name, a state_dict's where it has them."""

    input: Input
    output: Output
    steps: tuple[Step, ...]
    states: tuple[State, ...]
    parameters: Mapping[str, Array]

    def __getitem__(self, name: str) -> Step:
        return next(s for s in self.steps if s.name == name)

    def size(self, name: str) -> int:
        """Length of the input, or of a step's result."""
        return (1 if self.input.kind == "tokens" else self.input.size) if name == INPUT else self[name].size

    def weights_of(self, step: Step) -> dict[str, Array]:
        """role -> array."""
        return {role: self.parameters[name] for role, name in step.weights.items()}

    def states_of(self, step: Step) -> list[State]:
        return [s for s in self.states if s.step == step.name]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The floating type of the parameters (float32 where there are none)."""
        kinds = [p.dtype for p in self.parameters.values() if p.dtype.kind == "f"]
        return np.result_type(*kinds) if kinds else np.dtype(np.float32)

    def start(self, batch: int) -> dict[tuple[str, str], Array]:
        """Fresh states, (step, state) -> (B, n)."""
        return {
            (s.step, s.state): np.tile(self.parameters[s.start], (batch, 1)) if s.start else np.zeros((batch, s.size), self.dtype)
            for s in self.states
        }

    def same_as(self, other: StepGraph) -> str:
        """"" where both compute the same; else the first difference in words."""
        for what in ("input", "output", "states"):
            if getattr(self, what) != getattr(other, what):
                return f"{what}: {getattr(self, what)} and {getattr(other, what)}"
        for a, b in zip(self.steps, other.steps, strict=False):
            if a != b:
                return f"{a.op} of {a.line or a.name} and {b.op} of {b.line or b.name}"
        if len(self.steps) != len(other.steps):
            return f"{len(self.steps)} and {len(other.steps)} operations"
        for name in {**self.parameters, **other.parameters}:
            if not np.array_equal(self.parameters.get(name, np.empty(0)), other.parameters.get(name, np.empty(0)), equal_nan=True):
                return f"the values of {name}{self._reader(name)}"
        return ""

    def _reader(self, name: str) -> str:
        """Where a parameter is read first, as far as its line is known: ", which mul at forecast.py:12 reads"."""
        starts = {s.step for s in self.states if s.start == name}
        readers = (s for s in self.steps if s.line and (s.name in starts or name in (*s.inputs, *s.weights.values())))
        return next((f", which {s.op} at {s.line} reads" for s in readers), "")


@dataclass(frozen=True)
class StepOp:
    """What an operation of the step graph means, and what fits it.

    of     (arrays of the inputs, weights by role, settings) -> result
    size   (sizes of the inputs, shapes of the weights by role, settings) -> size of the result; ValueError where they do not fit
    """

    of: Callable[[Sequence[Array], Mapping[str, Array], Mapping[str, Any]], Array]
    size: Callable[[Sequence[int], Mapping[str, Shape], Mapping[str, Any]], int]


def _expect(what: str, want: object, got: object) -> None:
    if want != got:
        raise ValueError(f"{what}: {want} wanted, got {got}")


def _arity(sizes: Sequence[int], n: int) -> None:
    _expect("inputs", n, len(sizes))


def _only(settings: Mapping[str, Any], **kinds: type) -> None:
    """Exactly these settings, of these types."""
    _expect("settings", {k: t.__name__ for k, t in kinds.items()}, {k: type(v).__name__ for k, v in settings.items()})


def _pointwise(op: str, arity: int) -> StepOp:
    def size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
        _arity(sizes, arity)
        _expect("weights", {}, shapes)
        _only(settings)
        wide = max(sizes)
        if any(n not in (1, wide) for n in sizes):
            raise ValueError(f"{op}: sizes that are equal or 1 wanted, got {list(sizes)}")
        return wide

    return StepOp(lambda a, w, s: OPS[op].of(*a), size)


def _linear_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    _arity(sizes, 1)
    _only(settings)
    out = shapes["weight"][0] if len(shapes.get("weight", ())) == 2 else 0
    _expect("weights", {"weight": (out, sizes[0])} | ({"bias": (out,)} if "bias" in shapes else {}), dict(shapes))
    return out


def _standardize_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    _arity(sizes, 1)
    _only(settings)
    _expect("weights", {"mean": (sizes[0],), "std": (sizes[0],)}, dict(shapes))
    return sizes[0]


def _embedding_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    _expect("input sizes", [1], list(sizes))
    _only(settings)
    if set(shapes) != {"weight"} or len(shapes["weight"]) != 2:
        raise ValueError(f"embedding: a weight (V, D) wanted, got {dict(shapes)}")
    return shapes["weight"][1]


def _slice_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    _arity(sizes, 1)
    _only(settings, start=int, stop=int)
    if not 0 <= settings["start"] < settings["stop"] <= sizes[0]:
        raise ValueError(f"slice: 0 <= start < stop <= {sizes[0]} wanted, got {settings}")
    return int(settings["stop"] - settings["start"])


def _clamp_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    _arity(sizes, 1)
    _only(settings, **{k: float for k in ("low", "high") if k in settings})
    return sizes[0]


def _over_features(result: Callable[[int], int]) -> Callable[[Sequence[int], Mapping[str, Shape], Mapping[str, Any]], int]:
    def size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
        _arity(sizes, 1)
        _only(settings)
        return result(sizes[0])

    return size


def _cat_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    _only(settings)
    return sum(sizes)


def _recurrence_size(sizes: Sequence[int], shapes: Mapping[str, Shape], settings: Mapping[str, Any]) -> int:
    """Settings: {"cell": its registered name, "axes": {"H": hidden units, ...}}; weights by the keys of `Cell.shapes`."""
    _arity(sizes, 1)
    _only(settings, cell=str, axes=dict)
    if settings["cell"] not in cells:
        raise ValueError(f"cell: one of {', '.join(cells)} wanted, got {settings['cell']!r}")
    if not all(type(n) is int and 0 < n <= SIZE_LIMIT for n in settings["axes"].values()):
        raise ValueError(f"axes: whole numbers from 1 to {SIZE_LIMIT} wanted, got {settings['axes']}")
    cell, axes = cells[settings["cell"]], {**settings["axes"], "I": sizes[0]}
    bias = any(key.endswith("+") for key in shapes)
    _expect(f"weights of {cell.name}", cell.shapes(axes, bias), dict(shapes))
    return int(axes[cell.axis(cell.states[0])])


def _elsewhere(*_: object) -> Any:
    raise AssertionError("what has states is evaluated by evaluate() and sized by check()")


# A recurrence's result is its first state.  "state" reads any of them: inputs (the recurrence,), settings {"state": name}.
STEP_OPS: dict[str, StepOp] = {
    "recurrence": StepOp(_elsewhere, _recurrence_size),
    "scan": StepOp(_elsewhere, scan_size),
    "state": StepOp(_elsewhere, _elsewhere),
    "linear": StepOp(lambda a, w, s: OPS["linear"].of(a[0], w["weight"], w.get("bias")), _linear_size),  # (O, I), and (O,) or none
    "standardize": StepOp(lambda a, w, s: (a[0] - w["mean"]) / w["std"], _standardize_size),
    "embedding": StepOp(lambda a, w, s: w["weight"][a[0][:, 0]], _embedding_size),
    "clamp": StepOp(lambda a, w, s: np.clip(a[0], s.get("low"), s.get("high")), _clamp_size),  # one limit may be missing
    "softmax": StepOp(lambda a, w, s: OPS["softmax"].of(a[0], dim=1), _over_features(lambda n: n)),
    "log_softmax": StepOp(lambda a, w, s: OPS["log_softmax"].of(a[0], dim=1), _over_features(lambda n: n)),
    "argmax": StepOp(lambda a, w, s: a[0].argmax(1)[:, None], _over_features(lambda n: 1)),
    "cat": StepOp(lambda a, w, s: np.concatenate(list(a), axis=1), _cat_size),
    "slice": StepOp(lambda a, w, s: a[0][:, s["start"] : s["stop"]], _slice_size),
}
ARITHMETIC = ("add", "sub", "mul", "div", "maximum", "minimum")  # of two steps, or of a step and a parameter
STEP_OPS |= {op: _pointwise(op, 2) for op in ARITHMETIC}
POINTWISE = ("neg", "abs", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "log_sigmoid", "relu")
STEP_OPS |= {op: _pointwise(op, 1) for op in POINTWISE}


def check(graph: StepGraph) -> None:
    """ValueError, saying which step and why, unless everything in the graph fits: then `evaluate` cannot fail on an input that fits."""
    if len(graph.steps) > STEPS_LIMIT:
        raise ValueError(f"at most {STEPS_LIMIT} steps wanted, got {len(graph.steps)}")
    check_ends(graph.input, graph.output)
    if graph.output.every_step and any(s.op == "state" for s in graph.steps):
        raise ValueError("output: other states of a recurrence are for the last step, not for every one")
    sizes = {INPUT: graph.size(INPUT)}
    vectors = {name: p.shape[0] for name, p in graph.parameters.items() if p.ndim == 1}
    whole = {INPUT: graph.input.size} if graph.input.kind == "tokens" else {}  # what is a whole number, and its bound: for embeddings alone
    for s in graph.steps:
        try:
            if s.name in sizes or s.name in graph.parameters or not (s.name.isidentifier() and s.name.isascii()):
                raise ValueError("a name that is an identifier and not taken wanted")
            known = sizes | vectors if s.op in ARITHMETIC else sizes
            if unknown := [i for i in s.inputs if i not in known]:
                raise ValueError(f"its input {unknown[0]!r} is nothing that it may read")
            if missing := [w for w in s.weights.values() if w not in graph.parameters]:
                raise ValueError(f"there is no parameter {missing[0]!r}")
            sizes[s.name] = _size(graph, s, [known[i] for i in s.inputs])
            _expect("size", sizes[s.name], s.size)
            if (s.op == "embedding") != any(i in whole for i in s.inputs):
                raise ValueError("tokens wanted by embeddings, and by them alone")
            if s.op == "embedding" and whole[s.inputs[0]] > (rows := graph.parameters[s.weights["weight"]].shape[0]):
                raise ValueError(f"tokens below {rows} wanted, got up to {whole[s.inputs[0]] - 1}")
        except ValueError as e:
            raise ValueError(f"step {s.name!r} ({s.op}): {e}") from None
        if s.op == "argmax":
            whole[s.name] = sizes[s.inputs[0]]
    carried = {s.name for s in graph.steps if s.op in ("recurrence", "scan")}
    if lost := [t.step for t in graph.states if t.step not in carried]:
        raise ValueError(f"states of recurrences wanted, got one of {lost[0]!r}")
    _expect("size of the output", sizes.get(graph.output.step), graph.output.size)


def check_ends(given: Input, out: Output) -> None:
    """ValueError unless both are layouts that a model can have."""
    if not 1 <= given.size <= SIZE_LIMIT:
        raise ValueError(f"1 to {SIZE_LIMIT} inputs wanted, got {given.size}")
    features = {"tokens": ((),), "real": ((), ("feature",)) if given.size == 1 else (("feature",),)}.get(given.kind, ())
    layouts = [a + f for a in (("batch", "time"), ("time", "batch")) for f in features]
    if given.axes not in layouts:
        raise ValueError(f"input: kind 'real' or 'tokens' with one of the layouts {layouts} wanted, got {given}")
    names = set(out.axes)
    if len(names) != len(out.axes) or not {"batch"} <= names <= {"batch", "time", "feature"} or (out.size > 1 and "feature" not in names):
        raise ValueError(f"output: the axes batch, feature and perhaps time wanted, got {out}")


def _size(graph: StepGraph, s: Step, sizes: list[int]) -> int:
    """The size of the step's result; ValueError where something does not fit."""
    if s.op not in STEP_OPS:
        raise ValueError(f"an operation of {', '.join(STEP_OPS)} wanted")
    if s.op == "state":
        found = [t.size for t in graph.states if (t.step,) == s.inputs and t.state == s.settings.get("state")]
        _expect("states of that name", 1, len(found))
        return found[0]
    size = STEP_OPS[s.op].size(sizes, {role: graph.parameters[name].shape for role, name in s.weights.items()}, s.settings)
    if s.op in ("recurrence", "scan"):
        if s.op == "scan":
            carried = [(n, scan_units(s.settings, axis)) for n, axis in scans[s.settings["scan"]].states.items()]
        else:
            cell, axes = cells[s.settings["cell"]], s.settings["axes"]
            carried = [(n, axes[cell.axis(n)]) for n in cell.states]
        _expect("states", carried, [(t.state, t.size) for t in graph.states_of(s)])
        for t in graph.states_of(s):
            if t.start is not None:
                _expect(f"start of {t.state}", (t.size,), getattr(graph.parameters.get(t.start), "shape", None))
    return size


def by_reference(graph: StepGraph, step: Step, x: Array, states: Mapping[str, Array]) -> Mapping[str, Array]:
    """One step of a recurrence by its page: x (B, I), states {name: (B, N)} -> new states."""
    return reference.step(cells[step.settings["cell"]], graph.weights_of(step), x, states)


def evaluate(
    graph: StepGraph,
    x: Array,
    states: Mapping[tuple[str, str], Array],
    recur: Callable[[StepGraph, Step, Array, Mapping[str, Array]], Mapping[str, Array]] = by_reference,
) -> tuple[Array, dict[tuple[str, str], Array]]:
    """One step by the definitions: x (B, n), or tokens (B, 1), and states -> (value of the output (B, m), new states)."""
    values: dict[str, Array] = {name: p[None] for name, p in graph.parameters.items()} | {INPUT: x}
    new: dict[tuple[str, str], Array] = {}
    with np.errstate(all="ignore"):
        for s in graph.steps:
            if s.op == "recurrence":
                names = [t.state for t in graph.states_of(s)]
                after = recur(graph, s, values[s.inputs[0]], {n: states[s.name, n] for n in names})
                new |= {(s.name, n): after[n] for n in names}
                values[s.name] = after[names[0]]
            elif s.op == "scan":
                old = {t.state: states[s.name, t.state] for t in graph.states_of(s)}
                values[s.name], after = scan_by_reference(s.settings, graph.weights_of(s), [values[i] for i in s.inputs], old)
                new |= {(s.name, n): a for n, a in after.items()}
            elif s.op == "state":
                values[s.name] = new[s.inputs[0], s.settings["state"]]
            else:
                values[s.name] = STEP_OPS[s.op].of([values[i] for i in s.inputs], graph.weights_of(s), s.settings)
    return values[graph.output.step], new
