"""A model's report over a series: what it is, what its forms take, how far its integers are from its floats.  HTML and two pictures.

Not here: the layout of the page (page.html), the command (cli/), the integers themselves (deploy/).
Letters: T time, I input, O output.  Needs the extra gatecell[report].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..algebra.model import SCHEMES, FloatModel
from ..cells import cells, scans
from ..deploy.chain import float_model
from ..deploy.graph import StepGraph
from ..deploy.quantize import quantize
from ..deploy.quantized import QuantizedModel
from ..deploy.stream import streamed
from ..deploy.trace import trace
from ..nn import Module
from ..tensor.dtypes import Array
from .gates import gates as gates

CALIBRATED = 0.7
"""Share of the series, from its beginning, that the integers' ranges come from; the rest judges them."""
SHOWN = 4
"""Outputs that are drawn, at most."""


@dataclass(frozen=True)
class Table:
    """A title, a header, rows; the first column is text, the others are figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


def write(model: Module | StepGraph, x: Array, names: Sequence[str], folder: Path, *, title: str, window: int = 200) -> Path:
    """folder/index.html and its pictures; the path of the page.

    x: (T, I) in the model's units, its columns called `names`. window: steps that the picture of the outputs shows, the last ones.
    ImportError: the extra is missing.  ValueError: a series too short to be parted.  Unsupported: a model without an integer form, and why.
    """
    page, figure = _extra()
    if len(x) < 2 or window < 1:
        raise ValueError(f"report: at least 2 steps and a window of at least 1 wanted, got {len(x)} and {window}")
    graph = model if isinstance(model, StepGraph) else trace(model)
    cut = max(1, int(CALIBRATED * len(x)))
    floats = float_model(graph)
    integers = {scheme: quantize(graph, _sequence(graph, x[:cut]), scheme) for scheme in SCHEMES}
    outputs = {"float": streamed(graph, x)} | {scheme: streamed(q, x) for scheme, q in integers.items()}
    judged = {form: y[cut:] for form, y in outputs.items()}
    tables = [steps(graph), sizes(floats, integers), ranges(integers, x, cut, names), errors(judged)]
    folder.mkdir(parents=True, exist_ok=True)
    _draw(figure, folder / "outputs.png", len(x), {form: y[-window:] for form, y in outputs.items()}, "output")
    _draw(figure, folder / "errors.png", len(x), {scheme: judged[scheme] - judged["float"] for scheme in SCHEMES}, "error of output")
    pictures = {"outputs.png": f"The last {min(window, len(x))} steps", "errors.png": "Integers less floats, over the steps that judge"}
    text = page.render(title=title, tables=tables, pictures=pictures, steps=len(x), calibrated=cut)
    (folder / "index.html").write_text(text, encoding="utf-8")
    return folder / "index.html"


def _extra() -> tuple[Any, Any]:
    """The page's template, and what pictures are drawn with."""
    try:
        import jinja2
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError(f"a report wants {str(e.name).split('.')[0]}, which is not installed: pip install 'gatecell[report]'") from None
    place = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return place.get_template("page.html"), Figure


def _sequence(graph: StepGraph, x: Array) -> Array:
    """(T, I) as the model takes one sequence, without its batch axis."""
    return x if "feature" in graph.input.axes else x[:, 0]


def steps(graph: StepGraph) -> Table:
    """What is computed at one time step, in order."""
    rows = []
    for s in graph.steps:
        given = " + ".join(str(graph.size(i)) for i in s.inputs if i not in graph.parameters)
        what = cells[s.settings["cell"]].title if s.op == "recurrence" else s.op
        what = scans[s.settings["scan"]].title if s.op == "scan" else what
        rows.append([s.name, what, f"{given} → {s.size}", f"{sum(w.size for w in graph.weights_of(s).values()):,}"])
    return Table("The step graph", ["step", "what it is", "values", "parameters"], rows)


def sizes(floats: FloatModel, integers: Mapping[str, QuantizedModel]) -> Table:
    """What each form of the model stores: layers as they are exported, arithmetic around them folded in."""
    forms = {scheme: q.model for scheme, q in integers.items()}
    scaled = (floats.mean != 0).any() or (floats.std != 1).any()
    units = (p.scale.nbytes + p.offset.nbytes + 4 * p.outputs for p in forms.values())
    rows: list[list[Any]] = [["units of inputs and outputs", "", 8 * floats.inputs if scaled else 0, *units]]
    for k, layer in enumerate(floats.layers):
        parts = ([p.layers[k].weights, p.layers[k].m, p.layers[k].b, p.layers[k].params] for p in forms.values())
        taken = [sum(a.nbytes for arrays in part for a in arrays.values()) for part in parts]
        shape = f"{layer.sizes['I']} → {layer.width}"
        rows.append([layer.program.name, shape, 4 * sum(w.size for w in layer.weights.values()), *taken])
    columns = list(zip(*rows, strict=True))[2:]
    rows.append(["all", f"{floats.inputs} → {floats.layers[-1].width}", *map(sum, columns)])
    shown = [[*row[:2], *(f"{n:,}" for n in row[2:])] for row in rows]
    return Table("Bytes of weights, biases and scales", ["layer", "values", "float", *forms], shown)


def ranges(integers: Mapping[str, QuantizedModel], x: Array, cut: int, names: Sequence[str]) -> Table:
    """What the inputs were, what the integers take in (the same in every scheme), and the share of the judging steps beyond that."""
    p = next(iter(integers.values())).model
    top = p.scale * (2 ** (p.input_bits - 1) - 1)
    rows = []
    for name, column, offset, reach, step in zip(names, x.T.astype(np.float64), p.offset, top, p.scale, strict=True):
        seen = (f"{v:.4g}" for v in (column.min(), column.max(), column.mean(), column.std()))
        beyond = 100 * np.mean(np.abs(column[cut:] - offset) > reach)
        rows.append([name, *seen, f"{offset - reach:.4g} to {offset + reach:.4g}", f"{step:.2g}", f"{beyond:.2g} %"])
    return Table("The inputs", ["column", "lowest", "highest", "mean", "deviation", "integers reach", "in steps of", "beyond"], rows)


def errors(outputs: Mapping[str, Array]) -> Table:
    """Integers against floats, (T, O) each, output by output."""
    y = outputs["float"].astype(np.float64)
    rows = []
    for scheme, got in list(outputs.items())[1:]:
        for k, error in enumerate((got - y).T):
            rmse, power = math.sqrt(np.mean(error**2)), np.mean((y[:, k] - y[:, k].mean()) ** 2)
            ratio = f"{10 * math.log10(power / rmse**2):.1f} dB" if rmse and power else "-"
            rows.append([f"output {k}, {scheme}", f"{rmse:.3g}", f"{np.abs(error).max():.3g}", f"{math.sqrt(power):.4g}", ratio])
    return Table("Integers against floats", ["", "RMSE", "largest error", "deviation of the output", "signal to noise"], rows)


def _draw(figure: Any, path: Path, end: int, series: Mapping[str, Array], what: str) -> None:
    """(T, O) each, the last step of which is step `end`: a panel for each of the first outputs."""
    first = next(iter(series.values()))
    shown = min(first.shape[1], SHOWN)
    drawn = figure(figsize=(10, 2.6 * shown), layout="constrained")
    t = np.arange(end - len(first), end)
    for k, axes in enumerate(np.atleast_1d(drawn.subplots(shown, 1, sharex=True))):
        for form, y in series.items():
            axes.plot(t, y[:, k], label=form, **({"color": "0.75", "linewidth": 3} if form == "float" else {"linewidth": 1}))
        axes.set_ylabel(f"{what} {k}")
        axes.legend(loc="upper right", frameon=False)
    axes.set_xlabel("step")
    drawn.savefig(path, dpi=110)
