"""The commands, thin wrappers of the public API: demo, train, quantize, export, run, report, info.  Not here: errors, the demo's steps."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

import gatecell as gc

from ..algebra.model import SCHEMES
from ..cells import CLASSIC, cells
from ..data import Table, read_csv
from ..deploy.board_table import BOARDS
from ..deploy.graph import Input
from ..deploy.on_board import run_on_board
from ..deploy.quantized import QuantizedModel
from ..deploy.stream import streamed
from ..deploy.trace import trace
from ..emit.targets import TARGETS
from ..nn import Module
from ..tensor import engine
from ..train.forecast import Recipe, Task, train_forecaster

Array = npt.NDArray[Any]
FILE = click.Path(path_type=Path)
DEFAULT = Recipe()


def _writable(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """A file that can be written, looked at before the minutes of work whose result goes there."""
    if value is not None and (value.is_dir() or not value.parent.is_dir() or not os.access(value.parent, os.W_OK | os.X_OK)):
        raise click.BadParameter(f"wanted a file in a folder that can be written, got {value}")
    return value


INPUTS = click.option(
    "--inputs",
    metavar="A,B,...",
    callback=lambda context, option, value: None if value is None else [name.strip() for name in value.split(",")],
    help="Columns that the model reads, in its order. [default: all of numbers]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True}, invoke_without_command=True)
@click.version_option(gc.__version__, prog_name="gatecell")
@click.pass_context
def gatecell(context: click.Context) -> None:
    """Train recurrent networks on a CPU, ship them as plain C."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@gatecell.command()
@click.option("--quick", is_flag=True, help="Shorter training, one network and 500 hours on the boards: some 20 s.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="Networks of each kind; more than one gives means.")
@click.option("--out", type=FILE, default=Path("gatecell-demo"), help="Folder for models, C, figures and a picture.")
@click.option("--processes", type=click.IntRange(1), help="Processes to work in. [default: one per core]")
def demo(quick: bool, seeds: int, out: Path, processes: int | None) -> None:
    """Five years of hourly weather become networks in C on emulated boards."""
    from . import demo as steps

    steps.run(out, quick=quick, seeds=seeds, processes=processes)


@gatecell.command()
@click.argument("data", type=FILE)
@click.option("--target", required=True, metavar="COLUMN", help="Column to forecast.")
@click.option("--horizon", type=click.IntRange(1), default=1, help="Rows ahead.")
@INPUTS
@click.option("--cell", type=click.Choice(list(cells)), default=CLASSIC[-1].name, help="Kind of recurrent layer.")
@click.option("--hidden", type=click.IntRange(1), default=DEFAULT.hidden_size, help="Units of a layer.")
@click.option("--layers", type=click.IntRange(1), default=DEFAULT.num_layers, help="Layers.")
@click.option("--epochs", type=click.IntRange(1), default=DEFAULT.epochs, help="Passes over the training part, at most.")
@click.option("--lr", type=float, default=DEFAULT.lr, help="Learning rate at the beginning.")
@click.option("--noise", type=click.FloatRange(0), default=0.0, help="Noise on the inputs while training, in their standard deviations.")
@click.option("--patience", type=click.IntRange(1), default=12, help="Epochs without a better validation before it stops.")
@click.option("--seed", type=click.IntRange(0), default=0, help="One seed gives one model, bit for bit.")
@click.option("--out", type=FILE, default=Path("model.safetensors"), callback=_writable, help="The model's file.")
def train(
    data: Path,
    target: str,
    horizon: int,
    inputs: list[str] | None,
    cell: str,
    hidden: int,
    layers: int,
    epochs: int,
    lr: float,
    noise: float,
    patience: int,
    seed: int,
    out: Path,
) -> None:
    """Train a network to forecast how much a column of DATA (CSV) changes.

    The rows are split in time order, 70 % to train on, 15 % to validate, 15 % to test. The model takes the inputs in their own units and
    gives column(t + horizon) - column(t).
    """
    table = read_csv(data, inputs and list(dict.fromkeys([*inputs, target])))
    names = inputs or list(table.columns)
    task = Task.split(table.matrix(names), table.matrix([target])[:, 0], horizon)
    recipe = Recipe(hidden_size=hidden, num_layers=layers, epochs=epochs, lr=lr, noise=noise, patience=patience)
    model, history = train_forecaster(task, cell, recipe.fitted(len(task.train)), seed=seed)
    gc.save(model, out)
    before = range(task.val.start)
    forecasts = streamed(model, task.x)[len(before) :, 0]
    click.echo(f"{'RMSE of ' + target:<24}{'validation':>12}{'test':>12}")
    for name, values in (("it stays as it is", np.zeros_like(forecasts)), (cells[cell].title, forecasts)):
        scores = [task.rmse(values[part.start - len(before) : part.stop - len(before)], part) for part in (task.val, task.test)]
        click.echo(f"{name:<24}" + "".join(f"{score:>12.4g}" for score in scores))
    ended = f"{len(history)} epochs (ended by {history.stopped}), the best was {1 + (history.best_epoch or 0)}"
    click.echo(f"{out}: reads {', '.join(names)}; {ended}")


@gatecell.command()
@click.argument("model", type=FILE)
@click.argument("calibration", type=FILE)
@click.option("--scheme", type=click.Choice(list(SCHEMES)), default=next(iter(SCHEMES)), help="Bits of weights and of activations.")
@INPUTS
@click.option("--out", type=FILE, callback=_writable, help="The integer model's file. [default: MODEL_SCHEME.safetensors]")
def quantize(model: Path, calibration: Path, scheme: str, inputs: list[str] | None, out: Path | None) -> None:
    """Make a model of floats one of integers, with ranges from CALIBRATION (CSV)."""
    floats = _floats(model)
    x = _rows(read_csv(calibration, inputs), inputs, trace(floats).input)
    q = gc.quantize(floats, x, scheme=scheme)
    written = out or model.with_name(f"{model.stem}_{scheme}.safetensors")
    gc.save(q, written)
    theirs, ours = streamed(floats, x), streamed(q, x)
    change, size = np.sqrt(np.mean((ours - theirs) ** 2)), np.sqrt(np.mean((theirs - theirs.mean(0)) ** 2))
    click.echo(f"{written}: {scheme}, outputs within {change:.3g} of the float model's (root mean square), which vary by {size:.3g}")


@gatecell.command()
@click.argument("model", type=FILE)
@click.option("--out", type=FILE, default=Path("."), help="Folder for NAME.h and NAME.c.")
@click.option("--name", help="C identifier that every name begins with. [default: from the model's file]")
@click.option("--target", type=click.Choice(list(TARGETS)), default=next(iter(TARGETS)), help="What the C is laid out for.")
def export(model: Path, out: Path, name: str | None, target: str) -> None:
    """Write a model, of floats or integers, as C99: NAME.h and NAME.c."""
    written = gc.export_c(gc.load(model), out, name=name or model.stem.replace("-", "_"), target=target)
    click.echo(f"{written.header} and {written.source}: C99 for {target}, nothing else needed")


@gatecell.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@click.option("--board", type=click.Choice(list(BOARDS)), multiple=True, help="An emulated board; may be given more than once.")
@INPUTS
@click.option("--out", type=FILE, callback=_writable, help="CSV file for the outputs.")
def run(model: Path, data: Path, board: tuple[str, ...], inputs: list[str] | None, out: Path | None) -> None:
    """Run a model over DATA (CSV), a row at a time, here and on emulated boards."""
    loaded, table = gc.load(model), read_csv(data, inputs)
    x = _rows(table, inputs, loaded.input if isinstance(loaded, QuantizedModel) else trace(loaded).input)
    y = streamed(loaded, x)
    if out is not None:
        _write(out, table, y)
        click.echo(f"{out}: {len(y)} rows of {y.shape[1]}")
    if not board:
        ranges = zip(y.min(0), y.max(0), y.mean(0), strict=True)
        shown = "; ".join(f"{low:.4g} to {high:.4g}, mean {mean:.4g}" for low, high, mean in ranges)
        click.echo(f"{len(y)} steps; outputs {shown}")
        return
    click.echo(f"{'board':<12}{'as here':>16}{'flash B':>9}{'RAM B':>7}{'stack B':>9}{'instructions a step':>23}")
    wrong = []
    for name in board:
        outputs, measured = run_on_board(loaded, x, name)
        equal = outputs.tobytes() == y.tobytes() and measured.selftest == 0
        same = "bit for bit" if equal else f"to {np.abs(outputs - y).max():.1e}"
        if isinstance(loaded, QuantizedModel) and not equal:
            wrong.append(name)
        counted = "-" if measured.instructions is None else f"{measured.instructions:,.0f}"
        counted += " cycles" if measured.unit == "cycles" else ""
        click.echo(f"{name:<12}{same:>16}{measured.flash:>9,}{measured.ram:>7,}{measured.stack:>9,}{counted:>23}")
    if wrong:
        raise click.ClickException(f"an integer model gave other bits than here on {', '.join(wrong)}")


@gatecell.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@INPUTS
@click.option("--out", type=FILE, default=Path("report"), help="Folder for index.html and its pictures.")
@click.option("--window", type=click.IntRange(1), default=200, help="Steps that the picture of the outputs shows: the last ones.")
def report(model: Path, data: Path, inputs: list[str] | None, out: Path, window: int) -> None:
    """Tell what a MODEL of floats is, takes and loses as integers, over DATA (CSV).

    A page of HTML: the step graph, bytes of each form, ranges of the inputs, errors of w8a8 and w8a16 against floats, and pictures. The
    integers' ranges come from the first 70 % of the rows; the rest judges them. Needs the extra gatecell[report].
    """
    from .. import report as page

    floats, table = _floats(model), read_csv(data, inputs)
    names = inputs or list(table.columns)
    x = _rows(table, names, trace(floats).input)
    click.echo(f"{page.write(floats, x, names, out, title=f'{model.name} over {data.name}', window=window)}")


@gatecell.command()
@click.argument("model", type=FILE, required=False)
def info(model: Path | None) -> None:
    """What this installation has, or what a MODEL's file holds."""
    if model is None:
        click.echo(f"gatecell {gc.__version__}, kernels for {engine.cpu()}, {engine.get_num_threads()} threads")
        for what, names in (("cells", cells), ("schemes", SCHEMES), ("targets", TARGETS), ("boards", BOARDS)):
            click.echo(f"{what:<9}{', '.join(names)}")
        return
    loaded = gc.load(model)
    if isinstance(loaded, QuantizedModel):
        size = sum(a.nbytes for layer in loaded.model.layers for a in (*layer.weights.values(), *layer.m.values(), *layer.b.values()))
        sizes = f"{loaded.input.size} inputs of {loaded.input_type}, {loaded.output.size} outputs"
        click.echo(f"{model}: integers, {loaded.scheme}, {sizes}, {size:,} B of weights, biases and multipliers")
        return
    graph = trace(loaded)
    numbers = sum(a.size for a in graph.parameters.values())
    click.echo(f"{model}: {graph.dtype}, {graph.input.size} inputs, {graph.output.size} outputs, {numbers:,} numbers")
    for step in graph.steps:
        kind = cells[step.settings["cell"]].title if step.op == "recurrence" else ""
        click.echo(f"  {step.name:<16}{step.op:<14}{step.size:>5}  {kind}".rstrip())


def _floats(path: Path) -> Module:
    """A model that is none of integers.  ValueError."""
    model: Module | QuantizedModel = gc.load(path)
    if isinstance(model, QuantizedModel):
        raise ValueError(f"{path}: wanted a model of floats, got one of {model.scheme}")
    return model


def _rows(table: Table, names: Sequence[str] | None, spec: Input) -> Array:
    """(T, inputs) of a model. ValueError: another number of columns than it reads."""
    chosen = list(names or table.columns)
    if spec.kind != "real":
        raise ValueError(f"the model reads {spec.kind}, wanted one that reads columns of numbers")
    if len(chosen) != spec.size and all(name in table.columns for name in chosen):
        raise ValueError(f"the model reads {spec.size} columns, got {len(chosen)}: {', '.join(chosen)}; choose them with --inputs")
    return table.matrix(chosen).astype(np.float32)


def _write(path: Path, table: Table, y: Array) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        stamped = table.time is not None
        out.writerow([*(["time"] if stamped else []), *(f"output_{i}" for i in range(y.shape[1]))])
        for i, row in enumerate(y.tolist()):
            out.writerow([*([str(table.time[i])] if table.time is not None else []), *row])
