"""Recurrent layers over any registered cell: stacks, directions, dropout between layers, layouts, initial states. No cell is known here.

Parameter names (torch's) and shapes come from the cell's record; states are listed in the record's order, the first is the output.
Letters: T time, B batch, I input, H hidden units, N the length of a state (H unless the cell projects), L layers, D directions (1 or 2).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import Cell, cells
from ..cells.options import Derived, inference, options, training
from ..errors import Unsupported
from ..tensor.dtypes import Array
from ..tensor.functions import cat, stack
from ..tensor.random import dropout_mask
from ..tensor.recurrence import recurrence
from ..tensor.tensor import Tensor
from . import init
from .module import Module, Parameter, positive, probability, to_tensor
from .packed import PackedSequence, lengths_of, pad_packed_sequence


class Cells(Module):
    """What one step and whole sequences share: the record, the sizes, the weights by their torch names, the initial states."""

    def __init__(
        self, cell: str | Cell, input_size: int, hidden_size: int, bias: bool, proj_size: int, num_heads: int, dtype: Any
    ) -> None:
        self.cell = record = _record(cell)
        self.input_size, self.hidden_size, self.bias = positive("input_size", input_size), positive("hidden_size", hidden_size), bool(bias)
        if proj_size and not record.projects:
            raise Unsupported(f"proj_size={proj_size}: the output of {record.name} is its hidden units, without a projection")
        self.proj_size = positive("proj_size", proj_size or hidden_size) if record.projects else 0
        self.num_heads = positive("num_heads", num_heads)
        if self.num_heads != 1 and not record.heads:
            raise Unsupported(f"num_heads={num_heads}: no product of {record.name} is block-diagonal")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads: wanted a divisor of the {hidden_size} hidden units, got {num_heads}")
        self._sizes = {"I": self.input_size, "H": self.hidden_size, "K": self.num_heads}
        if record.projects:
            self._sizes[record.axis(record.states[0])] = self.proj_size
        record.shapes(self._sizes)  # the record says which axis lacks a size before anything is built
        self._lengths = {name: self._sizes[record.axis(name)] for name in record.states}
        self._dtype = np.dtype(np.float32 if dtype is None else dtype)

    def _add_weights(self, input_size: int, suffix: str) -> dict[str, str]:
        """Register one layer and direction's parameters; {key of the record: attribute}."""
        names = {}
        for key, shape in self.cell.shapes({**self._sizes, "I": input_size}, bias=self.bias).items():
            names[key] = self.cell.torch_name(key) + suffix
            self.register_parameter(names[key], Parameter(np.zeros(shape, self._dtype)))
        return names

    def _weights(self, names: dict[str, str]) -> dict[str, Tensor]:
        return {key: getattr(self, name) for key, name in names.items()}

    def parts(self) -> list[dict[str, Tensor]]:
        """Weights by the record's keys, of every layer and direction: layer by layer, forward first."""
        return [self._weights(names) for names in self._every_name()]

    def _every_name(self) -> list[dict[str, str]]:
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw every parameter from the uniform distribution over +-1/sqrt(H), as torch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _given(self, hx: Any, rows: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Tensor]:
        """The given states by name, checked to have shape (*rows, N)."""
        names = self.cell.states
        given = (hx,) if isinstance(hx, (Tensor, np.ndarray)) else hx
        if not isinstance(given, (tuple, list)):
            raise TypeError(f"initial states: wanted {', '.join(names)}, got {type(hx).__name__}")
        if len(given) != len(names):
            raise ValueError(f"initial states: wanted {len(names)} ({', '.join(names)}), got {len(given)}")
        states = {}
        for name, value in zip(names, given, strict=True):
            states[name] = to_tensor(value, dtype, f"initial state {name}")
            want = (*rows, self._lengths[name])
            if tuple(value.shape) != want:
                raise ValueError(f"initial state {name}: wanted shape {want}, got {tuple(value.shape)}")
        return states

    def _zeros(self, rows: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Tensor]:
        return {name: Tensor(np.zeros((*rows, n), dtype)) for name, n in self._lengths.items()}

    def _states(self, last: dict[str, Tensor]) -> Any:
        """Final states as torch returns them: one Tensor, or a tuple for cells with several."""
        values = tuple([last[name] for name in self.cell.states])
        return values[0] if len(values) == 1 else values

    def _check_input(self, input: Any, ranks: tuple[int, int], layout: str) -> Tensor:
        x = to_tensor(input, self.dtype)
        shape = x.data.shape
        if len(shape) not in ranks:
            raise ValueError(f"input: wanted {layout}, got {len(shape)} dimensions, shape {shape}")
        if shape[-1] != self.input_size:
            raise ValueError(f"input: wanted {self.input_size} features in the last dimension, got {shape[-1]}, shape {shape}")
        if 0 in shape:
            raise ValueError(f"input: wanted no empty dimension, got shape {shape}")
        return x


class Recurrent(Cells):
    """`num_layers` layers of a registered cell over a sequence, in one or both directions.

    output, last = layer(input, hx=None, lengths=None)

    input: (T, B, I), with `batch_first` (B, T, I), without a batch (T, I). output: the same layout with D*N features.
    hx and last: (L*D, B, N), without a batch (L*D, N), layer by layer, forward direction first; a tuple where the cell has several states.
    lengths: (B,) integers from 1 to T; beyond them the output is 0, and `last` is the last valid state.
    input may be a PackedSequence: so is the output then, and hx and last are in the order of the batch, as in torch.

    cell: a registered name or a record. dropout: probability of zeroing a layer's output on its way to the next, while training.
    proj_size: length of a projected output, for cells that have one; 0: hidden_size. num_heads: blocks of the products that are
        block-diagonal, for cells that have such.
    recompute: while training keep the states alone over time, the output among them, and compute the gates again in backward():
        2 numbers per unit and step for a cell of two states instead of 6, for a third more time. The same bits.
    checkpoint_every: keep the states every so many steps alone, and run each stretch again: beside the output, about 2 T/k + 6 k
        numbers per unit, least where k is about sqrt(T). k B is rounded up to a multiple of 32. The same bits.
    zoneout: probability that a unit keeps its old state at a step (Krueger et al. 2017), a number for every state or {state: number};
        random while training, at inference a state moves as far as on average.
    recurrent_dropout: of what the recurrent products read, one mask for all steps (Gal & Ghahramani 2016); while training.
    candidate_dropout: of the candidate, a mask for each step (Semeniuta, Severyn & Barth 2016); while training.
    cell_clip: a bound on the absolute value of the states that the cell's equations do not bound, or {state: bound}; always.
    Masks are functions of a place, as dropout's (`gatecell.dropout_at`). A saved model has the bounds and what zoneout is at inference.
    TypeError and ValueError say what was wanted and what came; `Unsupported` is raised for what the cell or the core cannot do.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: Any = None,
        *,
        num_heads: int = 1,
        recompute: bool = False,
        checkpoint_every: int | None = None,
        zoneout: float | Mapping[str, float] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        cell_clip: float | Mapping[str, float] | None = None,
    ) -> None:
        self.num_layers, self.batch_first, self.bidirectional = positive("num_layers", num_layers), bool(batch_first), bool(bidirectional)
        self.dropout = probability("dropout", dropout)
        self.recompute = bool(recompute)
        self.checkpoint_every = None if checkpoint_every is None else positive("checkpoint_every", checkpoint_every)
        super().__init__(cell, input_size, hidden_size, bias, proj_size, num_heads, dtype)
        self.zoneout, self.cell_clip = zoneout, cell_clip
        self.recurrent_dropout, self.candidate_dropout = recurrent_dropout, candidate_dropout
        self._options = options(self.cell, zoneout=zoneout, recurrent=recurrent_dropout, candidate=candidate_dropout, clip=cell_clip)
        if dropout and num_layers == 1:
            warnings.warn(f"dropout={dropout} acts between layers, and there is only one", stacklevel=3)
        directions = ("", "_reverse") if self.bidirectional else ("",)
        width = len(directions) * self._lengths[self.cell.states[0]]
        inputs = [self.input_size] + [width] * (self.num_layers - 1)
        self._names = [[self._add_weights(size, f"_l{layer}{d}") for d in directions] for layer, size in enumerate(inputs)]
        self.reset_parameters()

    def _every_name(self) -> list[dict[str, str]]:
        return [names for sides in self._names for names in sides]

    def flatten_parameters(self) -> None:
        """Nothing to do: the weights are packed by the kernels. Here because programs written for torch call it."""

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths: wanted None for a PackedSequence, which has its own")
            padded, lengths = pad_packed_sequence(input, self.batch_first)
            output, end = self.forward(padded, hx, lengths)
            return input.repack(output, self.batch_first), end
        x = self._check_input(input, (2, 3), "(B, T, I) or (T, I)" if self.batch_first else "(T, B, I) or (T, I)")
        batched = x.ndim == 3
        if lengths is not None and not batched:
            raise ValueError("lengths: wanted None for an input without a batch; cut the input instead")
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        time, batch = x.shape[:2]
        if lengths is not None:
            lengths = lengths_of(lengths, batch, time)
            lengths = None if (lengths == time).all() else lengths
        directions = 2 if self.bidirectional else 1
        rows = self.num_layers * directions
        if hx is None:
            starts = [self._zeros((batch,), x.dtype)] * rows
        else:
            given = self._given(hx, (rows, batch) if batched else (rows,), x.dtype)
            starts = [{name: value[row] if batched else value[row].unsqueeze(0) for name, value in given.items()} for row in range(rows)]
        cell = self.cell
        if self._options:
            cell = (training if self.training else inference)(cell, self._options)
        last: list[dict[str, Tensor]] = []
        for layer, sides in enumerate(self._names):
            if layer and self.dropout and self.training:
                x = x * Tensor(dropout_mask(x.shape, self.dropout, x.dtype, layer, timed=True))
            outputs = []
            for reverse, names in enumerate(sides):
                masks = self._masks(cell, (time, batch), layer, x.dtype)
                output, end = recurrence(
                    cell, x, starts[len(last)], self._weights(names), reverse=bool(reverse), lengths=lengths, given=masks,
                    recompute=self.recompute, checkpoint_every=self.checkpoint_every,
                )  # fmt: skip
                outputs.append(output)
                last.append(end)
            x = outputs[0] if directions == 1 else cat(outputs, -1)
        if not batched:
            x = x.squeeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        ends = {name: last[0][name].unsqueeze(0) if rows == 1 else stack([end[name] for end in last]) for name in self.cell.states}
        return x, self._states(ends if batched else {name: value.squeeze(1) for name, value in ends.items()})

    def _masks(self, cell: Cell, over: tuple[int, int], layer: int, dtype: np.dtype[Any]) -> dict[str, Array] | None:
        """What the cell is given beside x, drawn for (T, B): a mask for every step (T, B, N), one for all of them (B, N)."""
        if not isinstance(cell, Derived):
            return None
        return {
            name: dropout_mask((*over[not m.timed :], self._sizes[m.axis]), m.p, dtype, layer, timed=m.timed, kept=m.kept)
            for name, m in cell.masks.items()
        }

    def extra_repr(self) -> str:
        defaults: dict[str, Any] = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
            "num_heads": 1,
        }
        defaults |= {"recompute": False, "checkpoint_every": None}
        defaults |= {"zoneout": 0.0, "recurrent_dropout": 0.0, "candidate_dropout": 0.0, "cell_clip": None}
        changed = [f"{name}={getattr(self, name)}" for name, default in defaults.items() if getattr(self, name) != default]
        first = [repr(self.cell.name)] if type(self) is Recurrent else []
        return ", ".join([*first, str(self.input_size), str(self.hidden_size), *changed])


class RecurrentCell(Cells):
    """One step of a registered cell: next states = layer(input, hx=None).

    input (B, I) or (I,); states (B, N) or (N,), zeros when None; returned as they are given: one Tensor, or a tuple for cells with several.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        proj_size: int = 0,
        dtype: Any = None,
        *,
        num_heads: int = 1,
    ) -> None:
        super().__init__(cell, input_size, hidden_size, bias, proj_size, num_heads, dtype)
        self._names = self._add_weights(self.input_size, "")
        self.reset_parameters()

    def _every_name(self) -> list[dict[str, str]]:
        return [self._names]

    def forward(self, input: Any, hx: Any = None) -> Any:
        x = self._check_input(input, (1, 2), "(B, I) or (I,)")
        batched = x.ndim == 2
        rows = x.shape[:-1]
        states = self._zeros(rows, x.dtype) if hx is None else self._given(hx, rows, x.dtype)
        if not batched:
            x, states = x.unsqueeze(0), {name: value.unsqueeze(0) for name, value in states.items()}
        _, last = recurrence(self.cell, x.unsqueeze(0), states, self._weights(self._names))
        return self._states(last if batched else {name: value.squeeze(0) for name, value in last.items()})

    def extra_repr(self) -> str:
        first = [repr(self.cell.name)] if type(self) is RecurrentCell else []
        return ", ".join([*first, str(self.input_size), str(self.hidden_size), *([] if self.bias else ["bias=False"])])


def _record(cell: Any) -> Cell:
    if isinstance(cell, Cell):
        return cell
    if not isinstance(cell, str):
        raise TypeError(f"cell: wanted a registered name or a record, got {type(cell).__name__}")
    if cell not in cells:
        raise ValueError(f"cell: wanted one of {', '.join(cells)}, got {cell!r}")
    return cells[cell]
