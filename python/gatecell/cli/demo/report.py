"""What the demo prints and leaves behind: tables as text and as Markdown, a JSON file, a picture.  Not here: what makes the figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...cells import cells
from ...data import weather
from ...deploy.board_table import BOARDS
from .chip import FLOAT, SCHEMES, OnBoard, Quantised
from .networks import Trained
from .problem import HORIZONS, weather_tasks

WEEK = 168


@dataclass(frozen=True)
class Table:
    """A header and rows of text; the first column is flush left, the others right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = []
        for row in (self.header, *self.rows):
            cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  " + "   ".join(cells).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        ruler = ["---", *["---:"] * (len(self.header) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in (self.header, ruler, *self.rows))


def errors(baselines: dict[str, dict[int, float]], networks: Iterable[Trained]) -> Table:
    """RMSE on the test part by horizon; of networks with several seeds the mean, lowest and highest."""
    rows = [[name, *(f"{by_horizon[h]:.3f}" for h in HORIZONS)] for name, by_horizon in baselines.items()]
    by_cell: dict[str, dict[int, list[float]]] = {}
    for n in networks:
        by_cell.setdefault(n.job.cell, {}).setdefault(n.job.horizon, []).append(n.test)
    for cell, tests in by_cell.items():
        rows.append([cells[cell].title, *(_spread(tests[h]) for h in HORIZONS)])
    return Table(["RMSE on the test part, degrees C", *(f"{h} h ahead" for h in HORIZONS)], rows)


def winners(baselines: dict[str, dict[int, float]], networks: Sequence[Trained]) -> str:
    """Which cells beat every baseline with every seed, by horizon."""
    told = []
    for h in HORIZONS:
        bar = min(by_horizon[h] for by_horizon in baselines.values())
        of_h = [n for n in networks if n.job.horizon == h]
        lost = {n.job.cell for n in of_h if n.test >= bar}
        won = [cells[cell].title for cell in dict.fromkeys(n.job.cell for n in of_h) if cell not in lost]
        told.append(f"{h} h ahead {', '.join(won) or 'none'}")
    return "Better than every baseline: " + "; ".join(told) + "."


def integers(networks: Iterable[Quantised]) -> Table:
    """RMSE of the float network and what each scheme changes."""
    rows = []
    for n in networks:
        changes = (f"{n.test[s]:.4f} ({100 * (n.test[s] / n.trained.test - 1):+.2f} %)" for s in SCHEMES)
        rows.append([_name(n.trained), f"{n.trained.test:.4f}", *changes])
    return Table(["RMSE, degrees C", FLOAT, *SCHEMES], rows)


def boards(runs: Iterable[OnBoard]) -> Table:
    """One row per network and form; figures board by board."""
    by_row: dict[str, list[OnBoard]] = {}
    for r in runs:
        if not r.missing:
            by_row.setdefault(f"{_name(r.job.network.trained)}, {r.job.form}", []).append(r)
    names = list(dict.fromkeys(r.job.board for of_row in by_row.values() for r in of_row))
    rows = []
    for name, of_row in by_row.items():
        unequal = "NO" if any(r.wrong for r in of_row) else f"to {max(r.distance for r in of_row):.0e}"
        same = "yes" if all(r.equal for r in of_row) else unequal
        figures = [[f"{value:,.0f}" for value in (r.instructions or 0, r.flash, r.ram, r.stack)] for r in of_row]
        rows.append([name, f"{of_row[0].test:.4f}", same, *(" / ".join(each) for each in zip(*figures, strict=True))])
    return Table([" / ".join(names), "RMSE", "same bits", "instructions a step", "flash B", "RAM B", "stack B"], rows)


def as_json(
    options: dict[str, Any],
    baselines: dict[str, dict[int, float]],
    chosen: dict[int, tuple[int, float]],
    networks: Iterable[Trained],
    quantised: Iterable[Quantised],
    runs: Iterable[OnBoard],
) -> str:
    """All figures by name; RMSE in degrees C, sizes in bytes."""
    parts = {h: {"train": len(t.train), "val": len(t.val), "test": len(t.test)} for h, t in weather_tasks().items()}
    return json.dumps(
        {
            "options": options,
            "hours": parts,
            "baselines": baselines,
            "ridge": {h: {"lags": lags, "alpha": alpha} for h, (lags, alpha) in chosen.items()},
            "networks": [
                {
                    **_which(n),
                    "hidden_size": n.job.recipe.hidden_size,
                    "parameters": n.parameters,
                    **{name: getattr(n, name) for name in ("val", "test", "epochs", "best_epoch", "seconds")},
                }
                for n in networks
            ],
            "integers": [{**_which(q.trained), **q.test} for q in quantised],
            "boards": [
                {
                    **_which(r.job.network.trained),
                    "form": r.job.form,
                    "board": r.job.board,
                    "about": BOARDS[r.job.board].about,
                    **({"missing": r.missing} if r.missing else _measured(r)),
                }
                for r in runs
            ],
        },
        indent=1,
    )


def picture(networks: Sequence[Trained], path: Path) -> bool:
    """A week of forecasts beside what came, a panel per horizon; False when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    time = weather().time
    assert time is not None
    figure = Figure(figsize=(10, 3.2 * len(networks)), layout="constrained")
    for axes, network in zip(np.atleast_1d(figure.subplots(len(networks), 1)), networks, strict=True):
        task = weather_tasks()[network.job.horizon]
        t = np.arange(task.test.start, task.test.start + WEEK)
        ahead = t + network.job.horizon
        axes.plot(time[ahead], task.column[ahead], color="0.2", label="temperature")
        axes.plot(time[ahead], task.column[t], color="0.7", linewidth=1, label="persistence")
        axes.plot(time[ahead], task.column[t] + network.forecasts[:WEEK], color="tab:orange", label=_name(network))
        axes.set_ylabel("degrees C")
        axes.legend(loc="upper right", frameon=False)
    figure.savefig(path, dpi=110)
    return True


def _which(network: Trained) -> dict[str, Any]:
    return {name: getattr(network.job, name) for name in ("cell", "horizon", "seed")}


def _name(network: Trained) -> str:
    return f"{cells[network.job.cell].title}, {network.job.horizon} h"


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def _measured(r: OnBoard) -> dict[str, Any]:
    return {name: getattr(r, name) for name in ("hours", "test", "distance", "equal", "flash", "ram", "stack", "instructions")}
