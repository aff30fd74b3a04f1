"""How an integer layer's products are laid out in C: blocks of up to four rows over one vector, their kernels, and the sums they add up to.

Not here: pointwise code (c_integer.py).  Two families of kernels: portable C over int8 or int16 weights, and the DSP forms of
firmware/kernels/dot_dsp.h over words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra.integer import VIEW, Accumulator, Loop, Source
from ..algebra.model import IntegerLayer

Array = NDArray[Any]
INT32 = 2**31


@dataclass(frozen=True)
class Use:
    """A vector as products read it."""

    arg: str
    view: bool
    kernel: str
    """"packed" or "wide" (words), else the name of a portable function."""
    length: int

    @property
    def quads(self) -> int:
        return -(-self.length // 4)


@dataclass
class Block:
    use: Use
    rows: list[tuple[Accumulator, Source]]


@dataclass
class Products:
    """A loop's products, ready to be written."""

    blocks: list[Block]
    lines: list[str]
    """C inside the loop over units, after `w` points at the unit's first block."""
    sums: dict[str, str]
    """Accumulator -> C expression of its value."""
    packed: set[str]
    """Accumulators whose value is 256 times the sum."""


def kernel_of(layer: IntegerLayer, loop: Loop, arg: str, view: bool, dsp: bool, input_bits: int) -> str:
    """What multiplies a vector: one answer for all accumulators of the loop that read it."""
    sources = [s for a in loop.accumulators for s in a.sources if (s.arg, s.view) == (arg, view)]
    wide = any(layer.matrix(s.weight).dtype != np.int8 for s in sources)
    bits = 8 if view or (arg == "x" and input_bits == 8) else 16
    if not dsp or wide:
        return f"dot_{'int16' if wide else 'int8'}_int{bits}"
    most = max(int(np.abs(layer.matrix(s.weight).astype(np.int64)).sum(1).max()) for s in sources)
    return "packed" if bits == 8 and 256 * most * VIEW < INT32 else "wide"


def plan(layer: IntegerLayer, loop: Loop, lengths: dict[str, int], dsp: bool, input_bits: int) -> list[Use]:
    """The vectors that products read, greatest shift first on average: a running sum can be shifted up to join a smaller one."""
    shifts: dict[tuple[str, bool], list[int]] = {}
    for a in loop.accumulators:
        for s in a.sources:
            shifts.setdefault((s.arg, s.view), []).append(s.shift)
    order = sorted(shifts, key=lambda key: -sum(shifts[key]) / len(shifts[key]))
    return [Use(arg, view, kernel_of(layer, loop, arg, view, dsp, input_bits), lengths[arg]) for arg, view in order]


def products(layer: IntegerLayer, loop: Loop, uses: list[Use], vectors: dict[tuple[str, bool], str], bias: str) -> Products:
    """`vectors`: C names of the prepared vectors; `bias`: C text of the unit's row of biases, indexed by accumulator."""
    index = {a.name: k for k, a in enumerate(loop.accumulators)}
    kernels = {(u.arg, u.view): u.kernel for u in uses}
    packed = {
        a.name
        for a in loop.accumulators
        if all(kernels[s.arg, s.view] == "packed" for s in a.sources) and 256 * int(layer.bounds(a).max()) < INT32 and a.sh + 8 <= 30
    }
    running: dict[str, tuple[str, int]] = {}  # accumulator -> (C value in steps of 2^shift, shift)
    done: dict[str, list[str]] = {a.name: [] for a in loop.accumulators}
    left = {a.name: len(a.sources) for a in loop.accumulators}
    out = Products([], [], {}, packed)
    for use in uses:
        rows = [(a, s) for a in loop.accumulators for s in a.sources if (s.arg, s.view) == (use.arg, use.view)]
        for at in range(0, len(rows), 4):
            block = Block(use, rows[at : at + 4])
            d = f"d{len(out.blocks)}"
            starts = []
            for r, (a, s) in enumerate(block.rows):
                start = "0"
                left[a.name] -= 1
                chained = use.kernel != "packed" or a.name in packed
                if a.name in running:
                    value, shift = running[a.name]
                    if chained and shift >= s.shift:
                        start = times(value, shift - s.shift)
                    else:
                        done[a.name].append(times(value, shift))
                if chained and s.shift == 0 and left[a.name] == 0:
                    start = f"{bias}[{index[a.name]}]" + ("" if start == "0" else f" + {start}")
                    done[a.name].append("")  # the bias is in
                starts.append(start)
                plain = use.kernel == "packed" and a.name not in packed
                running[a.name] = (f"({d}[{r}] >> 8)" if plain else f"{d}[{r}]", s.shift)
            out.blocks.append(block)
            out.lines.append(f"int32_t {d}[4] = {{{', '.join(starts + ['0'] * (4 - len(starts)))}}};")
            out.lines.append(f"w = {call(use, vectors[use.arg, use.view], len(block.rows), d)};")
    for name, (value, shift) in running.items():
        inside = "" in done[name]
        terms = [times(value, shift), *(t for t in done[name] if t)] + ([] if inside else [f"{bias}[{index[name]}]"])
        out.sums[name] = " + ".join(terms)
    return out


def times(value: str, shift: int) -> str:
    return value if shift == 0 else f"{value} * {1 << shift}"


def call(use: Use, vector: str, rows: int, d: str) -> str:
    if use.kernel in ("packed", "wide"):
        return f"dot_{use.kernel}(w, {vector}, {use.quads}, {rows}, {d})"
    return f"{use.kernel}(w, {vector}, {use.length}, {rows}, {d})"


def stream(layer: IntegerLayer, found: Products, units: int, dsp: bool) -> tuple[str, Array]:
    """C type and values of a loop's weights: unit after unit, the unit's blocks one after the other."""
    parts = []
    for block in found.blocks:
        rows = np.stack([layer.matrix(s.weight) for _, s in block.rows], axis=1)  # (units, rows, length)
        if block.use.kernel in ("packed", "wide"):
            parts.append(words(rows, block.use.kernel))
        else:
            parts.append(rows.transpose(0, 2, 1).reshape(units, -1))
    values = np.concatenate(parts, axis=1).ravel()
    return ("uint32_t" if dsp and values.dtype == np.uint32 else f"{values.dtype}_t"), values


def words(rows: Array, kernel: str) -> Array:
    """(units, rows, length) int8 -> (units, quads * rows) uint32, the layouts of dot_dsp.h."""
    units, count, length = rows.shape
    padded = np.zeros((units, count, -(-length // 4) * 4), np.int64)
    padded[:, :, :length] = rows
    q = padded.reshape(units, count, -1, 4).transpose(0, 2, 1, 3)  # (units, quads, rows, 4)
    if kernel == "packed":
        low, high = q[..., 1] * 256 + q[..., 0], q[..., 3] * 256 + q[..., 2]
        word = (low & 0xFFFF) | ((high & 0xFFFF) << 16)
    else:
        b = q & 0xFF
        word = b[..., 0] | b[..., 2] << 8 | b[..., 1] << 16 | b[..., 3] << 24
    return word.astype(np.uint32).reshape(units, -1)
