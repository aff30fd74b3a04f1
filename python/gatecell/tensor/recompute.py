"""Less memory for more time: BPTT that computes again what it did not keep.  Not here: BPTT itself (bptt.py), the tape.

* `States`: the states of every step are kept, which are a layer's output and little more, and the rest is computed again from them, a few
  steps at a time.  Nothing recurs there, so the products of many steps are one.
* `Marks`: the states are kept every so many steps alone, and each stretch is run again from its mark.

Both give the bits that keeping everything gives; only where rows have lengths of their own, weights' gradients are rounded otherwise.
Letters: T time, B batch, N units of an axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .bptt import Grads, Part, Saved, back_in_parts, forward, given_of, lengths_of, parts, placed_x
from .engine import Array, Layer, padded


@dataclass
class States:
    """What a forward pass leaves that keeps the states alone; `backward` may be called again and again."""

    saved: Saved

    def backward(self, x: Array, dy: Array | None, dlast: Grads, want_x: bool = True) -> dict[str, Array]:
        """As bptt.Saved.backward."""
        saved = self.saved
        return back_in_parts(saved.layer, self.parts(), lambda part: _replayed(saved.part(part), x[slice(*part)]), x, dy, dlast, want_x)

    def parts(self) -> list[Part]:
        """So many steps that calls cost little; else a 32nd of them, for the memory's sake, and no more than caches like."""
        T, B = self.saved.steps, self.saved.rows
        rows = max(512, 2**16 // max(a.shape[2] for a in self.saved.states.values()))
        return parts(T, B, min(-(-2 * rows // B), max(-(-rows // B), T // 32)), self.saved.reverse)


@dataclass
class Marks:
    """What a forward pass leaves that keeps the states before each part; `backward` may be called again and again."""

    layer: Layer
    reverse: bool
    lengths: Array | None
    marks: dict[Part, dict[str, Array]]
    given: Mapping[str, Array]

    def backward(self, x: Array, dy: Array | None, dlast: Grads, want_x: bool = True) -> dict[str, Array]:
        """As bptt.Saved.backward."""

        def again(part: Part) -> Saved:
            own, given = lengths_of(self.lengths, part), given_of(self.given, slice(*part))
            start = self.marks[part]
            return forward(self.layer, x[slice(*part)], start, reverse=self.reverse, training=True, lengths=own, given=given)[2]

        return back_in_parts(self.layer, list(self.marks), again, x, dy, dlast, want_x)


def forward_states(
    layer: Layer,
    x: Array,
    start: Mapping[str, Array],
    *,
    reverse: bool = False,
    lengths: Array | None = None,
    given: Mapping[str, Array] | None = None,
) -> tuple[Array, dict[str, Array], States]:
    """As bptt.forward."""
    output, last, saved = forward(layer, x, start, reverse=reverse, training=True, lengths=lengths, states_alone=True, given=given)
    return output, last, States(saved)


def forward_marks(
    layer: Layer,
    x: Array,
    start: Mapping[str, Array],
    every: int,
    *,
    reverse: bool = False,
    lengths: Array | None = None,
    given: Mapping[str, Array] | None = None,
) -> tuple[Array, dict[str, Array], Marks]:
    """As bptt.forward; a mark every `every` steps, or as few more as make weights' sums whole (bptt.parts)."""
    T, B = x.shape[:2]
    output, state = layer.empty(T, B, layer.form.states[layer.form.first]), dict(start)
    marks: dict[Part, dict[str, Array]] = {}
    given = given or {}
    for part in parts(T, B, every, reverse):
        marks[part], time = state, slice(*part)
        own = lengths_of(lengths, part)
        output[time], state, _ = forward(layer, x[time], state, reverse=reverse, lengths=own, given=given_of(given, time))
    return output, state, Marks(layer, reverse, lengths, marks, given)


def _replayed(saved: Saved, x: Array) -> Saved:
    """The same with the kept values that a forward pass over these steps would have left, computed again from the states."""
    layer, T, B, form = saved.layer, saved.steps, saved.rows, saved.layer.form
    if not form.keep:
        return saved
    saved.keep = {name: layer.empty(T, B, padded(n)) for name, n in form.keep.items()}
    arrays = {"x": placed_x(layer, form.train, x), **saved.keep, **saved.given}
    for s, a in saved.states.items():
        arrays[s] = a[1:] if saved.reverse else a[:-1]
        arrays[s + "'"] = layer.empty(*a.shape)  # the new states once more, unused
    if saved.lengths is None and all(a.ndim == 3 and a.strides[0] == B * a.strides[1] for a in arrays.values()):
        layer.run(form.train, 1, T * B, {name: a[:T].reshape(T * B, a.shape[2]) for name, a in arrays.items()})
    else:
        layer.run(form.train, T, B, arrays, saved.lengths)
    return saved
