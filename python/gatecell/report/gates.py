"""Pictures of what a model's recurrent layers computed: a panel for each gate and state, units over time.

Not here: the values (nn/inspection.py), the report over a series (__init__.py).  Needs the extra gatecell[report].
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..algebra.gates import named
from ..algebra.ranges import ranges
from ..nn import Module
from ..nn.inspection import Seen, inspect
from ..tensor.dtypes import Array

SIZE = (10, 1.3)
"""Inches of a panel."""


def gates(model: Module, x: Any, path: str | os.PathLike[str], *, row: int = 0, **kwargs: Any) -> Path:
    """Draw every gate and state of the model over one row of a batch; the format is the path's: .png, .svg, .pdf.

    x, kwargs: what the model is called with.  Colours run over what the equations allow (0 to 1, -1 to 1), else as far as the values do;
    white is 0.  ImportError: the extra is missing.  ValueError, TypeError: as gatecell.inspect; a row that the batch has not.
    """
    figure = drawn(inspect(model, x, **kwargs), row)
    figure.savefig(path, dpi=110)
    return Path(path)


def drawn(seen: Mapping[str, Seen], row: int = 0) -> Any:
    """matplotlib's Figure of what `inspect` gave."""
    try:
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("a picture wants matplotlib, which is not installed: pip install 'gatecell[report]'") from e
    panels = [(layer, name, one) for layer, one in seen.items() for name in one]
    rows = next(iter(panels[0][2].values())).shape[1]
    if not 0 <= row < rows:
        raise ValueError(f"row: wanted 0 to {rows - 1}, got {row}")
    figure = Figure(figsize=(SIZE[0], 0.6 + SIZE[1] * len(panels)), layout="constrained")
    for axes, (layer, name, one) in zip(np.atleast_1d(figure.subplots(len(panels), 1)), panels, strict=True):
        values = one[name][:, row]
        low, high = span(one, name, values)
        colours = "RdBu_r" if low else "Blues"
        image = axes.imshow(values.T, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=high)
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_yticks([])
        if name == next(iter(one)):
            axes.set_title(f"{layer}: {one.cell.title}{', from the last step' if one.reverse else ''}", loc="left")
    axes.set_xlabel("step")
    return figure


def span(one: Seen, name: str, values: Array) -> tuple[float, float]:
    """Of the colours: from 0, or the same on both sides of it."""
    p = one.cell.program
    low, high = ranges(p)[p.states[name] if name in one.states else named(p)[name]]
    bound = max(-low, high)
    if not bound < np.inf:
        bound = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    return (0.0 if low >= 0 else -bound), bound
