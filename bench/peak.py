"""What the machine can do at most, measured: float32 multiply-adds per second, and how fast buffers of growing size are read.

`python bench/peak.py` prints it.  Everything else that the benches print is to be read beside these figures.
"""

import ctypes
import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

KB = 1024
CACHES = {"L1": 24 * KB, "L2": 512 * KB, "L3": 6 * KB * KB}
"""Buffer sizes that lie well inside each cache of the machines we know (32-48 KB, 1-2 MB, tens of MB)."""
SIZES = sorted({*CACHES.values(), *(KB << k for k in range(4, 15))})
"""Bytes of the buffers whose reading is timed: the roof under which single sequences run, 16 KB to 16 MB."""
EACH = 4 * 8 * 16
"""Buffers are whole multiples of so many bytes: peak.c reads eight of the widest vectors at once."""


def words() -> set[str]:
    """What /proc/cpuinfo says, word by word; empty where there is none."""
    path = Path("/proc/cpuinfo")
    return set(re.findall(r"\w+", path.read_text())) if path.exists() else set()


def processor() -> str:
    """The CPU's own name, and the vector extensions that matter here."""
    path = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*:\s*(.+)", path.read_text()) if path.exists() else None
    wide = ", ".join(f for f in ("avx2", "avx512f", "avx512_vnni", "asimd") if f in words())
    return f"{name[1] if name else platform.machine()} ({wide or 'no wide vectors'})"


@cache
def library() -> ctypes.CDLL:
    """peak.c for this machine, at its widest vectors."""
    width = 64 if "avx512f" in words() else 32 if "avx2" in words() else 16
    wide = ["-mprefer-vector-width=512"] if width == 64 else []
    flags = ["-O2", "-march=native", *wide, "-ffp-contract=fast", f"-DBYTES={width}", "-shared", "-fPIC", "-pthread"]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "peak.so"
        subprocess.run([*os.environ.get("CC", "cc").split(), *flags, Path(__file__).with_suffix(".c"), "-o", target], check=True)
        found = ctypes.CDLL(str(target))
    found.fma_threads.argtypes = [ctypes.c_long, ctypes.c_int]
    found.read_buffers.restype = ctypes.c_float
    longs = ctypes.POINTER(ctypes.c_long)
    found.read_buffers.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t), longs, ctypes.c_int, ctypes.c_long]
    return found


class Meter:
    """The multiply-adds of some threads at once, as one call of about a millisecond, to be timed in turns with what is to be compared
    with it: both then see the same clock frequency and the same neighbours.  `flops`: of one call."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.rounds = 300_000 if threads == 1 else 1_500_000  # beside threads that have to be made: 30 us each
        self.flops = 2.0 * library().lanes() * library().chains() * self.rounds * threads

    def __call__(self) -> None:
        if library().fma_threads(self.rounds, self.threads) != self.threads:
            raise RuntimeError(f"{self.threads} threads wanted, the system gives fewer")


class Reader:
    """Reads buffers, each a number of times and then the next: the floor under a sequence whose weights are read at every step.

    reads: (bytes, how often) of each buffer; times: how often a call does all of it.
    """

    def __init__(self, reads: Sequence[tuple[int, int]], times: int = 1) -> None:
        self.raw = [np.ones(-(-size // EACH) * EACH // 4 + 16, np.float32) for size, _ in reads]
        places = [raw.ctypes.data + -raw.ctypes.data % 64 for raw in self.raw]
        count, self.times = len(reads), times
        self.places = (ctypes.c_void_p * count)(*places)
        self.counts = (ctypes.c_size_t * count)(*(raw.size - 16 for raw in self.raw))
        self.rounds = (ctypes.c_long * count)(*(rounds for _, rounds in reads))

    def __call__(self) -> None:
        library().read_buffers(self.places, self.counts, self.rounds, len(self.raw), self.times)


def best(call: Callable[[], object], seconds: float = 0.02, repeats: int = 7) -> float:
    """Seconds of the fastest of some runs of `call`; a limit is what nothing disturbed, hence the extreme."""
    count, took = 1, 0.0
    while took < seconds / 2:
        start = time.perf_counter()
        for _ in range(count):
            call()
        took = time.perf_counter() - start
        count *= 2
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(count // 2):
            call()
        times.append((time.perf_counter() - start) / (count // 2))
    return min(times)


def read_rate(size: int) -> float:
    """Bytes per second from a buffer of `size` bytes, over and over."""
    rounds = max(2, (64 << 20) // size // 8)
    return size * rounds / best(Reader([(size, rounds)]))


def measure(threads: Sequence[int] = (1,)) -> dict[str, dict[str, float]]:
    """{"fma": {threads: FLOP/s (a multiply-add is two)}, "read": {bytes of the buffer: bytes/s, one thread}}; keys as in JSON."""
    fma = {str(n): Meter(n).flops / best(Meter(n)) for n in threads}
    return {"fma": fma, "read": {str(size): read_rate(size) for size in SIZES}}


def show(limits: dict[str, dict[str, float]]) -> str:
    """One line for people."""
    fma = ", ".join(f"{rate / 1e9:.0f} GFLOP/s on {n} thread{'s' * (n != '1')}" for n, rate in limits["fma"].items())
    reads = ", ".join(f"{name} {limits['read'][str(size)] / 1e9:.0f}" for name, size in CACHES.items())
    return f"float32 multiply-adds {fma}; reads in GB/s: {reads}"


if __name__ == "__main__":
    print(f"{processor()}: {show(measure((1, os.cpu_count() or 1)))}")
