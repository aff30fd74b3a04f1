"""A user's model on an emulated board, in one call: exported, built, run over data, its results as real numbers again.

Not here: the export (export.py), the harness (boards.py).  Letters: T time, I input, O output.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from ..emit.targets import TARGETS
from ..nn import Module
from ..tensor.dtypes import Array
from .boards import Measurement, find, run
from .door import numbers
from .export import export_c
from .graph import StepGraph
from .layout import timed
from .quantized import QuantizedModel

NAME = "model"


def run_on_board(
    model: Module | StepGraph | QuantizedModel, data: Any, board: str, *, optimise: str = "-O3", count: int = 200, timeout: float = 120.0
) -> tuple[Array, Measurement]:
    """One sequence of real numbers through the model's C on a board -> float32 (T, O), the output of every step; what it took.

    data: (T, I), or in the model's own layout with a batch of one.  The C is of the board's own target where there is one, else generic.
    `optimise`, `count`, `timeout`: as `boards.run` takes them.
    TypeError, ValueError: no such board, data that the model would not take; Unsupported: a model without a C form; and what `boards.run`
    raises: ToolMissing, CompileError, BoardTimeout, BoardError.
    """
    find(board)
    values = numbers("data", data)
    with tempfile.TemporaryDirectory(prefix="gatecell-") as folder:
        exported = export_c(model, folder, name=NAME, target=board if board in TARGETS else "generic")
        rows, _ = timed(exported.input, values)
        if rows.shape[1] != 1:
            raise ValueError(f"data: one sequence wanted, got a batch of {rows.shape[1]}")
        x = model.quantize_input(rows[:, 0]) if isinstance(model, QuantizedModel) else rows[:, 0].astype(np.float32)
        measured = run(folder, NAME, board, x, optimise=optimise, count=count, timeout=timeout)
    y: Array = measured.outputs
    return model.dequantize_output(y).reshape(y.shape) if isinstance(model, QuantizedModel) else y, measured
