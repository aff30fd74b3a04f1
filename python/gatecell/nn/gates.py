"""Initialisation of recurrent layers by their cell's gates: which gate forgets is a fact of the cell's record, not of these functions.

Public as nn.init's. Numbers come from manual_seed()'s stream. Not here: single Tensors (init.py).
"""

from __future__ import annotations

import math
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from ..cells import Cell
from ..cells.cell import RECURRENT
from ..errors import Unsupported
from ..tensor import random
from ..tensor.dtypes import Array
from ..tensor.tensor import Tensor


@runtime_checkable
class Layer(Protocol):
    """A recurrent layer, of a whole sequence or of one step."""

    cell: Cell

    def parts(self) -> list[dict[str, Tensor]]: ...


L = TypeVar("L", bound=Layer)


def orthonormal(rows: int, columns: int) -> Array:
    """float64; rows or columns, whichever are fewer."""
    flat = random.normal((rows, columns)).astype(np.float64)
    q, r = np.linalg.qr(flat if rows >= columns else flat.T)
    q *= np.sign(np.diag(r))  # without it the distribution depends on the factorisation's sign convention
    return np.asarray(q if rows >= columns else q.T)


def orthogonal_gates_(layer: L, gain: float = 1.0) -> L:
    """Each gate's recurrent matrix by itself orthogonal times gain, in every layer and direction; of several heads, each head's.

    Where it is not square, as with a projection, its rows or columns, whichever are fewer.  Unsupported: there are no recurrent products.
    """
    gates = len(_cell(layer).program.families.get(RECURRENT, ()))
    if not gates:
        raise Unsupported(f"{layer.cell.name} has no recurrent products")
    heads = layer.cell.program.weights[f"{RECURRENT}.{layer.cell.program.families[RECURRENT][0]}"].blocks != "1"
    for weights in layer.parts():
        matrix = weights[RECURRENT].data
        rows, columns = len(matrix) // gates, matrix.shape[1]
        each = columns if heads else rows
        for row in range(0, len(matrix), each):
            matrix[row : row + each] = gain * orthonormal(each, columns)
        weights[RECURRENT].changed()
    return layer


def forget_bias_(layer: L, value: float = 1.0) -> L:
    """The forget gate's bias (Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015), in every layer and direction.

    Of two biases that are added the first is `value`, the other 0; -value at a gate that keeps the memory where it is 0.
    Unsupported: the cell has no such gate, or the layer no biases.
    """
    gate, sign = _forgetting(layer)
    for weights, size in _layers(layer, gate):
        _set_bias(layer, weights, gate, np.full(size, sign * value))
    return layer


def chrono_(layer: L, longest: float) -> L:
    """Biases for dependencies of up to `longest` steps (Tallec & Ollivier 2018, equation 16), in every layer and direction.

    The forget gate's is log(u), u uniform in [1, longest - 1]; the input gate's, where it is another gate, -log(u).

    ValueError: longest below 2.  Unsupported: as forget_bias_.
    """
    gate, sign = _forgetting(layer)
    inputs = layer.cell.admits
    if not 2 <= longest < math.inf:
        raise ValueError(f"chrono_: dependencies of at least 2 steps wanted, got {longest}")
    for weights, size in _layers(layer, gate):
        bias = np.log(random.uniform(1.0, longest - 1.0, (size,), np.float64))
        _set_bias(layer, weights, gate, sign * bias)
        if inputs:
            _set_bias(layer, weights, inputs, -bias)
    return layer


def _forgetting(layer: Layer) -> tuple[str, float]:
    """The gate, and 1 where it keeps what it multiplies, -1 where it forgets it."""
    cell = _cell(layer)
    gate = cell.keeps.lstrip("-")
    if not gate:
        raise Unsupported(f"{cell.name} has no gate that forgets")
    if not _biases(layer, gate):
        raise Unsupported(f"the gate {gate} of this {cell.name} has no bias")
    return gate, 1.0 if gate == cell.keeps else -1.0


def _cell(layer: Layer) -> Cell:
    if not isinstance(layer, Layer):
        raise TypeError(f"a recurrent layer wanted, got {type(layer).__name__}")
    return layer.cell


def _biases(layer: Layer, gate: str) -> list[str]:
    """Keys of what is added to a gate: biases of its products, else a parameter of its own."""
    families, first = layer.cell.program.families, layer.parts()[0]
    products = [family + "+" for family, gates in families.items() if gate in gates and family + "+" in first]
    return products or [key for key in (f"p.b{gate}",) if key in first]


def _layers(layer: Layer, gate: str) -> list[tuple[dict[str, Tensor], int]]:
    """Weights of every layer and direction, and how many units the gate has."""
    key = _biases(layer, gate)[0]
    gates = 1 if "." in key else len(layer.cell.program.families[key[:-1]])
    return [(weights, len(weights[key].data) // gates) for weights in layer.parts()]


def _set_bias(layer: Layer, weights: dict[str, Tensor], gate: str, value: Array) -> None:
    for k, key in enumerate(_biases(layer, gate)):
        at = 0 if "." in key else layer.cell.program.families[key[:-1]].index(gate) * len(value)
        weights[key].data[at : at + len(value)] = 0 if k else value
        weights[key].changed()
