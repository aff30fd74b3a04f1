"""A plan as numbers: what the core decodes (cpp/src/plan.cpp), and the key by which it finds a loop's compiled step.

In order: axes, families, descending; arrays (kind, axis, offset); passes: reductions (op, source, result), loops: axis,
arrays, accumulators, terms (accumulator, source, family, gate, transposed), temporaries, scalars (array or -1, constant),
code (op, dst, three sources).  Every list is preceded by its length.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .loops import OPCODES, REDUCTIONS, Loop, Plan

KINDS = ("given", "over", "ring", "buffer", "row", "unit", "scalar")


@dataclass(frozen=True)
class Encoded:
    code: list[int]
    constants: list[float]
    axes: list[str]
    arrays: list[str]


def _instructions(loop: Loop) -> list[tuple[int, int, int, int, int]]:
    out = []
    for i in loop.code:
        a, b, c = (*i.src, *(i.src[-1],) * (3 - len(i.src)))
        out.append((OPCODES[i.op], i.dst, a, b, c))
    return out


def encode(plan: Plan, families: dict[str, list[str]]) -> Encoded:
    """`families`: family -> gates, in the order in which the core is given the families' matrices."""
    arrays = list(plan.arrays)
    axes = list(dict.fromkeys(a.axis for a in plan.arrays.values()))
    constants: list[float] = []
    family_at = {name: k for k, name in enumerate(families)}

    def loop_code(loop: Loop) -> list[int]:
        out = [axes.index(loop.axis), len(loop.arrays), *map(arrays.index, loop.arrays), len(loop.accumulators), len(loop.terms)]
        for t in loop.terms:
            family, gate = t.weight.split(".")
            out += [t.accumulator, arrays.index(t.source), family_at[family], families[family].index(gate), int(t.transposed)]
        out += [len(loop.temporaries), len(loop.constants)]
        for c in loop.constants:
            out += [arrays.index(c), 0] if isinstance(c, str) else [-1, len(constants)]
            if not isinstance(c, str):
                constants.append(c)
        rows = _instructions(loop)
        return [*out, len(rows), *(v for row in rows for v in row)]

    code = [len(axes), len(families), int(plan.descending), len(arrays)]
    for a in plan.arrays.values():
        code += [KINDS.index(a.kind), axes.index(a.axis), a.offset]
    code.append(len(plan.passes))
    for p in plan.passes:
        code.append(len(p.reductions))
        for r in p.reductions:
            code += [REDUCTIONS.index(r.op), arrays.index(r.source), arrays.index(r.result)]
        code.append(len(p.loops))
        for loop in p.loops:
            code += loop_code(loop)
    return Encoded(code, constants, axes, arrays)


def key(loop: Loop) -> int:
    """FNV-1a over what a step's text depends on."""
    words = [len(loop.arrays), len(loop.accumulators), len(loop.temporaries)]
    for c in loop.constants:
        low, high = struct.unpack("<II", struct.pack("<d", 0.0 if isinstance(c, str) else c))
        words += [int(isinstance(c, str)), low, high]
    words += [v for row in _instructions(loop) for v in row]
    return fnv(words)


def fnv(words: Sequence[int]) -> int:
    """FNV-1a over words of 32 bits, low byte first."""
    h = 0xCBF29CE484222325
    for byte in b"".join(struct.pack("<I", w) for w in words):
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h
