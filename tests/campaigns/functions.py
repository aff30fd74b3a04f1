"""The core's functions of one number against float64, over all floats: errors, order, bounds, NaN, infinities, the same bits.

By hand, a quarter of an hour on two cores; writes its table into bench/README.md:
  PYTHONPATH=python:tests python tests/campaigns/functions.py
The short form, every 4096th float and those about the places where a function changes its way, runs in test_functions.py.
Not here: the functions of float C (test_functions.py), of integers (test_integer.py).
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np

SETS = ("baseline", "avx2", "avx512", "neon")
README = Path(__file__).parents[2] / "bench" / "README.md"
BEGIN, END = "<!-- written by tests/campaigns/functions.py -->", "<!-- end of functions -->"

NORMAL = 2.0**-126
"""float32's smallest normal number: below it steps no longer shrink with the value, and no errors in steps are taken."""
INFINITE = 2.0**128 * (1 - 2.0**-25)
"""What rounds to infinity in float32."""
TOP = 0x7F800000
"""Rank of infinity.  Floats by rank are in order: 0 has rank 0, -0 has -1, -infinity has -TOP - 1."""
CHUNK, BLOCK = 2**22, 2**15
"""Floats of a process's job, and of one look, whose arrays stay in the cache."""

MEANING: dict[str, Callable] = {
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "exp": np.exp,
    "log_sigmoid": lambda v: -np.logaddexp(v.dtype.type(0), -v),
    "rsqrt": lambda v: 1 / np.sqrt(v),
}
LIMITS = {"tanh": (-1, 1), "sigmoid": (0, 1), "exp": (0, np.inf), "log_sigmoid": (-np.inf, 0), "rsqrt": (np.nan, 0)}
"""Results at -infinity and infinity; but for rsqrt's, which falls, every result lies between them."""


def floats(ranks):
    """float32 numbers of these ranks."""
    return np.where(ranks < 0, 0x80000000 - ranks - 1, ranks).astype(np.uint32).view(np.float32)


def ranks(x):
    """Ranks of float32 numbers."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits >> 31, 0x80000000 - bits - 1, bits)


def not_numbers(every=1):
    """NaNs, quiet and signalling, of either sign, in blocks: those of one bit, and all or every so many."""
    yield (np.array([TOP, TOP | 1 << 31], np.uint32)[:, None] | 1 << np.arange(23, dtype=np.uint32)).ravel().view(np.float32)
    for bits in range(TOP + 1, 0x80000000, BLOCK * every):
        block = np.arange(bits, min(bits + BLOCK * every, 0x80000000), every, np.uint32)
        yield np.concatenate([block, block | 0x80000000]).view(np.float32)


def turning_points():
    """Where the core's functions pass from one power of two to the next, clamp, saturate; and every power of two."""
    halves = np.arange(-1250, 1250) + 0.5
    places = [halves * np.log(2) / 8, halves * np.log(2) / 2, -104, -88.75, -88.68, -87.33655, 9.01, 16.64, 17.33, 32, 64, 88.722839, 89]
    return np.concatenate([*map(np.atleast_1d, places), *(s * 2.0 ** np.arange(-149, 128) for s in (1, -1))])


def step(want, mantissa=23):
    """A unit in the last place of each number, float64: of its own power of two."""
    return (want.view(np.uint64) & np.uint64(0x7FF0000000000000)).view(np.float64) * 2.0**-mantissa


def core(name, x):
    from gatecell import _core  # in the process that looks, whose instruction set GATECELL_CPU names

    return _core.function(name, np.ascontiguousarray(x))


@dataclass
class Findings:
    """What was seen of one function."""

    error: float = 0.0
    """Largest, in units in the last place, where the result is a normal float32."""
    at: float = 0.0
    below: float = 0.0
    """Largest error where the exact result is less than the normal numbers, in units of the least of these."""
    disordered: int = 0
    """Results out of order with the one before."""
    odd: int = 0
    """Results of tanh that are not those of the other sign."""
    wrong: int = 0
    """Results that are out of bounds, NaN where there is a number, finite where they should be infinite, or the reverse."""
    bits: int = 0
    """A sum over all results' bits: the same for the same results."""

    def __add__(self, other: "Findings") -> "Findings":
        worse = self if self.error >= other.error else other
        counts = {k: getattr(self, k) + getattr(other, k) for k in ("disordered", "odd", "wrong")}
        return replace(worse, below=max(self.below, other.below), bits=(self.bits + other.bits) % 2**64, **counts)


def findings(name, x, core):
    """core(name, x) at x in ascending order, by rank."""
    y, exact = core(name, x), x.astype(np.float64)
    with np.errstate(all="ignore"):
        want = MEANING[name](exact)
        size = abs(want)
        error = abs(y - want)
        normal = (size >= NORMAL) & (size < INFINITE)
        units = np.where(normal & ~np.isnan(y), error / step(want), 0)
        wrong = (size >= INFINITE) & (y != want.astype(np.float32)) | (size < INFINITE) & np.isinf(y)
    worst = int(units.argmax())
    number = ~np.isnan(want)
    wrong |= np.isnan(y) == number
    if name == "rsqrt":  # falls, where it is defined; at -0 it is -infinity
        disordered = (y[1:] > y[:-1]) & (exact[:-1] > 0)
    else:
        disordered = y[1:] < y[:-1]
        low, high = LIMITS[name]
        wrong |= (y < low) | (y > high)
    odd = int((core(name, -x) != -y).sum()) if name == "tanh" else 0
    small = error[(size < NORMAL) & number]
    position = x.view(np.uint32).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    sum_of_bits = int((y[number].view(np.uint32) * position[number]).sum(dtype=np.uint64))
    below = float(small.max(initial=0) / NORMAL)
    return Findings(float(units[worst]), float(x[worst]), below, int(disordered.sum()), odd, int(wrong.sum()), sum_of_bits)


def look(name, first, last, core=core):
    """Consecutive ranks; a block begins with the one before, for the order."""
    blocks = (floats(np.arange(max(a - 1, first), min(a + BLOCK, last))) for a in range(first, last, BLOCK))
    return sum((findings(name, x, core) for x in blocks), Findings())


def look_at_some(name):
    """The short form."""
    near = (ranks(turning_points())[:, None] + np.arange(-20, 21)).ravel()
    some = np.sort(np.clip(np.concatenate([np.arange(-TOP - 1, TOP, 4096), near, [TOP]]), -TOP - 1, TOP))
    return findings(name, floats(some[np.diff(some, prepend=-TOP - 2) > 0]), core)


def look_at_ends(name, every=1):
    """Results at -infinity and infinity, and how many NaNs became numbers."""
    numbers = sum(np.count_nonzero(~np.isnan(core(name, x))) for x in not_numbers(every))
    return core(name, np.float32([-np.inf, np.inf])).tolist(), numbers


def look_at_doubles(name):
    """float64 against longer numbers at 300,000 places: largest error in units in the last place, and where."""
    rng = np.random.default_rng(0)
    top = {"tanh": 22, "sigmoid": 708, "exp": 708, "log_sigmoid": 708, "rsqrt": 1e300}[name]
    x = rng.normal(size=(3, 100_000)) * [[1], [top / 4], [1]]
    x[2] *= np.exp(rng.uniform(-50, 0, 100_000))
    x = np.clip(x.ravel(), -top, top)
    x = abs(x) if name == "rsqrt" else x
    want = MEANING[name](x.astype(np.longdouble))
    units = abs(core(name, x) - want) / step(want.astype(np.float64), 52)
    return float(units.max()), float(x[units.argmax()])


def here():
    """The instruction set of this process; None: GATECELL_CPU names one that the machine has not."""
    import gatecell

    try:
        return gatecell.cpu()
    except RuntimeError:
        return None


def sets(workers=1):
    """Pools of processes, one for every instruction set that this machine has."""
    before = os.environ.get("GATECELL_CPU")
    for name in SETS:
        os.environ["GATECELL_CPU"] = name  # a spawned process reads it before its first use of the core
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            if pool.submit(here).result() == name:
                yield name, pool
    os.environ.pop("GATECELL_CPU")
    if before is not None:
        os.environ["GATECELL_CPU"] = before


def everything(name, pool):
    """All floats."""
    firsts = range(-TOP - 1, TOP + 1, CHUNK)
    total = Findings()
    for k, found in enumerate(pool.map(look, repeat(name), firsts, [min(a + CHUNK + 1, TOP + 1) for a in firsts])):
        total += found
        print(f"\r{name} {(k + 1) / len(firsts):.0%} ", end="", file=sys.stderr, flush=True)
    return total


def table():
    """Markdown: what all floats give, one row for each function and instruction set."""
    rows, doubles, bits = [], [], {}
    for cpu, pool in sets(os.cpu_count()):
        for name in MEANING:
            f = everything(name, pool)
            (low, high), numbers = pool.submit(look_at_ends, name).result()
            order = f"{f.disordered:,} out of order" if f.disordered else "monotone"
            nan = f"{numbers:,} became numbers" if numbers else "kept"
            wrong = f"; {f.wrong:,} WRONG" if f.wrong else ""
            odd = f"; {f.odd:,} NOT ODD" if f.odd else ""
            rows.append(
                f"| {name} | {cpu} | {f.error:.2f} at {f.at:.8g} | {order}{odd}{wrong} | {f.below:.2g} | {low:g}, {high:g} | {nan} |"
            )
            bits.setdefault(name, {})[cpu] = f.bits
            double, at = pool.submit(look_at_doubles, name).result()
            doubles.append((name, cpu, double, at))
            print(f"\r{cpu}: {rows[-1]}", file=sys.stderr)
    fused = [cpu for cpu in bits["exp"] if cpu != "baseline"]
    same = all(len({b[cpu] for cpu in fused}) == 1 for b in bits.values())
    worst = {name: max((d for d in doubles if d[0] == name), key=lambda d: d[2]) for name in MEANING}
    return "\n".join(
        [
            "| float32 | instruction set | largest error, ULP | order | below normal | at -inf, inf | NaN |",
            "|---|---|---|---|---|---|---|",
            *sorted(rows, key=lambda r: [*MEANING].index(r.split()[1])),
            "",
            f"{' and '.join(fused)}: {'the same bits for every float' if same else 'DIFFERENT BITS'}.",
            "float64, for checking, at 300,000 places, largest errors in ULP: "
            + ", ".join(f"{name} {d[2]:.1f} ({d[1]})" for name, d in worst.items())
            + ".",
        ]
    )


if __name__ == "__main__":
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
