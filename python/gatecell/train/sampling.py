"""Samplers: how a long series, or many samples, become batches.  Not here: what is done with a batch (fit.py).

A sampler has `batches(rng)`, one epoch of them, `len()`, how many that are, and `carries`, whether a batch continues the one before.
With a random generator the batches are drawn for training; with None they come in order, without noise, each scored value once.
Letters: T time steps of the series, L steps of a batch, B sequences side by side; I and O are any further axes of x and y, or none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Key = tuple[slice, ...]


class Batch(NamedTuple):
    """x goes to the model; its output, cut to `scored`, is compared with y. fresh: the state begins at zero, not at the last end."""

    x: Array
    y: Array
    scored: Key = ()
    fresh: bool = True


@runtime_checkable
class Sampler(Protocol):
    carries: bool

    def __len__(self) -> int: ...

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]: ...


class Samples:
    """Independent samples: x (N, ...) and y (N, ...) in random batches of B.

    axis: where the samples stand side by side, in x and y alike; 1 for sequences (T, N, I) to one output per step (T, N, O).
    noise: standard deviation of the normal noise added to x while training, a number or one that broadcasts against (I,).
    TypeError: no arrays of numbers. ValueError: lengths that differ, values that are not finite.
    """

    carries = False

    def __init__(self, x: Any, y: Any, batch: int = 32, axis: int = 0, noise: Any = None) -> None:
        self.x, self.y = _pair(x, y, axis)
        self.batch, self.axis, self.noise = _count("batch", batch), axis, _spread(noise, self.x)

    def __len__(self) -> int:
        count: int = self.x.shape[self.axis]
        return math.ceil(count / self.batch)

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        n = self.x.shape[self.axis]
        order = np.arange(n) if rng is None else rng.permutation(n)
        for start in range(0, n, self.batch):
            chosen = order[start : start + self.batch]
            yield Batch(_noisy(self.x.take(chosen, self.axis), self.noise, rng), self.y.take(chosen, self.axis))


class _Series:
    """What samplers of one long series share: x (T, I), y (T, O), the layout of batches, and cutting them out."""

    carries = False

    def __init__(self, x: Any, y: Any, length: int, batch: int, batch_first: bool, noise: Any, lead: int = 0) -> None:
        self.x, self.y = _pair(x, y, 0)
        self.length, self.batch, self.batch_first = _count("length", length), _count("batch", batch), bool(batch_first)
        self.noise = _spread(noise, self.x)
        if lead + self.length > len(self.x):
            raise ValueError(f"wanted a series of at least {lead + self.length} steps, got {len(self.x)}")

    def _cut(self, values: Array, starts: Array, length: int) -> Array:
        """(length, B, ...), or (B, length, ...) with batch_first: `length` steps from each start."""
        rows = starts[:, None] + np.arange(length) if self.batch_first else starts + np.arange(length)[:, None]
        return np.asarray(values[rows])

    def _steps(self, first: int) -> Key:
        """The key that keeps the steps from `first` on."""
        return () if not first else (slice(None), slice(first, None)) if self.batch_first else (slice(first, None),)


class Windows(_Series):
    """Windows with one target each: x (L, B, I), from zero state, and y (B, O) of the window's last step.

    An epoch is every window, `stride` steps apart, once, in random order. batch_first: x is (B, L, I).
    """

    def __init__(self, x: Any, y: Any, length: int, batch: int = 32, stride: int = 1, batch_first: bool = False, noise: Any = None) -> None:
        super().__init__(x, y, length, batch, batch_first, noise)
        self.starts = np.arange(0, len(self.x) - self.length + 1, _count("stride", stride))

    def __len__(self) -> int:
        return math.ceil(len(self.starts) / self.batch)

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        starts = self.starts if rng is None else rng.permutation(self.starts)
        for first in range(0, len(starts), self.batch):
            chosen = starts[first : first + self.batch]
            yield Batch(_noisy(self._cut(self.x, chosen, self.length), self.noise, rng), self.y[chosen + self.length - 1])


class Chunks(_Series):
    """Chunks with a target per step: `burn_in` steps from zero state that are not scored, then L that are; y (L, B, O).

    Training draws the chunks' places at random, T // (L B) batches an epoch; in order they are L apart, a remainder below L is left out.
    The gradient goes back through the burn-in too. batch_first: (B, steps, ...).
    """

    def __init__(
        self, x: Any, y: Any, length: int, batch: int = 32, burn_in: int = 0, batch_first: bool = False, noise: Any = None
    ) -> None:
        self.burn_in = _count("burn_in", burn_in, least=0)
        super().__init__(x, y, length, batch, batch_first, noise, self.burn_in)

    def __len__(self) -> int:
        return max(1, len(self.x) // (self.length * self.batch))

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        whole = self.burn_in + self.length
        if rng is None:
            starts = np.arange(0, len(self.x) - whole + 1, self.length)
            groups = [starts[first : first + self.batch] for first in range(0, len(starts), self.batch)]
        else:
            groups = [rng.integers(0, len(self.x) - whole + 1, self.batch) for _ in range(len(self))]
        for starts in groups:
            x = _noisy(self._cut(self.x, starts, whole), self.noise, rng)
            yield Batch(x, self._cut(self.y, starts + self.burn_in, self.length), self._steps(self.burn_in))


class Streams(_Series):
    """B stretches of the series side by side, L steps at a time with the state carried on: truncated BPTT (Williams & Peng 1990).

    Training cuts the series into B + 1 stretches of S steps and moves the beginnings of B of them by the same random 0 to S steps each
    epoch, so that no place is always near a reset. In order there are B stretches of T // B steps, and their last chunk may be shorter.
    The first `burn_in` steps after a reset are not scored. length None: whole stretches. batch_first: (B, steps, ...).
    """

    carries = True

    def __init__(
        self, x: Any, y: Any, length: int | None = None, batch: int = 1, burn_in: int = 0, batch_first: bool = False, noise: Any = None
    ) -> None:
        self.burn_in = _count("burn_in", burn_in, least=0)
        stretch = max(1, np.shape(x)[0] // _count("batch", batch)) if np.ndim(x) else 1
        super().__init__(x, y, stretch if length is None else length, batch, batch_first, noise)
        self._drawn = len(self.x) // (self.batch + 1) if length is not None else stretch
        if self._drawn < self.length:
            least = (self.batch + 1) * self.length
            raise ValueError(f"wanted at least {least} steps for {self.batch} streams of {self.length}, got {len(self.x)}")
        if self.burn_in >= self.length:
            raise ValueError(f"wanted a burn-in shorter than the {self.length} steps of a chunk, got {self.burn_in}")

    def __len__(self) -> int:
        return self._drawn // self.length

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        if rng is None:
            stretch, shift = len(self.x) // self.batch, 0
            ends = [*range(self.length, stretch, self.length), stretch]
        else:
            stretch, shift = self._drawn, int(rng.integers(0, len(self.x) - self.batch * self._drawn + 1))
            ends = [self.length * (i + 1) for i in range(len(self))]
        starts, done = stretch * np.arange(self.batch) + shift, 0
        for end in ends:
            x = _noisy(self._cut(self.x, starts + done, end - done), self.noise, rng)
            skipped = 0 if done else self.burn_in
            y = self._cut(self.y, starts + done + skipped, end - done - skipped)
            yield Batch(x, y, self._steps(skipped), fresh=not done)
            done = end


def _pair(x: Any, y: Any, axis: int) -> tuple[Array, Array]:
    """Both as arrays of finite numbers, equally long along `axis`. Nothing is copied that is an array already."""
    arrays = []
    for name, value in (("x", x), ("y", y)):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: wanted an array of numbers, got {type(value).__name__} of dtype {array.dtype}")
        if array.ndim <= axis:
            raise ValueError(f"{name}: wanted more than {axis} dimension{'s' * (axis > 1)}, got shape {array.shape}")
        arrays.append(array)
    lengths = [a.shape[axis] for a in arrays]
    if lengths[0] != lengths[1] or not lengths[0]:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"wanted x and y equally long along axis {axis}, and not empty, got shapes {shapes}")
    for name, array in zip("xy", arrays, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            places = np.argwhere(~np.isfinite(array))
            first = tuple(int(i) for i in places[0])
            raise ValueError(f"{name}: wanted finite numbers, got {len(places)} that are not, the first at {first}: {array[first]}")
    return arrays[0], arrays[1]


def _count(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: wanted an int, got {value!r} ({type(value).__name__})")
    if value < least:
        raise ValueError(f"{name}: wanted at least {least}, got {value}")
    return int(value)


def _spread(noise: Any, x: Array) -> Array | None:
    """The noise's standard deviation as an array that broadcasts against one step of x."""
    if noise is None:
        return None
    spread = np.asarray(noise, dtype=np.float64)
    if x.dtype.kind != "f":
        raise TypeError(f"noise: wanted an x of floats to add it to, got dtype {x.dtype}")
    if spread.ndim > 1 or (spread.ndim == 1 and spread.shape[0] != x.shape[-1]):
        raise ValueError(f"noise: wanted a number, or {x.shape[-1]} for the features of x, got shape {spread.shape}")
    if not (np.isfinite(spread).all() and (spread >= 0).all()):
        raise ValueError("noise: wanted finite standard deviations of at least 0")
    return spread


def _noisy(x: Array, spread: Array | None, rng: np.random.Generator | None) -> Array:
    if spread is None or rng is None:
        return x
    return np.asarray(x + (spread * rng.standard_normal(x.shape, dtype=np.float32)).astype(x.dtype))
