"""gatecell, torch and onnxruntime side by side on this machine, every row of rows.py beside its goals.

    python bench/run.py [--quick] [--only TEXT] [--threads N] [--json FILE]

Prints the machine's limits first, then the tables as their rows arrive, and stores everything as JSON, from which docs/tables.py makes
the tables of the READMEs and bench/plot.py the picture.  Before anything is timed its result is compared with a peer's; a disagreement
ends the run.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import gatecell
import integers
import peak
import record
import scans
import speed
import work
from record import Record, Results
from rows import GROUPS, ROOF, Row
from timing import PAUSE, in_turns
from work import Missing

FULL, QUICK = {"turns": 15, "seconds": 0.05}, {"turns": 5, "seconds": 0.02}
ROOFS = {"turns": 7, "seconds": 0.03}
"""Turns and seconds a turn of each rival."""
MODES = {**work.MODES, **integers.MODES, **scans.MODES}


def measure(row: Row, threads: int, turns: int, seconds: float) -> Record:
    """Compare, then time."""
    found = Record(row.mode, row.shape, threads)
    try:
        made = MODES[row.mode](row.shape, threads)
    except (Missing, gatecell.Unsupported) as e:
        found.missing = str(e)
        return found
    found.distances = made.distances()
    rivals = made.metered(threads)
    found.times = made.times | in_turns(rivals, turns, seconds, PAUSE * (threads > 1))
    found.how = {name: rival.how for name, rival in rivals.items() if rival.how}
    found.flops, found.figures = made.flops, made.figures
    return found


def started(threads: list[int], settings: dict[str, object]) -> Results:
    """Results without rows: the machine, versions, limits."""
    limits = peak.measure(threads)
    caches = {name: limits["read"][str(size)] for name, size in peak.CACHES.items()}
    versions = {name: version(name) for name in ("torch", "onnxruntime", "numpy")}
    return Results(
        machine={"processor": peak.processor(), "cores": record.cores(), "kernels": gatecell.cpu(), "caches": caches},
        versions={"gatecell": f"{gatecell.__version__} {record.commit()}".strip(), **versions, "Python": sys.version.split()[0]},
        settings={**settings, "threads": threads},
        limits=limits,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the rows that say most, in fewer turns: under two minutes")
    parser.add_argument("--only", metavar="TEXT", action="append", help="rows and tables whose name contains this; may be repeated")
    parser.add_argument("--threads", type=int, action="append", metavar="N", help="instead of 1 and 2; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to store the figures, instead of bench/results/")
    options = parser.parse_args()
    threads = options.threads or [n for n in (1, 2) if n <= record.cores()]
    settings = QUICK if options.quick else FULL
    results = started(threads, {**settings, "quick": options.quick, "only": options.only or []})
    print(speed.machine(results), flush=True)

    for group in GROUPS:
        wanted = lambda row, g=group: not options.only or any(text.lower() in f"{g.title} {row}".lower() for text in options.only)
        chosen = [row for row in group.rows if (row.quick or not options.quick) and wanted(row)]
        for count in threads:
            rows, names = [row for row in chosen if count in row.threads], speed.columns(group, count)
            if rows:
                print("\n" + "\n".join(speed.head(group, count, names)), flush=True)
            for row in rows:
                found = measure(row, count, **(ROOFS if group.rows is ROOF else settings))
                results.rows.append(found)
                print(speed.line(row, group, found, names, results), flush=True)
    print(f"\n{speed.summary(results, measured_only=True)}")

    target = options.json or record.default_path(peak.processor(), gatecell.cpu())
    if not options.json and (options.quick or options.only):
        target = target.with_suffix(".local.json")  # part of the rows: not what the READMEs show
    results.save(target)
    print(f"stored in {target}; docs/tables.py and bench/plot.py show what is in {speed.SHOWN.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
