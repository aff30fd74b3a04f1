"""A cell over time as one operation on the tape.  Not here: memory and kernels (bptt.py, engine.py), stacks and layouts (nn/).

Letters: T time, B batch, I input, N units of a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import Cell
from . import bptt, engine
from .autograd import mode
from .bptt import Saved
from .dtypes import Array
from .recompute import Marks, States, forward_marks, forward_states
from .tensor import Tensor, record


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
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a cell over x (T, B, I) from `states` {name: (B, N)}.

    `weights` as `Cell.shapes` names them.  Returns the first state over time (T, B, N), and the last states {name: (B, N)}.
    `reverse`: from the last step to the first; the output keeps the order of x.  `lengths` (B,) integers in 1..T: row b ends,
    or reversed begins, after lengths[b] steps; beyond them the output is 0, and the last states are those of its own last step.
    `recompute`: backward() computes again what it wants beside the states of every step; `checkpoint_every`: of every so many steps.

    Raises TypeError unless all arrays are of one type, float32 or float64; ValueError for shapes that do not fit.
    """
    sizes = _sizes(cell, x, states, weights)
    names = list(weights)
    inputs = (x, *(states[s] for s in cell.states), *weights.values())
    training = mode.grad and any(t.requires_grad for t in inputs)
    layer = engine.Layer(cell, {k: w.data for k, w in weights.items()}, sizes)
    start = {s: states[s].data for s in cell.states}
    array, want_x = x.data, x.requires_grad

    def forward(training: bool) -> tuple[Array, dict[str, Array], Saved | States | Marks]:
        if training and checkpoint_every:
            return forward_marks(layer, array, start, checkpoint_every, reverse=reverse, lengths=lengths)
        if training and recompute:
            return forward_states(layer, array, start, reverse=reverse, lengths=lengths)
        return bptt.forward(layer, array, start, reverse=reverse, training=training, lengths=lengths)

    output, last, saved = forward(training)
    unused = [saved] if training else []

    def backward(*given: Array | None) -> tuple[Array | None, ...]:
        # The way back may write over what was saved; a second time, with retain_graph, it is computed again.
        kept = unused.pop() if unused else forward(True)[2]
        dlast = dict(zip(cell.states, given[1:], strict=True))
        grads = kept.backward(array, given[0], dlast, want_x)
        return (grads.get("x"), *(grads[s] for s in cell.states), *(grads[k] for k in names))

    attrs: dict[str, Any] = {"cell": cell.name, "reverse": reverse, "lengths": lengths is not None, "weights": tuple(names)}
    first, ends = Tensor(output), {s: Tensor(last[s]) for s in cell.states}
    if training or mode.trace:  # what is read on the way back: all that came in, and mostly the output, which is the first state's memory
        read = (*range(len(inputs)), *(() if isinstance(saved, Marks) else (-1,)))
        record("recurrence", inputs, (first, *ends.values()), backward, attrs, training, read)
    return first, ends


def _sizes(cell: Cell, x: Tensor, states: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, int]:
    """The length of each axis, from what was given; everything is checked against it."""
    if x.ndim != 3:
        raise ValueError(f"a recurrence wants x of shape (T, B, I), got {tuple(x.shape)}")
    T, B, I = x.shape
    if not T or not B:
        raise ValueError(f"a recurrence wants at least one step and one row, got x of shape {tuple(x.shape)}")
    arrays = {"x": x, **states, **weights}
    dtypes = {np.dtype(t.data.dtype) for t in arrays.values()}
    if len(dtypes) > 1 or dtypes.pop() not in (np.float32, np.float64):
        kinds = ", ".join(f"{k} {t.data.dtype}" for k, t in arrays.items())
        raise TypeError(f"a recurrence wants arrays of one type, float32 or float64, got {kinds}")
    if list(states) != cell.states and set(states) != set(cell.states):
        raise ValueError(f"{cell.name} wants the states {', '.join(cell.states)}, got {', '.join(states)}")
    sizes = {"I": int(I)}
    for s in cell.states:
        shape = tuple(states[s].shape)
        if len(shape) != 2 or shape[0] != B or sizes.setdefault(cell.axis(s), shape[1]) != shape[1]:
            raise ValueError(f"state {s} wants shape ({B}, {sizes.get(cell.axis(s), cell.axis(s))}), got {shape}")
    p = cell.program
    for family, gates in p.families.items():
        w = p.weights[f"{family}.{gates[0]}"]
        if w.blocks != "1" and family in weights:
            sizes.setdefault(w.blocks, sizes[w.into] // max(1, weights[family].shape[-1]))
    for key, want in cell.shapes(sizes).items():
        if key not in weights and key.endswith("+"):
            continue  # without a bias
        if key not in weights or tuple(weights[key].shape) != want:
            raise ValueError(
                f"weight {key} of {cell.name} wants shape {want}, got {tuple(weights[key].shape) if key in weights else 'none'}"
            )
    return sizes
