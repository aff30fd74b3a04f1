"""Where the rest of the peak goes: of a row's time, how much are products, pointwise work, packing, memory, Python.

    python bench/where.py [--only TEXT] [--json FILE]      adds `profiles` to results that run.py stored
    python bench/where.py --run MODE SHAPE SECONDS         the process that is looked at

Samples of the CPU clock by Linux's perf, on one thread, sorted into PARTS by the function they fall into, and within a function that holds
both products and a step by whether they fall into a loop (loops.py): the core must have its symbols (`make core`; a wheel's are stripped).
What products take beyond the share that the measured peak would need is theirs to lose.
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
from timing import Rival

ROWS = (
    ("forward", rows.LSTM_256),
    ("forward", rows.LSTM_128),
    ("forward", rows.LSTM_64),
    ("forward", rows.GRU_256),
    ("forward", rows.RNN_256),
    ("forward", rows.RNN_64),
    ("forward", rows.LSTM_100),
    ("training", rows.LSTM_256),
    ("training", rows.LSTM_128),
    ("training", rows.LSTM_64),
    ("training", rows.GRU_256),
    ("training", rows.RNN_256),
    ("training", rows.RNN_64),
    ("forward", rows.LSTM_ONE),
    ("forward", rows.GRU_ONE),
    ("forward", rows.LSTM_STACK),
    ("lengths, forward", rows.LSTM_256),
    ("step from Python", rows.LSTM_STEP),
)
TILE = "register_tile<"
"""Functions that hold a tile's products, in loops, and its step."""
PARTS = (
    ("products", r"_core\.", r"product|outer"),
    ("pointwise", r"_core\.", r"memory_tile<|interpret"),
    ("packing", r"_core\.", r"gatecell_layer_new|pack"),
    ("time loop", r"_core\.", r"Runner|run<|gatecell_layer_run"),
    ("memory", r"", r"^(__)?mem(set|cpy|move)|clear_page|page|mmap|munmap|malloc|^_?int_(malloc|free)|^c?free$|vma|zap_|folio"),
    ("kernel", r"kernel\.kallsyms|\[k", r""),
    ("Python", r"", r""),
)
"""(part, library, function) as patterns: the first that both match takes the sample."""
RATE = 1999
"""Samples a second; no whole part of anything that runs at a round rate."""
WORK = {
    "forward": own.forward,
    "training": own.training,
    "lengths, forward": lambda case, threads: own.forward(case, threads, lengths=True),
    "step from Python": own.step,
}


def part_of(function: str, offset: int, library: str) -> str:
    """The part that a sample belongs to."""
    if TILE in function:
        return "products" if loops.inside(library, TILE, function, offset) else "pointwise"
    return next(part for part, where, what in PARTS if re.search(where, library) and re.search(what, function))


def rival(mode: str, shape: Shape) -> Rival:
    return WORK[mode](Case(shape), 1)


def run(mode: str, shape: Shape, seconds: float) -> None:
    """The work again and again; says so once everything has been loaded and packed for the first time."""
    it = rival(mode, shape)
    with it.within():
        it.call()
        print("ready", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            it.call()


def samples(mode: str, shape: Shape, seconds: float) -> Counter[tuple[str, str, str]]:
    """How many samples fell upon each (function, offset in hexadecimal digits, library)."""
    command = [sys.executable, "-W", "ignore", __file__, "--run", mode, json.dumps(astuple(shape)), str(seconds + 2)]
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


def profile(mode: str, shape: Shape, seconds: float = 3.0) -> Profile:
    """Fractions of the samples, every part named."""
    counts = samples(mode, shape, seconds)
    total = sum(counts.values())
    parts = dict.fromkeys((part for part, _, _ in PARTS), 0.0)
    for (function, offset, library), n in counts.items():
        parts[part_of(function, int(offset or "0", 16), library)] += n / total
    return Profile(mode, shape, parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs=3, metavar=("MODE", "SHAPE", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the results to add to, instead of those in bench/results/")
    options = parser.parse_args()
    if options.run:
        mode, shape, seconds = options.run
        run(mode, Shape(*json.loads(shape)), float(seconds))
        return 0
    if shutil.which("perf") is None:
        print("perf is missing (Debian: linux-perf): nothing to be said about where time goes", file=sys.stderr)
        return 0
    path = options.json or record.default_path(peak.processor(), gatecell.cpu())
    results = record.load(path)
    for mode, shape in ROWS:
        if options.only.lower() not in f"{mode}: {shape}".lower():
            continue
        found = profile(mode, shape)
        print(f"{mode}: {shape}: " + ", ".join(f"{part} {share:.3f}" for part, share in found.parts.items()), flush=True)
        results.profiles = [p for p in results.profiles if (p.mode, p.shape) != (mode, shape)] + [found]
    results.save(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
