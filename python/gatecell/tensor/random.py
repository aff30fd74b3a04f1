"""Random numbers: one stream for what is drawn once, and numbers by their place for dropout.  Not here: tensors of them (create.py).

`manual_seed` starts both.  The stream is a NumPy generator: who draws from it advances it for all.  A dropout mask depends on no stream:
whether an element is kept is a function of

    (seed, call, layer; step t, sample b, unit u)

so that a sample keeps its units whatever the batch around it, the length of the sequences and the threads.  The function is Philox4x32-10
(Salmon, Moraes, Dror & Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011), four words of 32 bits from a counter of four and a key of
two, low words first:

    key       the first two words of Philox with the seed (64 bits) as key and the counter (call, low and high; number in the call; layer)
    word      number u mod 4 of Philox with that key and the counter (u div 4, b, t, 0)
    kept      where word >= p * 2^32, rounded

`call` counts the masks since the seed was set; its number in the call is 0.  Within `dropout_at` the caller says what the call is, and its
masks are numbered 0, 1, 2, ...; 2^31 is then added to the layer.  `layer` is 1, 2, ... between the layers of a stack, k for what the
layer k = 0, 1, ... of a stack does to its states (cells/options.py), 0 elsewhere.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import gatecell._core as _core

from . import engine
from .dtypes import Array

_generator = np.random.Generator(np.random.PCG64())


class _Masks:
    """Where the masks stand: the seed, and how many were drawn."""

    def __init__(self) -> None:
        self.seed, self.calls = int(np.random.SeedSequence().generate_state(1, np.uint64)[0]), 0
        self.lock = threading.Lock()

    def next(self) -> int:
        with self.lock:
            self.calls += 1
            return self.calls - 1


class _Place(threading.local):
    """What `dropout_at` says, in its thread."""

    call: int | None = None
    number = 0
    step = 0
    samples: Array | None = None
    batch_first = False


_masks, _place = _Masks(), _Place()


def manual_seed(seed: int) -> np.random.Generator:
    """Start again from `seed`, an integer >= 0 (negative ones count from 2**64, as in torch); the numbers are not torch's."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"manual_seed: an integer wanted, got {type(seed).__name__}")
    seed = int(seed) % 2**64
    _generator.bit_generator.state = np.random.PCG64(seed).state
    _masks.seed, _masks.calls = seed, 0
    return _generator


def generator() -> np.random.Generator:
    """The stream itself: whoever draws from it advances it for all."""
    return _generator


def get_rng_state() -> dict[str, Any]:
    """Where the stream and the masks stand; plain numbers and strings, for checkpoints."""
    return {**_generator.bit_generator.state, "masks": {"seed": _masks.seed, "calls": _masks.calls}}


def set_rng_state(state: dict[str, Any]) -> None:
    """Go back to where `get_rng_state` stood."""
    stream = {key: value for key, value in state.items() if key != "masks"}
    seed, calls = (int(state["masks"][key]) for key in ("seed", "calls"))
    _generator.bit_generator.state = stream
    _masks.seed, _masks.calls = seed, calls


def normal(shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.floating[Any]] = np.float32) -> Array:
    return np.asarray(_generator.standard_normal(shape, np.float64).astype(dtype))


def uniform(low: float, high: float, shape: tuple[int, ...], dtype: np.dtype[Any] | type[np.floating[Any]] = np.float32) -> Array:
    """Uniform in [low, high), rounded to `dtype`.  ValueError: bounds that are not finite."""
    if not np.isfinite(high - low):
        raise ValueError(f"uniform numbers between finite bounds wanted, got {low} and {high}")
    return np.asarray(_generator.uniform(low, high, shape).astype(dtype))


@contextmanager
def dropout_at(call: int, *, step: int = 0, samples: Sequence[int] | Array | None = None, batch_first: bool = False) -> Iterator[None]:
    """Within it dropout draws the masks of call number `call`, of steps from `step` on and of these samples.

    A long sequence in chunks, each with the `step` that it begins with, is masked as the whole is; a batch in parts, or in another order,
    as the batch is, with the samples' own numbers (B,); None: 0, 1, 2, ...  `batch_first`: what `nn.Dropout` is given is (B, T, N), not
    (T, B, N); two axes are (B, N).  The masks drawn elsewhere are neither repeated nor counted.

    TypeError: what is no integer.  ValueError: below 0, or too large: 2**32 for steps and samples, 2**64 for calls.
    """
    numbers = None if samples is None else np.asarray(samples)
    if numbers is not None and (numbers.ndim != 1 or numbers.dtype.kind not in "iu"):
        raise TypeError(f"dropout_at: samples, integers of shape (B,), wanted, got {numbers.dtype} of shape {numbers.shape}")
    for name, values, top in (("call", operator.index(call), 2**64), ("step", operator.index(step), 2**32), ("samples", numbers, 2**32)):
        if values is not None and not np.all((np.asarray(values) >= 0) & (np.asarray(values) < top)):
            raise ValueError(f"dropout_at: {name} from 0 to below {top} wanted, got {values}")
    before = dict(_place.__dict__)
    _place.__dict__.update(call=int(call), number=0, step=int(step), batch_first=bool(batch_first))
    _place.samples = None if numbers is None else numbers.astype(np.int64)
    try:
        yield
    finally:
        _place.__dict__.clear()
        _place.__dict__.update(before)


def dropout_mask(
    shape: tuple[int, ...], p: float, dtype: np.dtype[Any], layer: int = 0, timed: bool = False, kept: float | None = None
) -> Array:
    """0 with probability p, else `kept`, or 1 / (1 - p), each element by its place.

    Of three axes and more the last ones, from the third on, are units; the first two are time and batch, or batch and time: as places it
    is all the same.  Two axes are batch and units, one is units.  `timed`: the first is time, whatever `dropout_at` says.
    """
    below = round(p * 2**32)
    call, number, swap = _place.call, _place.number, _place.batch_first and not timed and len(shape) > 2
    if call is None:
        call = _masks.next()
    else:
        _place.number += 1
        layer |= 1 << 31
    lengths = (1,) * (3 - len(shape)) + shape
    T, B, N = *lengths[:2], int(np.prod(lengths[2:]))
    if swap:
        T, B = B, T
    if _place.samples is not None and len(_place.samples) != B:
        raise ValueError(f"dropout_at was given {len(_place.samples)} samples, and dropout a batch of {B}")
    if below >= 2**32:
        return np.zeros(shape, dtype)
    counter = call & 0xFFFFFFFF, call >> 32, number, layer
    first, second = _core.philox(counter, (_masks.seed & 0xFFFFFFFF, _masks.seed >> 32))[:2]
    step = _place.step if len(shape) > 2 else 0
    value = 1 / (1 - p) if kept is None else kept
    mask = _core.mask((T, B, N), dtype, (first, second), step, _place.samples, below, value, engine.get_num_threads())
    return (mask.swapaxes(0, 1) if swap else mask).reshape(shape)
