"""Draws docs/rate.svg from results: rates over H and over B beside the peers, under the machine's roofs.  `python bench/plot.py [--check]`.

Needs matplotlib, measures nothing.  Colours are of middle brightness and the paper is none, so that it reads on white and on black.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import record
import speed
from measures import rate
from record import Record, Results
from rows import BATCHES, PLOT_B, PLOT_H, ROOF, WIDTHS
from shapes import Shape

TARGET = Path(__file__).resolve().parent.parent / "docs" / "rate.svg"
INK = "#768390"
COLORS = {"gatecell": "#e5534b", "torch": "#8a63d2", "onnxruntime": "#2f81d6"}
MARKS = {"gatecell": "o", "torch": "s", "onnxruntime": "^"}
PANELS = (
    (f"batches of {PLOT_B}, over H = I", "H", WIDTHS, lambda n: (n, PLOT_B)),
    ("one sequence, over H = I", "H", WIDTHS, lambda n: (n, 1)),
    (f"H = I = {PLOT_H}, over the batch", "B", BATCHES, lambda n: (PLOT_H, n)),
)
"""(title, axis, values, value -> (H, B)) of each column."""
KINDS = ("LSTM", "GRU")


def points(results: Results, kind: str, of, values) -> list[Record]:
    """The records of one panel, in the order of its axis; KeyError: one was not measured."""
    shapes = {(row.shape.H, row.shape.B): row.shape for row in ROOF if row.shape and row.shape.kind == kind}
    found = [results.find("roof", shapes[of(n)], 1) for n in values]
    if None in found:
        raise KeyError(f"{kind}: a point of the plot was not measured")
    return found


def roof(shape: Shape, limits: dict[str, dict[str, float]]) -> float:
    """FLOP/s at which every step reads R at the rate of the cache that holds it, and W is read once."""
    sizes, rates = zip(*((int(size), speed) for size, speed in limits["read"].items()), strict=True)
    at = lambda size: np.exp(np.interp(np.log(size), np.log(sizes), np.log(rates)))
    once, each = shape.read_once(), shape.read_each_step()
    return shape.forward_flops() / sum(w / at(w) + shape.T * r / at(r) for w, r in zip(once, each, strict=True))


def digest(results: Results) -> str:
    """Of everything that is drawn: a picture of other figures is stale."""
    rows = [replace(r, how={}, distances={}) for r in results.rows if r.mode == "roof"]
    drawn = Results({}, {}, {}, results.limits, rows, made="")
    return hashlib.sha256(json.dumps(record.body(drawn), sort_keys=True).encode()).hexdigest()


def draw(results: Results, target: Path) -> None:
    """The picture as SVG; the same results give the same text."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    sizes = {"font.size": 9, "axes.titlesize": 9, "legend.fontsize": 9, "font.family": "sans-serif"}
    inked = ("text.color", "xtick.color", "ytick.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor")
    colors = dict.fromkeys(inked, INK)
    with plt.rc_context({**sizes, **colors, "svg.fonttype": "none", "svg.hashsalt": "gatecell"}):
        figure, grid = plt.subplots(len(KINDS), len(PANELS), figsize=(10.5, 5.6), sharey=True, layout="constrained")
        for kind, axes in zip(KINDS, grid, strict=True):
            for (title, axis, values, of), ax in zip(PANELS, axes, strict=True):
                found = points(results, kind, of, values)
                ax.axhline(results.limits["fma"]["1"] / 1e9, color=INK, linewidth=1.2, label="multiply-adds in registers")
                cache = [roof(r.shape, results.limits) / 1e9 for r in found]
                ax.plot(values, cache, color=INK, linewidth=1.2, linestyle="--", label="reads of R from the caches")
                for name, color in COLORS.items():
                    rates = [rate(r, name) / 1e9 for r in found]
                    ax.plot(values, rates, color=color, marker=MARKS[name], markersize=3.5, linewidth=1.5, label=name)
                ax.set(xscale="log", yscale="log", ylim=(1, 400), title=f"{kind}, {title}")
                ax.set_xticks(values, [str(n) if n not in (192, 384, 768) else "" for n in values])
                ax.yaxis.set_major_formatter("{x:g}")
                ax.xaxis.set_minor_formatter(NullFormatter())
                ax.minorticks_off()
                ax.grid(color=INK, alpha=0.25, linewidth=0.5)
                ax.patch.set_alpha(0)
                ax.set_xlabel(axis if kind == KINDS[-1] else "")
            axes[0].set_ylabel("GFLOP/s")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.savefig(target, transparent=True, metadata={"Date": None, "Creator": "bench/plot.py", "Description": digest(results)})
        plt.close(figure)
    target.write_text("\n".join(line.rstrip() for line in target.read_text().splitlines()) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="draw nothing; exit code 1 if the picture shows other figures")
    options = parser.parse_args()
    results = record.load(speed.SHOWN)
    if options.check:
        return int(not TARGET.exists() or digest(results) not in TARGET.read_text())
    draw(results, TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
