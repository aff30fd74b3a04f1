"""gatecell, torch and onnxruntime side by side on this machine: `python bench/run.py [--quick] [--work forward] [--json FILE]`.

Prints the machine's limits first, then a table a kind of work.  Before anything is timed its result is compared with torch's;
a difference ends the run.  Rates count products only (shapes.py), for everybody alike; "of peak" is gatecell's rate over that
of multiply-adds in registers, timed in the same turns.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import peak
import peers
import torch
from shapes import BATCHES, QUICK, SINGLES, STEPS, Shape
from timing import Time, in_turns

import gatecell

README, MARK = Path(__file__).with_name("README.md"), "<!-- what follows is written by run.py --readme -->"
AGREE = {"y": 1e-5}
"""Largest distance from torch's result, relative to its largest entry; float32 over up to 100 steps and two layers."""
AGREE_GRADIENT = 2e-5
"""The same for gradients, sums over T * B rows that each library adds up in its own order."""


def compared(rivals: dict[str, peers.Rival]) -> float:
    """The largest relative distance of any rival's arrays from torch's; RuntimeError beyond the budget."""
    want, worst = rivals["torch"].result(), 0.0
    for name, rival in rivals.items():
        got = rival.result()
        for key, value in want.items():
            distance = float(abs(got[key] - value).max() / abs(value).max())
            worst = max(worst, distance)
            if not distance <= AGREE.get(key, AGREE_GRADIENT):
                raise RuntimeError(f"{name} and torch disagree on {key} by {distance:.1e} of its largest entry")
    return worst


class Report:
    """Prints a table as its rows arrive, and keeps them for JSON."""

    def __init__(self, turns: int, seconds: float) -> None:
        self.turns, self.seconds, self.rows, self.lines = turns, seconds, [], []
        self.meter = peak.Meter()

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def row(self, work: str, shape: Shape, rivals: dict[str, peers.Rival], flops: float, goal: float | None) -> None:
        distance = compared(rivals)
        times = in_turns({name: rival.call for name, rival in rivals.items()} | {"fma": self.meter}, self.turns, self.seconds)
        highest = self.meter.flops / times.pop("fma").seconds
        own, torchs = times["gatecell"].seconds, times["torch"].seconds
        cells = [f"{shape!s:<26}", *(self.cell(t, shape, flops) for t in times.values()), *[""] * (3 - len(times))]
        part = flops / own / highest
        cells.append(f"{torchs / own:.2f}x" + (f" (goal {goal:.1f}x{'' if torchs / own >= goal else ', MISSED'})" if goal else ""))
        self.say("| " + " | ".join(cells) + f" | {part:.2f} |")
        seconds = {name: {"seconds": t.seconds, "spread": t.spread} for name, t in times.items()}
        self.rows.append({"work": work, "shape": str(shape), "flops": flops, "distance": distance, "fma": highest, **seconds})

    def cell(self, time: Time, shape: Shape, flops: float) -> str:
        """GFLOP/s for batches; microseconds where somebody waits for one sequence or step."""
        microseconds = time.seconds * 1e6
        rate = f"{flops / time.seconds / 1e9:.0f} GF" if shape.B > 1 else f"{microseconds:,.{0 if microseconds >= 100 else 1}f} us"
        return f"{rate} ±{time.spread * 100:.0f} %"

    def head(self, title: str) -> None:
        self.say(f"\n**{title}**\n\n| network | gatecell | torch | onnxruntime | over torch | of peak |\n|---|---|---|---|---|---|")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer shapes and turns")
    parser.add_argument("--work", choices=["forward", "training", "step"], action="append", help="this kind alone; may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="keep the figures here")
    parser.add_argument("--readme", action="store_true", help="put the tables into bench/README.md")
    options = parser.parse_args()
    peers.use_threads(options.threads)

    report = Report(*((5, 0.03) if options.quick else (15, 0.1)))
    limits = peak.measure()
    report.say(f"{peak.show(limits)}.")
    versions = {module.__name__: module.__version__ for module in (gatecell, torch, onnxruntime, np)}
    report.say(f"{', '.join(f'{k} {v}' for k, v in versions.items())}; gatecell uses {gatecell.cpu()}; threads: {options.threads}.")

    chosen = lambda shapes: [s for s in shapes if not options.quick or s in QUICK]
    wanted = options.work or ["forward", "training", "step"]
    if "forward" in wanted:
        report.head("Forward")
        for shape in chosen(BATCHES + SINGLES):
            report.row("forward", shape, peers.forward(shape, options.threads), shape.flops(False), shape.goal and shape.goal[0])
    if "training" in wanted:
        report.head("Training: forward and backward, no gradient to the input")
        for shape in chosen(BATCHES + SINGLES):
            report.row("training", shape, peers.training(shape), shape.flops(True), shape.goal and shape.goal[1])
    if "step" in wanted:
        report.head("One step, the state carried from call to call")
        for shape in chosen(STEPS):
            report.row("step", shape, peers.streaming(shape, options.threads), shape.flops(False), None)
    if options.json:
        kept = {"machine": peak.processor(), "limits": limits, "versions": versions, "threads": options.threads, "rows": report.rows}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(kept, indent=1) + "\n")
    if options.readme:
        head, _ = README.read_text().split(MARK)
        README.write_text(head + MARK + "\n" + "\n".join(report.lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
