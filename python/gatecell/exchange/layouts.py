"""Weights of recurrent layers from elsewhere: Keras' arrays, and matrices over [h, x] as tutorials have them.  Public as load_weights.

In what order another tool stacks a cell's gates, what it calls them, and which of them it has the other way round, is a table in the cell's
record (cells/cell.py, Layout).  torch's weights need none: they load by `load_state_dict`.
Letters: I input, H hidden units, G gates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..cells import Cell
from ..errors import Unsupported
from ..nn.gates import Layer
from ..tensor.dtypes import Array

Parts = list[tuple[str, int]]
"""A layout's gates in its order: the cell's own name for each, and 1, or -1 where the gate is 1 where ours is 0."""


def load_weights(layer: Layer, weights: Any, layout: str = "keras", *, order: str = "hx") -> None:
    """Copy weights into a recurrent layer, all of them or none.

    layout "keras": what `get_weights()` gives, a list of kernel (I, G*H), recurrent kernel (H, G*H), bias (G*H,), or (2, G*H) where
        reset_after says so; of a stack, or of both directions, the lists one after the other: layer by layer, forward first.
    layout "concatenated": {"W_f": (H + I, H), "b_f": (H,), ...}, each gate's matrix over [h, x], or [x, h] with order="xh"; (H, H + I), for
        W @ [h, x], too, and biases of shape (H, 1) or (1, H). Gates go by the names that are usual (f, i, o, C; z or u, r, h), in any
        case; z lets the new in (1 - z keeps), as with Chung et al. 2014. Of a stack, a list of such mappings.
    The layer must have been made with as many biases as there are: bias=False for none.
    TypeError, ValueError: what does not fit, and how; nothing is changed then. Unsupported: the cell has no such layout there.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"load_weights: a recurrent layer wanted, got {type(layer).__name__}")
    if layout not in ("keras", "concatenated"):
        raise ValueError(f"layout: wanted 'keras' or 'concatenated', got {layout!r}")
    if order not in ("hx", "xh"):
        raise ValueError(f"order: wanted 'hx' or 'xh', got {order!r}")
    cell, own = layer.cell, layer.parts()
    if layout not in cell.layouts:
        raise Unsupported(f"{cell.name} has no layout {layout!r}: there is no such layer there, or none with these equations")
    shapes = [{key: t.data.shape for key, t in part.items()} for part in own]
    if layout == "keras":
        given = _lists(weights, 3 if "W+" in own[0] else 2, len(own))
        made = [_keras(cell, arrays, shape, k) for k, (arrays, shape) in enumerate(zip(given, shapes, strict=True))]
    else:
        mappings = [weights] if isinstance(weights, Mapping) else weights
        if not isinstance(mappings, Sequence) or not all(isinstance(m, Mapping) for m in mappings):
            raise TypeError(f"weights: wanted a mapping of names to arrays, or a list of them, got {type(weights).__name__}")
        if len(mappings) != len(own):
            raise ValueError(f"weights: wanted {len(own)} mappings, one for each layer and direction, got {len(mappings)}")
        made = [_concatenated(cell, m, shape, order, k) for k, (m, shape) in enumerate(zip(mappings, shapes, strict=True))]
    for part, arrays in zip(own, made, strict=True):
        for key, t in part.items():
            t.data[...] = arrays[key]
            t.changed()


def _lists(weights: Any, each: int, count: int) -> list[list[Array]]:
    if isinstance(weights, (Mapping, str, np.ndarray)) or not isinstance(weights, Sequence):
        raise TypeError(f"weights: wanted the list of arrays that get_weights() gives, got {type(weights).__name__}")
    arrays = [_real(f"weights[{k}]", a) for k, a in enumerate(weights)]
    if len(arrays) != each * count:
        what = "kernel, recurrent kernel, bias" if each == 3 else "kernel, recurrent kernel (the layer has bias=False)"
        raise ValueError(f"weights: wanted {each} arrays ({what}) for each of {count}, got {len(arrays)}")
    return [arrays[k : k + each] for k in range(0, len(arrays), each)]


def _keras(cell: Cell, arrays: list[Array], shapes: Mapping[str, Any], number: int) -> dict[str, Array]:
    gates, biases = _gates(cell.layouts["keras"].gates), cell.layouts["keras"].biases
    G, (rows, I), H = len(gates), shapes["W"], shapes["R"][1]
    wide = (G * H,) if biases == 1 else (biases, G * H)
    for name, a, want in zip(("kernel", "recurrent kernel", "bias"), arrays, ((I, rows), (H, rows), wide), strict=False):
        if a.shape != want:
            one = " (reset_after=True has two biases, False has one)" if name == "bias" and a.ndim != len(want) else ""
            raise ValueError(f"{name} of part {number}: wanted shape {want}, got {a.shape}{one}")
    kernel, recurrent = (_stacked(cell, f, gates, np.split(a.T, G)) for f, a in zip("WR", arrays, strict=False))
    out = {"W": kernel, "R": recurrent}
    if len(arrays) == 3:
        pair = arrays[2] if biases == 2 else np.stack([arrays[2], np.zeros_like(arrays[2])])
        out |= {f + "+": _stacked(cell, f, gates, np.split(b, G)) for f, b in zip("WR", pair, strict=True)}
    return out


def _concatenated(cell: Cell, given: Mapping[str, Any], shapes: Mapping[str, Any], order: str, number: int) -> dict[str, Array]:
    names = {name: gate for gate in cell.layouts["concatenated"].gates.split() for name in gate.split(":")[0].lower().split("|")}
    gates = _gates(cell.layouts["concatenated"].gates)
    (_, I), H = shapes["W"], shapes["R"][1]
    found: dict[tuple[str, str], Array] = {}
    for key, value in given.items():
        m = re.fullmatch(r"(w|weight|b|bias)_?([a-z]+)", str(key).lower())
        if not m or m[2] not in names:
            raise ValueError(f"part {number}: wanted W_ and b_ and one of {', '.join(names)} for names, got {key!r}")
        kind, gate = m[1][0], _gates(names[m[2]])[0][0]
        if (kind, gate) in found:
            raise ValueError(f"part {number}: {key!r} is another name of a gate that is there already")
        a = _real(str(key), value)
        if kind == "w" and a.shape == (H, H + I):
            a = a.T
        elif kind == "b" and a.shape in ((H, 1), (1, H)):
            a = a.reshape(-1)
        want = (H + I, H) if kind == "w" else (H,)
        if a.shape != want:
            raise ValueError(f"{key} of part {number}: wanted shape {want}, got {a.shape}")
        found[kind, gate] = a
    kinds = "wb" if "W+" in shapes else "w"
    wanted = {(kind, gate) for kind in kinds for gate, _ in gates}
    if wanted != set(found):
        missing, more = sorted(wanted - set(found)), sorted(set(found) - wanted)
        told = [f"{'W' if kind == 'w' else 'b'} of gate {gate}" for kind, gate in missing or more]
        raise ValueError(f"part {number}: {'missing' if missing else 'the layer has bias=False, and there is'}: {', '.join(told)}")
    h, x = (slice(H), slice(H, None)) if order == "hx" else (slice(I, None), slice(I))
    out = {f: _stacked(cell, f, gates, [found["w", gate][rows].T for gate, _ in gates]) for f, rows in (("W", x), ("R", h))}
    if kinds == "wb":
        out["W+"] = _stacked(cell, "W", gates, [found["b", gate] for gate, _ in gates])
        out["R+"] = np.zeros_like(out["W+"])
    return out


def _gates(layout: str) -> Parts:
    """ "i f c:g z:-z" -> [("i", 1), ("f", 1), ("g", 1), ("z", -1)]."""
    own = [gate.rpartition(":")[2] for gate in layout.split()]
    return [(gate.lstrip("-"), -1 if gate[0] == "-" else 1) for gate in own]


def _stacked(cell: Cell, family: str, gates: Parts, parts: Sequence[Array]) -> Array:
    """In the cell's order; a gate that is the other way round has its sum negated: sigmoid(-a) = 1 - sigmoid(a)."""
    by_gate = {gate: sign * a for (gate, sign), a in zip(gates, parts, strict=True)}
    return np.concatenate([by_gate[gate] for gate in cell.program.families[family]])


def _real(name: str, value: Any) -> Array:
    if hasattr(value, "detach"):  # torch's, which gives its array only without its tape
        value = value.detach().cpu()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: wanted an array of real numbers, got {type(value).__name__} of {array.dtype}")
    return array
