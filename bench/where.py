"""Where the rest of the peak goes: of a row's time, how much are products, pointwise work, packing, memory, Python, waiting.

    python bench/where.py [--only TEXT] [--json FILE]              adds `profiles` to results that run.py stored
    python bench/where.py --run MODE SHAPE THREADS SECONDS         the process that is looked at

Samples of the CPU clock by Linux's perf, sorted into PARTS by the function they fall into, and within a function that holds both products
and a step by whether they fall into a loop (loops.py): the core must have its symbols (`make core`; a wheel's are stripped).  What products
take beyond the share that the measured peak would need is theirs to lose.  With several threads, the samples that are missing are waiting.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import gatecell
import loops
import own
import peak
import record
import rows
from cases import Case
from record import Profile
from shapes import Shape

ON_TWO = {(mode, shape) for mode in ("forward", "training") for shape in (rows.LSTM_256, rows.LSTM_64, rows.LSTM_STACK)}
TILE = "register_tile<"
"""Functions that hold a tile's products, in loops, and its step."""
PARTS = (
    ("products", r"_core\.", r"product|[oO]uter"),
    ("pointwise", r"_core\.", r"memory_tile<|interpret"),
    ("packing", r"_core\.", r"gatecell_layer_new|pack|transpose"),
    ("time loop", r"_core\.", r"Runner|run<|gatecell_layer_run"),
    ("memory", r"", r"^(__)?mem(set|cpy|move)|clear_page|page|mmap|munmap|malloc|^_?int_(malloc|free)|^c?free$|vma|zap_|folio"),
    ("threads", r"", r"share_out|futex|pthread|sched_yield|[Pp]ool|Team|gatecell::pause"),
    ("kernel", r"kernel\.kallsyms|\[k", r""),
    ("Python", r"", r""),
)
"""(part, library, function) as patterns: the first that both match takes the sample."""
RATE = 1999
"""Samples a second; no whole part of anything that runs at a round rate."""
WORK = {
    "forward": own.forward,
    "training": own.training,
    "training with dx": lambda case, threads: own.training(case, threads, dx=True),
    "lengths, forward": lambda case, threads: own.forward(case, threads, lengths=True),
    "lengths, training": lambda case, threads: own.training(case, threads, lengths=True),
    "step from Python": own.step,
}


ROWS = [
    (row.mode, row.shape, threads)
    for group in rows.GROUPS
    for row in group.rows
    if row.mode in WORK and row.shape
    for threads in (1, *([2] if (row.mode, row.shape) in ON_TWO else []))
]
"""(mode, shape, threads)."""


def part_of(function: str, offset: int, library: str) -> str:
    """The part that a sample belongs to."""
    if TILE in function:
        return "products" if loops.inside(library, TILE, function, offset) else "pointwise"
    return next(part for part, where, what in PARTS if re.search(where, library) and re.search(what, function))


def run(mode: str, shape: Shape, threads: int, seconds: float) -> None:
    """The work again and again; says so once everything has been loaded and packed for the first time."""
    rival = WORK[mode](Case(shape), threads)
    with rival.within():
        rival.call()
        print("ready", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rival.call()


def samples(mode: str, shape: Shape, threads: int, seconds: float) -> Counter[tuple[str, str, str]]:
    """How many samples fell upon each (function, offset in hexadecimal digits, library)."""
    given = [mode, json.dumps(astuple(shape)), str(threads), str(seconds + 2)]
    command = [sys.executable, "-W", "ignore", __file__, "--run", *given]
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # NumPy's idle thread would be sampled, too
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, env=alone, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{mode} {shape} did not start")
        data = Path(folder) / "perf.data"
        look = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", str(RATE), "-p", str(process.pid), "-o", data]
        subprocess.run([*look, "--", "sleep", str(seconds)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.terminate()
        listing = ["perf", "script", "-i", data, "-F", "ip,sym,symoff,dso"]
        text = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*[0-9a-f]+ (.*?)(?:\+0x([0-9a-f]+))? \((\S+)\)\s*$", text, re.MULTILINE)
    if not found:
        raise RuntimeError("perf took no samples; is kernel.perf_event_paranoid above 2?")
    return Counter(found)


def profile(mode: str, shape: Shape, threads: int, seconds: float = 3.0) -> Profile:
    """Fractions of the threads' time, every part named."""
    counts = samples(mode, shape, threads, seconds)
    taken = sum(counts.values())
    total = max(taken, RATE * seconds * threads) if threads > 1 else taken  # one thread never waits, unless for a neighbour
    parts = dict.fromkeys((part for part, _, _ in PARTS), 0.0)
    for (function, offset, library), n in counts.items():
        parts[part_of(function, int(offset or "0", 16), library)] += n / total
    return Profile(mode, shape, threads, parts | {"waiting": (total - taken) / total})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs=4, metavar=("MODE", "SHAPE", "THREADS", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the results to add to, instead of those in bench/results/")
    options = parser.parse_args()
    if options.run:
        mode, shape, threads, seconds = options.run
        run(mode, Shape(*json.loads(shape)), int(threads), float(seconds))
        return 0
    if shutil.which("perf") is None:
        print("perf is missing (Debian: linux-perf): nothing to be said about where time goes", file=sys.stderr)
        return 0
    path = options.json or record.default_path(peak.processor(), gatecell.cpu())
    results = record.load(path)
    for mode, shape, threads in ROWS:
        name = f"{mode}: {shape}, {threads} thread{'s' * (threads > 1)}"
        if options.only.lower() in name.lower() and threads <= record.cores():
            found = profile(mode, shape, threads)
            print(f"{name}: " + ", ".join(f"{part} {share:.3f}" for part, share in found.parts.items()), flush=True)
            results.profiles = [p for p in results.profiles if (p.mode, p.shape, p.threads) != (mode, shape, threads)] + [found]
    results.save(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
