"""Sequences of different lengths as torch packs them: step after step, in each the rows that have it, the longest first.

For programs that were written for torch: layers here take padded batches with `lengths=` as fast, and nothing needs sorting.  A recurrent
layer given a PackedSequence returns one; between them it runs the padded batch, so that the results are those of `lengths=`.
Not here: torch's place for these names (utils/).  Letters: T time, B batch, N numbers in all: the sum of the lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..tensor.checks import tensor_of, what, whole
from ..tensor.dtypes import Array, DType, float32, float64, int64
from ..tensor.functions import cat
from ..tensor.tensor import Tensor, apply


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Rows of several sequences without padding.  Made by `pack_padded_sequence` and `pack_sequence`, seldom by hand.

    data              (N, *), the first step of all rows, the longest first, then their second one, ...
    batch_sizes       (T,) of int64: how many rows have the step; it never grows
    sorted_indices    (B,) of int64: the place in the batch of the longest row, the second longest, ...; None: as they came
    unsorted_indices  (B,) of int64: its inverse

    TypeError for what is no Tensor, ValueError for sizes that do not fit each other.
    """

    __slots__ = ()

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Tensor | None = None, unsorted_indices: Tensor | None = None
    ) -> PackedSequence:
        if batch_sizes is None and isinstance(data, (tuple, list)) and len(data) == 2:
            data, batch_sizes = data
        tensor_of("PackedSequence: data", data)
        sizes = _whole_numbers("batch_sizes", batch_sizes)
        if not len(sizes) or (np.diff(sizes) > 0).any() or sizes[-1] < 1 or data.shape[:1] != (sizes.sum(),):
            raise ValueError(f"PackedSequence: data {data.shape} wants batch_sizes that never grow and add up to its rows, got {sizes}")
        if sorted_indices is not None:
            order = _whole_numbers("sorted_indices", sorted_indices)
            if not np.array_equal(np.sort(order), np.arange(sizes[0])):
                raise ValueError(f"PackedSequence: sorted_indices 0 to {sizes[0] - 1}, each once, wanted, got {order}")
        inverse = invert_permutation(sorted_indices) if unsorted_indices is None else unsorted_indices
        return super().__new__(cls, data, Tensor(sizes), sorted_indices, inverse)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With `data` of another dtype: Tensor.to's arguments."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def float(self) -> PackedSequence:
        return self.to(float32)

    def double(self) -> PackedSequence:
        return self.to(float64)

    def long(self) -> PackedSequence:
        return self.to(int64)

    def type(self, dtype: DType) -> PackedSequence:
        return self.to(dtype)

    def cpu(self) -> PackedSequence:
        return self

    def places(self) -> tuple[Array, Array]:
        """Of each row of `data`, its step and its place in the batch."""
        sizes = self.batch_sizes.data
        time, row = _in_order(sizes)
        return time, row if self.sorted_indices is None else self.sorted_indices.data[row]

    def repack(self, padded: Tensor, batch_first: bool = False) -> PackedSequence:
        """(T, B, *), with `batch_first` (B, T, *), in the order of the batch, packed as this one is."""
        time, row = self.places()
        return self._replace(data=apply("gather", padded, key=(row, time) if batch_first else (time, row)))


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    """input (T, B, *), with `batch_first` (B, T, *), of whose rows `lengths` (B,) count.

    enforce_sorted: the longest row must come first already, and the batch keeps its order.  TypeError, ValueError: lengths that are no
    integers, not of 1 to T, not one per row, or not sorted where they must be.
    """
    tensor_of("pack_padded_sequence: input", input)
    if input.ndim < 2:
        raise ValueError(f"pack_padded_sequence: an input of time and batch wanted, got shape {input.shape}")
    time, batch = input.shape[1::-1] if batch_first else input.shape[:2]
    counts = lengths_of(lengths, batch, time)
    order = None
    if not enforce_sorted:
        order = np.argsort(-counts, kind="stable")
        counts = counts[order]
    elif (np.diff(counts) > 0).any():
        raise ValueError(f"lengths: wanted the longest first, or enforce_sorted=False, got {counts}")
    sizes = np.bincount(counts, minlength=1)[:0:-1].cumsum()[::-1]
    t, row = _in_order(sizes)
    row = row if order is None else order[row]
    data = apply("gather", input, key=(row, t) if batch_first else (t, row))
    return PackedSequence(data, Tensor(sizes), None if order is None else Tensor(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(T, B, *), with `batch_first` (B, T, *), in the batch's own order, `padding_value` beyond each row; and the lengths (B,).

    total_length: T, if more than the longest row has; ValueError where it is less.
    """
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"pad_packed_sequence: a PackedSequence wanted, got {what(sequence)}")
    sizes = sequence.batch_sizes.data
    steps = len(sizes) if total_length is None else whole("total_length", total_length)
    if steps < len(sizes):
        raise ValueError(f"total_length: at least the longest row's {len(sizes)} steps wanted, got {steps}")
    time, row = sequence.places()
    return _spread(sequence.data, time, row, (steps, int(sizes[0])), batch_first, padding_value), Tensor(np.bincount(row))


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (L, *) of any lengths as one Tensor (T, B, *), with `batch_first` (B, T, *), with `padding_value` on one side of each."""
    if padding_side not in ("right", "left"):
        raise ValueError(f"padding_side: 'right' or 'left' wanted, got {padding_side!r}")
    parts = _sequences("pad_sequence", sequences)
    counts = np.array([len(p) for p in parts])
    steps = int(counts.max())
    row = np.repeat(np.arange(len(parts)), counts)
    time = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    if padding_side == "left":
        time += (steps - counts)[row]
    return _spread(cat(parts), time, row, (steps, len(parts)), batch_first, padding_value)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The rows of (T, B, *), with `batch_first` (B, T, *), each cut to its length."""
    tensor_of("unpad_sequence: padded_sequences", padded_sequences)
    time, batch = padded_sequences.shape[1::-1] if batch_first else padded_sequences.shape[:2]
    return [padded_sequences[b, :n] if batch_first else padded_sequences[:n, b] for b, n in enumerate(lengths_of(lengths, batch, time))]


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, *) of any lengths from 1 on; `enforce_sorted`: the longest comes first."""
    parts = _sequences("pack_sequence", sequences)
    return pack_padded_sequence(pad_sequence(parts), [len(p) for p in parts], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that went into `pack_sequence`."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Where each of 0 to n - 1 stands in `permutation`; None of None."""
    return None if permutation is None else Tensor(np.argsort(permutation.data))


def lengths_of(value: Any, batch: int, time: int) -> npt.NDArray[np.int64]:
    """`lengths` as an array (B,), checked to be of 1 to T."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths: wanted integers, got {type(value).__name__} of {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths: wanted shape {(batch,)}, one per sequence, got {array.shape}")
    if not ((array >= 1) & (array <= time)).all():
        raise ValueError(f"lengths: wanted 1 to {time} (T), got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _in_order(sizes: Array) -> tuple[Array, Array]:
    """Of each row of a packed sequence, its step and its place among the rows, the longest first."""
    begins = sizes.cumsum() - sizes
    return np.repeat(np.arange(len(sizes)), sizes), np.arange(sizes.sum()) - np.repeat(begins, sizes)


def _spread(data: Tensor, time: Array, row: Array, shape: tuple[int, int], batch_first: bool, value: float) -> Tensor:
    """(N, *) into (T, B, *) or (B, T, *), `value` elsewhere."""
    key = (row, time) if batch_first else (time, row)
    return apply("spread", data, key=key, shape=(*(shape[::-1] if batch_first else shape), *data.shape[1:]), value=value)


def _whole_numbers(name: str, value: Any) -> npt.NDArray[np.int64]:
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"PackedSequence: {name} of integers (n,) wanted, got {what(value)}")
    return array.astype(np.int64)


def _sequences(name: str, sequences: Iterable[Tensor]) -> Sequence[Tensor]:
    """Checked: Tensors (L, *) that differ in L alone."""
    if not isinstance(sequences, Iterable):
        raise TypeError(f"{name}: several Tensors wanted, got {what(sequences)}")
    parts = list(sequences)
    if not parts:
        raise ValueError(f"{name}: at least one sequence wanted, got none")
    for p in parts:
        tensor_of(name, p)
        if p.ndim < 1 or p.shape[1:] != parts[0].shape[1:]:
            raise ValueError(f"{name}: sequences (L, *) that differ in L alone wanted, got {p.shape} beside {parts[0].shape}")
    return parts
