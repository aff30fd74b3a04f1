"""What the machine can do at most, measured: float32 multiply-adds per second and cache bandwidth, one thread.

`python bench/peak.py` prints them.  Everything else that the benches print is to be read beside these figures.
"""

import ctypes
import os
import platform
import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

CACHES = {"L1": 24 << 10, "L2": 512 << 10, "L3": 6 << 20}
"""Buffer sizes that lie well inside each cache of the machines we know (32-48 KB, 1-2 MB, tens of MB)."""


def processor() -> str:
    """The CPU's own name, and the vector extensions that matter here."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*:\s*(.+)", text)
    flags = set((re.search(r"flags\s*:\s*(.+)", text) or [" ", " "])[1].split())
    wide = ", ".join(f for f in ("avx2", "avx512f", "avx512_vnni") if f in flags)
    return f"{name[1] if name else platform.machine()} ({wide or 'no AVX'})"


def compiled(folder: Path) -> ctypes.CDLL:
    """peak.c for this machine, at its widest vectors."""
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text())) if Path("/proc/cpuinfo").exists() else set()
    width = 64 if "avx512f" in flags else 32 if "avx2" in flags else 16
    library = folder / "peak.so"
    source = Path(__file__).with_suffix(".c")
    wide = ["-mprefer-vector-width=512"] if width == 64 else []
    command = [os.environ.get("CC", "cc"), "-O2", "-march=native", *wide, "-ffp-contract=fast", f"-DBYTES={width}", "-shared", "-fPIC"]
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    found = ctypes.CDLL(str(library))
    found.fma_rounds.restype = found.read_rounds.restype = ctypes.c_float
    found.fma_rounds.argtypes = [ctypes.c_long]
    found.read_rounds.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
    return found


def best_rate(work: float, call, seconds: float = 0.1, repeats: int = 5) -> float:
    """The highest of some rates `work * rounds / time`; a peak is what nothing disturbed, hence the maximum."""
    rounds = 1
    while True:
        start = time.perf_counter()
        call(rounds)
        took = time.perf_counter() - start
        if took > seconds / 4:
            break
        rounds *= 4
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        call(rounds)
        rates.append(work * rounds / (time.perf_counter() - start))
    return max(rates)


def measure() -> dict[str, float]:
    """{"fma": FLOP/s (a multiply-add is two), "L1": bytes/s, "L2": ..., "L3": ...}, one thread."""
    with tempfile.TemporaryDirectory() as folder:
        c = compiled(Path(folder))
        found = {"fma": best_rate(2.0 * c.lanes() * c.chains(), c.fma_rounds)}
        for name, size in CACHES.items():
            raw = np.ones(size // 4 + 64, np.float32)
            data = raw[(-raw.ctypes.data // 4) % 16 :][: size // 4]
            found[name] = best_rate(size, lambda rounds, d=data: c.read_rounds(d.ctypes.data, d.size, rounds))
    return found


class Meter:
    """The multiply-adds of `measure` as one call of about a millisecond, to be timed in turns with what is to be compared with it:
    both then see the same clock frequency and the same neighbours."""

    ROUNDS = 100_000

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.library = compiled(Path(folder))
        self.flops = 2.0 * self.library.lanes() * self.library.chains() * self.ROUNDS

    def __call__(self) -> None:
        self.library.fma_rounds(self.ROUNDS)


def show(found: dict[str, float]) -> str:
    """One line for people."""
    reads = ", ".join(f"{name} {found[name] / 1e9:.0f}" for name in CACHES)
    return f"{processor()}: {found['fma'] / 1e9:.0f} GFLOP/s float32 multiply-adds; read GB/s: {reads}; one thread"


if __name__ == "__main__":
    print(show(measure()))
