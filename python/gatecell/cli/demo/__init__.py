"""gatecell demo: from five years of hourly weather to networks that run on emulated microcontrollers.  Each step prints as it goes.

Not here: the steps themselves, each a file beside this one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from ...cells import CLASSIC
from ...deploy.export import export_c
from ...exchange.files import save
from ...tensor.engine import get_num_threads
from . import baselines, report
from .chip import BOARD_NAMES, FLOAT, FORMS, SCHEMES, BoardJob, OnBoard, Quantised, on_board, quantise
from .networks import QUICK, RECIPES, Job, train
from .problem import HORIZONS, INPUTS, weather_tasks
from .workers import Workers

QUICK_HOURS = 500
"""Hours of the test part that the boards of a quick demo run, with one network alone."""


def run(out: Path, *, quick: bool = False, seeds: int = 1, processes: int | None = None) -> None:
    """Do it all; results go to the folder `out`. processes: by default one per core.

    OSError: the folder cannot be written. ClickException: a board gave other results than this machine.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    (out / ".gitignore").write_text("*\n")  # what it leaves is no source, wherever it is run
    say = _Speaker()
    tasks = weather_tasks()
    first = tasks[HORIZONS[0]]
    say(f"Five years of hourly weather, split in time order: {first.test.stop + HORIZONS[0]:,} hours, to train on to {first.train.stop:,},")
    say(f"to choose by to {first.val.stop:,}, the rest to test. {len(INPUTS)} inputs; target: how the temperature changes.")

    with Workers(processes or get_num_threads()) as workers:
        scores, chosen = _baselines(say, quick)
        recipes = QUICK if quick else RECIPES
        jobs = [Job(h, cell.name, seed, recipes[h]) for seed in range(seeds) for cell in CLASSIC for h in HORIZONS]
        with say.step(f"Training {len(jobs)} networks of {recipes[HORIZONS[0]].hidden_size} units by truncated BPTT with carried state"):
            networks = workers.map("training", train, jobs, [job.cost for job in jobs])
        errors = report.errors(scores, networks)
        say("\n" + errors.text())
        say("\n" + report.winners(scores, networks))

        once = [n for n in networks if n.job.seed == 0]
        with say.step(f"Quantising to {' and '.join(SCHEMES)}, ranges from the training part"):
            quantised = workers.map("quantising", quantise, once, [1.0] * len(once))
        integers = report.integers(quantised)
        say("\n" + integers.text())

        best = [min((q for q in quantised if q.trained.job.horizon == h), key=lambda q: q.trained.val) for h in HORIZONS]
        runs = _boards(say, workers, best[:1] if quick else quantised, QUICK_HOURS if quick else None)
    boards = report.boards(runs)

    (out / "results.json").write_text(report.as_json({"quick": quick, "seeds": seeds}, scores, chosen, networks, quantised, runs) + "\n")
    tables = [table.markdown() for table in (errors, integers, boards) if table.rows]
    (out / "tables.md").write_text("\n\n".join(tables) + "\n")
    for q in quantised:
        _leave(q, out)
    drawn = report.picture([q.trained for q in best], out / "forecast.png")
    kept = "results.json, tables.md, " + ("forecast.png, " if drawn else "") + "models/, c/"
    say(f"\nIn {out}/: {kept}. All of it took {time.monotonic() - began:.0f} s.")
    if wrong := [f"{r.job.network.trained.job.cell} {r.job.form} on {r.job.board}" for r in runs if r.wrong]:
        raise click.ClickException(f"not what this machine computes: {', '.join(wrong)}")


def _baselines(say: _Speaker, quick: bool) -> tuple[dict[str, dict[int, float]], dict[int, tuple[int, float]]]:
    """RMSE on the test part by name and horizon; (lags, alpha) of ridge regression by horizon."""
    tasks = weather_tasks()
    scores = {
        "persistence": {h: baselines.persistence(t, t.test) for h, t in tasks.items()},
        "yesterday, same hour": {h: baselines.yesterday(t, t.test) for h, t in tasks.items()},
    }
    try:
        ridge = baselines.Ridge(list(tasks.values()), *((baselines.QUICK_LAGS, baselines.ALPHAS[:1]) if quick else ()))
    except ImportError:
        say("No ridge regression: scikit-learn is missing (pip install 'gatecell[sklearn]').")
        return scores, {}
    with say.step(f"Ridge regression on windows of {min(ridge.lags)} to {max(ridge.lags)} hours"):
        for _ in ridge.fits():
            pass
    chosen = {h: ridge.chosen(i) for i, h in enumerate(tasks)}
    scores["ridge regression, best window"] = {h: ridge.errors[chosen[h]][i][1] for i, h in enumerate(tasks)}
    return scores, chosen


def _boards(say: _Speaker, workers: Workers, networks: Sequence[Quantised], hours: int | None) -> list[OnBoard]:
    """Every form of these networks on every board; prints the table, and the line that installs what is missing."""
    jobs = [BoardJob(network, form, board, hours) for network in networks for form in FORMS for board in BOARD_NAMES]
    what = "the whole test part" if hours is None else f"{hours} hours of the test part"
    with say.step(f"{what[0].upper()}{what[1:]} in C on emulated {', '.join(BOARD_NAMES)}"):
        runs = workers.map("boards", on_board, jobs, [job.cost for job in jobs])
    table = report.boards(runs)
    if table.rows:
        say("\n" + table.text())
    missing = dict.fromkeys(package for r in runs for package in r.missing)
    if missing:
        left_out = dict.fromkeys(r.job.board for r in runs if r.missing)
        say(f"\nLeft out: {', '.join(left_out)}. To run them:  sudo apt-get install --no-install-recommends {' '.join(missing)}")
    return runs


def _leave(q: Quantised, out: Path) -> None:
    """A network's files: the float model, and its C in every form."""
    name = f"{q.trained.job.cell}_{q.trained.job.horizon}h"
    (out / "models").mkdir(exist_ok=True)
    model = q.trained.model()
    save(model, out / "models" / f"{name}.safetensors")
    export_c(model, out / "c", name=f"{name}_{FLOAT}")
    for scheme in SCHEMES:
        export_c(q.model(scheme), out / "c", name=f"{name}_{scheme}")


class _Speaker:
    """Prints lines, and steps with the time they took."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, line: str) -> None:
        click.echo(line)

    def step(self, title: str) -> _Step:
        self.number += 1
        return _Step(f"\n{self.number}. {title}")


class _Step:
    def __init__(self, title: str) -> None:
        self.title = title

    def __enter__(self) -> None:
        click.echo(f"{self.title} ...", nl=False)
        self.began = time.monotonic()

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        click.echo(f" {time.monotonic() - self.began:.1f} s" if kind is None else "")
