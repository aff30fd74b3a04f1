"""Records what Python asks of the core, so that tests/cpp/replay.cpp can ask it of another build, and compares what comes out, bit for bit.

Not here: what is asked (test_builds.py), how the core is built (builds.py).
A record is one command after the other, in the form that replay.cpp describes; each carries all memory that the core reads, so that no
command depends on another's result.
"""

import functools
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gatecell import _core
from gatecell.tensor import engine, products, recurrence

TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def numbers(*values):
    return struct.pack(f"<{len(values)}q", *values)


def blob(data):
    data = bytes(data)
    return numbers(len(data)) + data + bytes(-len(data) % 8)


def blobs(all_of_them):
    return numbers(len(all_of_them)) + b"".join(map(blob, all_of_them))


def ragged(lengths):
    """Lengths of rows; none: all are as long as the run."""
    return blob(b"" if lengths is None else np.ascontiguousarray(lengths, np.int64))


class Memory:
    """The distinct arrays of a call."""

    def __init__(self) -> None:
        self.arrays = []

    def block(self, a):
        """The number of the memory in which an array lies, and the element at which it begins there."""
        whole = a
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        assert whole.flags.c_contiguous, "memory with gaps cannot be recorded"
        where = whole.ctypes.data, whole.nbytes
        known = [(b.ctypes.data, b.nbytes) for b in self.arrays]
        if where not in known:
            self.arrays.append(whole)
            known.append(where)
        return known.index(where), (a.ctypes.data - where[0]) // a.itemsize

    def place(self, a, in_turn=False, turned=0):
        """gatecell_array of an array as bindings.cpp understands it, with `turned` slots in the opposite order; none: the core's own."""
        if a is None:
            return numbers(-1, 0, 0, 0, 0)
        block, first = self.block(a)
        step, row = (0, 0, *(s // a.itemsize for s in a.strides[:-1]))[-2:]
        if turned:
            first, step = first + (turned - 1) * step, -step
        return numbers(block, first, step, row, 2 if in_turn else 0)

    def pointer(self, a):
        return numbers(-1, 0) if a is None else numbers(*self.block(a))

    def before(self):
        return blobs([a.tobytes() for a in self.arrays])

    def after(self):
        return [a.copy() for a in self.arrays]


@dataclass
class Recorder:
    """Stands where gatecell._core stands: passes every call on, and writes down what went in and what came out."""

    record: bytearray = field(default_factory=bytearray)
    results: list = field(default_factory=list)
    """(what it was, the arrays that came out)"""
    label: str = ""
    made: dict = field(default_factory=lambda: {"P": [], "L": [], "I": []})
    """What was made of each kind, in the order of the record."""

    def __getattr__(self, name):
        return getattr(_core, name)

    def add(self, letter, *parts):
        self.record += numbers(ord(letter)) + b"".join(parts)

    def keep(self, letter, thing):
        self.made[letter].append(thing)
        return thing

    def number(self, letter, thing):
        return next(k for k, other in enumerate(self.made[letter]) if other is thing)

    def came(self, what, arrays):
        self.results.append((f"{self.label}: {what}", arrays))

    def Plan(self, code, constants):
        self.add("P", blob(np.array(code, np.int32)), blob(np.array(constants, np.float64)))
        return self.keep("P", _core.Plan(code, constants))

    def Fit(self, plan, sizes, extents):
        return RecordedFit(_core.Fit(plan, sizes, extents), plan, sizes, extents)

    def Layer(self, fit, weights, interpret):
        layer = RecordedLayer(self, fit, _core.Layer(fit.fit, weights, interpret))
        strides = np.array([m.strides[0] // m.itemsize for m, _ in weights], np.int64)
        matrices, biases = [m.tobytes() for m, _ in weights], [b"" if b is None else b.tobytes() for _, b in weights]
        assert all(m.flags.c_contiguous for m, _ in weights)
        numbered = numbers(self.number("P", fit.plan), TYPES.index(weights[0][0].dtype if weights else TYPES[0]), interpret)
        self.add("L", numbered, blob(np.array(fit.sizes, np.int64)), blob(strides), blobs(matrices), blobs(biases))
        return self.keep("L", layer)

    def outer(self, terms, threads, lengths=None, back=False):
        memory, first = Memory(), terms[0][0][0]
        T, B = first.shape[0] if first.ndim > 2 else 1, first.shape[-2]
        late = any(a.ndim > 2 and (a.strides[0] < 0) != back for term in terms for a in (term[0][0], term[2]) if a is not None)
        each = b""
        for gradients, gates, argument, places, sums in terms:
            N, M = (sums if places is None else places).shape[1], 0 if argument is None else places.shape[2]
            each += numbers(len(gradients), N, M)
            each += b"".join(memory.place(a, turned=T * back) for a in (*gradients, *(() if argument is None else (argument,))))
            each += b"".join(memory.pointer(None if out is None else out[g]) for out in (places, sums) for g in gates)
        self.add("O", numbers(TYPES.index(first.dtype), T, B, threads, late), ragged(lengths), memory.before(), numbers(len(terms)), each)
        _core.outer(terms, threads, lengths, back)
        self.came("weight gradients", memory.after())

    def scan(self, number, back, dtype, sizes, arrays, threads):
        memory = Memory()
        places = [memory.place(a) for a, _, _ in arrays]
        self.add("C", numbers(number, TYPES.index(np.dtype(dtype)), back, *sizes, threads), memory.before(), numbers(len(places)), *places)
        _core.scan(number, back, dtype, sizes, arrays, threads)
        self.came("scan", memory.after())

    def function(self, name, x):
        self.add("F", numbers(TYPES.index(x.dtype)), blob(name.encode()), blob(x))
        y = _core.function(name, x)
        self.came(name, [y])
        return y

    def sum(self, x):
        self.add("A", numbers(TYPES.index(x.dtype), *x.shape), blob(x))
        y = _core.sum(x)
        self.came(f"sum over {x.shape[1]}", [y])
        return y

    def mask(self, shape, dtype, key, step, samples, below, kept, threads):
        drawn = blob(b"" if samples is None else np.ascontiguousarray(samples, np.int64))
        constants = blob(np.array(key, np.uint32)), drawn, blob(np.array([kept], np.float64))
        self.add("M", numbers(TYPES.index(np.dtype(dtype)), *shape, step, below, threads), *constants)
        made = _core.mask(shape, dtype, key, step, samples, below, kept, threads)
        self.came("mask", [made])
        return made

    def quantize(self, x, offset, scale, largest):
        self.add("Q", numbers(*x.shape, largest), blob(x), blob(offset), blob(scale))
        q, nan = _core.quantize(x, offset, scale, largest)
        self.came("quantize", [q, np.array([nan], np.int32)])
        return q, nan

    def dequantize(self, q, scale):
        self.add("D", numbers(*q.shape), blob(q), blob(scale))
        y = _core.dequantize(q, scale)
        self.came("dequantize", [y])
        return y

    def Integer(self, code, arrays, table, interpret):
        words = [blob(np.ascontiguousarray(a, np.int32)) for a in arrays]
        self.add("I", blob(np.array(code, np.int32)), blob(table), numbers(interpret, len(words)), *words)
        return self.keep("I", RecordedInteger(self, _core.Integer(code, arrays, table, interpret)))


@dataclass(eq=False)
class RecordedFit:
    fit: object
    plan: object
    sizes: list
    extents: list


@dataclass(eq=False)
class RecordedLayer:
    recorder: Recorder
    fit: RecordedFit
    layer: object

    def run(self, T, B, arrays, threads, lengths=None):
        memory, recorder, given = Memory(), self.recorder, iter(arrays)
        places = [memory.place(next(given), e[0] == _core.IN_TURN) if e else memory.place(None) for e in self.fit.extents]
        late = any(a.ndim > 2 and a.strides[0] < 0 for a in arrays)
        recorder.add("R", numbers(recorder.number("L", self), T, B, threads, late), ragged(lengths), memory.before(),
                     numbers(len(places)), *places)  # fmt: skip
        self.layer.run(T, B, arrays, threads, lengths)
        recorder.came("run", memory.after())


@dataclass(eq=False)
class RecordedInteger:
    recorder: Recorder
    step: object

    def run(self, x, states, threads):
        recorder = self.recorder
        recorder.add("S", numbers(recorder.number("I", self), *x.shape[:2], threads), blob(x), blobs([s.tobytes() for s in states]))
        y = self.step.run(x, states, threads)
        recorder.came("integer run", [y, *(s.copy() for s in states)])
        return y


@contextmanager
def recording() -> Iterator[Recorder]:
    """Within it, layers and integer layers that are made and run are recorded."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("gatecell.tensor.") and getattr(module, "_core", None) is _core:
                patch.setattr(module, "_core", recorder)
        for module, name in ((engine, "kernel"), (engine, "_form"), (recurrence, "_fitting"), (products, "_fit")):
            patch.setattr(module, name, functools.cache(getattr(module, name).__wrapped__))  # plans of its own, which it sees made
        yield recorder


def replay(command: list[str], recorder: Recorder, folder: Path, cpu: str = "", threads: int = 0) -> tuple[str, list]:
    """What a build of replay.cpp makes of a record: its instruction set, and results as the recorder's own are.

    threads: so many share the units of every run of a layer.
    """
    (folder / "record").write_bytes(recorder.record)
    env = {k: v for k, v in os.environ.items() if k != "GATECELL_CPU"} | ({"GATECELL_CPU": cpu} if cpu else {})
    command = [*command, str(folder / "record"), str(folder / "results"), *([str(threads)] if threads else [])]
    r = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert r.returncode == 0, f"{' '.join(command)}: exit status {r.returncode}\n{r.stderr}"
    data = (folder / "results").read_bytes()
    results, at = [], 0
    for what, arrays in recorder.results:
        own = []
        for a in arrays:
            own.append(np.frombuffer(data[at : at + a.nbytes], a.dtype).reshape(a.shape))
            at += a.nbytes
        results.append((what, own))
    assert at == len(data)
    return r.stdout.strip(), results


def other_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays differ, be it in a zero's sign; a NaN's payload is free."""
    whole = np.dtype(f"i{a.itemsize}")
    other: np.ndarray = np.ascontiguousarray(a).view(whole) != np.ascontiguousarray(b).view(whole)
    return other & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else other


def differences(got: list, want: list) -> list[str]:
    """What came out with other bits; two runs of the same record."""
    wrong = []
    for (what, a), (_, b) in zip(got, want, strict=True):
        for k, (u, v) in enumerate(zip(a, b, strict=True)):
            bad = other_bits(u, v)
            if bad.any():
                wrong.append(f"{what}: array {k} {u.dtype}{list(u.shape)}: {np.count_nonzero(bad)} differ, {u[bad][:3]} for {v[bad][:3]}")
    return wrong
