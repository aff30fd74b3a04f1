"""A cell over time as one operation on the tape.  Not here: memory and kernels (bptt.py, engine.py), stacks and layouts (nn/).

Letters: T time, B batch, I input, N units of a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from ..cells import Cell
from . import bptt, engine
from .autograd import mode
from .bptt import Saved
from .dtypes import Array
from .recompute import Marks, States, forward_marks, forward_states
from .tensor import Tensor, record

Described: TypeAlias = "tuple[tuple[str, tuple[int, ...], np.dtype[Any]], ...]"
"""Names, shapes and types of arrays."""


@dataclass(frozen=True)
class Call:
    """What a recurrence was called with: x (T, B, I), start {state: (B, N)}, the further inputs as the core reads them."""

    cell: Cell
    form: engine.Form
    x: Array
    start: Mapping[str, Array]
    weights: Mapping[str, Tensor]
    reverse: bool
    lengths: Array | None
    given: Mapping[str, Array]


def recurrence(
    cell: Cell,
    x: Tensor,
    states: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    *,
    reverse: bool = False,
    lengths: Array | None = None,
    recompute: bool = False,
    checkpoint_every: int | None = None,
    given: Mapping[str, Array] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a cell over x (T, B, I) from `states` {name: (B, N)}.

    `weights` as `Cell.shapes` names them.  Returns the first state over time (T, B, N), and the last states {name: (B, N)}.
    `reverse`: from the last step to the first; the output keeps the order of x.  `lengths` (B,) integers in 1..T: row b ends,
    or reversed begins, after lengths[b] steps; beyond them the output is 0, and the last states are those of its own last step.
    `given`: a cell's further inputs, arrays (T, B, N), or (B, N) where they are the same at every step; no gradient reaches them.
    `recompute`: backward() computes again what it wants beside the states of every step; `checkpoint_every`: of every so many steps.

    Raises TypeError unless all arrays are of one type, float32 or float64; ValueError for shapes that do not fit.
    """
    array, want_x = x.data, x.requires_grad
    if array.ndim != 3:
        raise ValueError(f"a recurrence wants x of shape (T, B, I), got {array.shape}")
    if not array.shape[0] or not array.shape[1]:
        raise ValueError(f"a recurrence wants at least one step and one row, got x of shape {array.shape}")
    form = _fitting(cell, array.shape[1:], array.dtype, _described(states), _described(weights))
    inputs = (x, *[states[s] for s in form.states], *weights.values())
    training = mode.grad and True in [t.requires_grad for t in inputs]
    layer = engine.Layer(form, {name: t.data for name, t in weights.items()})
    start = {s: states[s].data for s in form.states}
    beside = _beside(layer, given or {}, array.shape[:2]) if given or form.given else {}

    if mode.watch is not None:
        mode.watch.append(Call(cell, form, array, start, dict(weights), reverse, lengths, beside))

    def forward(training: bool) -> tuple[Array, dict[str, Array], Saved | States | Marks]:
        if training and checkpoint_every:
            return forward_marks(layer, array, start, checkpoint_every, reverse=reverse, lengths=lengths, given=beside)
        if training and recompute:
            return forward_states(layer, array, start, reverse=reverse, lengths=lengths, given=beside)
        return bptt.forward(layer, array, start, reverse=reverse, training=training, lengths=lengths, given=beside)

    output, last, saved = forward(training)
    unused = [saved] if training else []

    def backward(*given: Array | None) -> tuple[Array | None, ...]:
        # The way back may write over what was saved; a second time, with retain_graph, it is computed again.
        kept = unused.pop() if unused else forward(True)[2]
        dlast = dict(zip(start, given[1:], strict=True))
        grads = kept.backward(array, given[0], dlast, want_x)
        return (grads.get("x"), *[grads[s] for s in start], *[grads[k] for k in layer.weights])

    first, ends = Tensor(output), {s: Tensor(a) for s, a in last.items()}
    if training or mode.trace:  # what is read on the way back: all that came in, and mostly the output, which is the first state's memory
        attrs: dict[str, Any] = {"cell": cell.name, "reverse": reverse, "lengths": lengths is not None, "weights": tuple(weights)}
        read = (*range(len(inputs)), *(() if isinstance(saved, Marks) else (-1,)))
        record("recurrence", inputs, (first, *ends.values()), backward, attrs, training, read)
    return first, ends


def _beside(layer: engine.Layer, given: Mapping[str, Array], over: tuple[int, ...]) -> dict[str, Array]:
    """The further inputs, checked, where the core can read them."""
    wanted = {name: (*over, n) for name, n in layer.form.given.items()}
    fit = {name for name, shape in wanted.items() if name in given and given[name].shape in (shape, shape[1:])}
    if fit != set(wanted) or fit != set(given) or any(a.dtype != layer.dtype for a in given.values()):
        got = {name: (a.dtype, a.shape) for name, a in given.items()}
        raise ValueError(f"{layer.cell.name} wants further inputs of {layer.dtype}, {wanted}, got {got}")
    return bptt.placed_given(layer, given)


def _described(tensors: Mapping[str, Tensor]) -> Described:
    return tuple([(name, t.data.shape, t.data.dtype) for name, t in tensors.items()])


@lru_cache(maxsize=256)
def _fitting(cell: Cell, x: tuple[int, int], dtype: np.dtype[Any], states: Described, weights: Described) -> engine.Form:
    """A recurrence's form, from what was given, x (T, *x) and the others; everything is checked against it."""
    B, I = x
    dtypes = {"x": dtype, **{name: of for name, _, of in (*states, *weights)}}
    if len(set(dtypes.values())) > 1 or dtype not in (np.float32, np.float64):
        kinds = ", ".join(f"{name} {of}" for name, of in dtypes.items())
        raise TypeError(f"a recurrence wants arrays of one type, float32 or float64, got {kinds}")
    of_states, of_weights = ({name: shape for name, shape, _ in described} for described in (states, weights))
    if set(of_states) != set(cell.states):
        raise ValueError(f"{cell.name} wants the states {', '.join(cell.states)}, got {', '.join(of_states)}")
    sizes = {"I": I}
    for s in cell.states:
        shape = of_states[s]
        if len(shape) != 2 or shape[0] != B or sizes.setdefault(cell.axis(s), shape[1]) != shape[1]:
            raise ValueError(f"state {s} wants shape ({B}, {sizes.get(cell.axis(s), cell.axis(s))}), got {shape}")
    sizes |= cell.blocks(sizes, of_weights)
    for key, want in cell.shapes(sizes).items():
        if key not in of_weights and key.endswith("+"):
            continue  # without a bias
        if of_weights.get(key) != want:
            raise ValueError(f"weight {key} of {cell.name} wants shape {want}, got {of_weights.get(key, 'none')}")
    return engine.form(cell, sizes)
