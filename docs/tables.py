"""Writes the tables of README.md and bench/README.md: `python docs/tables.py [--check]`, with `--demo FOLDER` what the demo measured, too.

Each cell of the table of cells is the outcome of doing the thing; where it cannot be done the note is gatecell.Unsupported's own
sentence.  The tables of speed are what bench/speed.py makes of stored results: nothing is measured here.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import gatecell
from gatecell.cells import CLASSIC, Cell
from gatecell.tensor import engine

ROOT = Path(__file__).resolve().parent.parent
README, BENCH = ROOT / "README.md", ROOT / "bench" / "README.md"
sys.path.insert(0, str(ROOT / "bench"))
import record  # noqa: E402  (of the benches, which are scripts in a folder of their own)
import speed  # noqa: E402

END = "<!-- end -->"
I, H, T = 3, 4, 120


def compiled(cell: Cell) -> str:
    """Whether the core has generated SIMD steps for every loop of the cell, forward and backward, or interprets its program."""
    kernel = engine.kernel(cell)
    counts = [plan.core.steps for plan in (kernel.infer, kernel.train, kernel.back)]
    return "yes" if all(have == loops for have, loops in counts) else "interpreted"


def backends(model: gatecell.nn.Module, folder: Path) -> dict[str, Callable[[], object]]:
    """Column -> what has to work."""
    x = np.random.default_rng(0).normal(size=(T, 1, I)).astype(np.float32)
    integers = lambda scheme: gatecell.export_c(gatecell.quantize(model, x, scheme), folder, name="model").run(x)
    return {
        "trains": lambda: model(x)[0].sum().backward(),
        "streams": lambda: gatecell.Stream(model).step(x[0]),
        "float C": lambda: gatecell.export_c(model, folder, name="model").run(x),
        "w8a8 C": lambda: integers("w8a8"),
        "w8a16 C": lambda: integers("w8a16"),
    }


def table() -> str:
    """Markdown: a row for each registered cell, then the ways of stacking layers, with a classic cell."""
    cells = list(gatecell.cells.values())
    rows = [(c.title, c.source, compiled(c), gatecell.nn.Recurrent(c.name, I, H)) for c in cells]
    name = CLASSIC[-1].name
    rows.append(("any of them, in layers", "", "yes", gatecell.nn.Recurrent(name, I, H, num_layers=2)))
    both = gatecell.nn.Recurrent(name, I, H, bidirectional=True)
    rows.append(("any of them, in both directions", "Schuster & Paliwal 1997", "yes", both))
    notes: list[str] = []
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for title, source, steps, model in rows:
            found = []
            columns = backends(model, Path(folder))
            for work in columns.values():
                try:
                    work()
                    found.append("yes")
                except gatecell.Unsupported as e:
                    why = re.sub(r" at \S+:\d+", "", str(e))  # the sentence, without the line of this file that caused it
                    notes += [why] * (why not in notes)
                    found.append(f"no ({notes.index(why) + 1})")
            lines.append(f"| {title} | {source} | {steps} | {' | '.join(found)} |")
    head = ["cell", "paper", "SIMD steps", *columns]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines]
    return "\n".join(lines + [""] * bool(notes) + [f"({k}) {note}  " for k, note in enumerate(notes, 1)])


def demo(folder: Path) -> str:
    """The tables that `gatecell demo` left there; of the boards, those of its first horizon."""
    errors, integers, boards = (folder / "tables.md").read_text().strip().split("\n\n")
    head, rule, *rows = boards.split("\n")
    horizon = re.search(r", (\d+ h),", rows[0])
    shown = [r for r in rows if horizon and f", {horizon[1]}," in r]
    return "\n\n".join([errors, integers, "\n".join([head, rule, *shown])])


def put(text: str, mark: str, between: str) -> str:
    """The text with what stands between the comment that begins with `mark` and the next end replaced."""
    begin = text.index("-->", text.index(f"<!-- {mark}:")) + len("-->")
    return f"{text[:begin]}\n\n{between}\n\n{text[text.index(END, begin) :]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if the README is stale")
    parser.add_argument("--demo", type=Path, metavar="FOLDER", help="what `gatecell demo --seeds 3 --out FOLDER` measured goes in too")
    options = parser.parse_args()
    results = record.load(speed.SHOWN)
    readme = put(put(README.read_text(), "cells x backends", table()), "speed", speed.front(results))
    if options.demo:
        readme = put(readme, "demo", demo(options.demo))
        shutil.copy(options.demo / "forecast.png", Path(__file__).parent)
    fresh = {README: readme, BENCH: put(BENCH.read_text(), "speed", speed.everything(results))}
    if options.check:
        return int(any(path.read_text() != text for path, text in fresh.items()))
    for path, text in fresh.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
