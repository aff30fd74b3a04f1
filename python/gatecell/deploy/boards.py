"""Runs exported models on emulated boards: outputs bit for bit, flash, RAM, stack, and the exact number of instructions of a step.

Not here: what a board is (board_table.py), how a model is built for it (board_build.py), how a model becomes C.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .board_build import EMULATOR, BoardError, BoardTimeout, Build, CompileError, Layout, ToolMissing, call
from .board_table import BOARDS, Board

__all__ = ["BOARDS", "Board", "BoardError", "BoardTimeout", "CompileError", "Measurement", "ToolMissing", "run"]


@dataclass(frozen=True)
class Measurement:
    """What a model did and took on a board; bytes throughout.

    outputs       (T, outputs) in NAME_output_t's own type
    flash         what NAME_init and NAME_step add to a firmware: text, constants, initial values, library routines they call
    code          flash less the arrays of weights (constants whose names begin with NAME_w); tables count as code
    library       the names of those routines, such as memcpy or, without a floating-point unit, float arithmetic
    ram           sizeof(NAME_state), and variables of the model beside it (an exported model has none)
    stack         the deepest of NAME_step: the greater of what was used during the run (a painted stack) and the compiler's bound
    stack_used, stack_bound   the two; the bound is None where the compiler has none (library routines, calls through pointers)
    counts        (steps,) instructions of each counted NAME_step, from its first to its return; empty where none were counted
    unit          of the counts: "instructions", or "cycles" on AVR
    selftest      what NAME_selftest returned: 0 when the board computes the desktop's bits
    """

    outputs: npt.NDArray[np.generic]
    flash: int
    code: int
    library: tuple[str, ...]
    ram: int
    stack: int
    stack_used: int
    stack_bound: int | None
    counts: npt.NDArray[np.uint32]
    selftest: int
    unit: str = "instructions"

    @property
    def instructions(self) -> float | None:
        """Instructions (or cycles: `unit`) per step, the mean over `counts`; None where none were counted."""
        return float(self.counts.mean()) if self.counts.size else None


def find(name: str) -> Board:
    """The record of a board.  ValueError for a name that is none."""
    if name not in BOARDS:
        raise ValueError(f"board: want one of {', '.join(BOARDS)}; got {name!r}")
    return BOARDS[name]


def run(
    folder: str | Path,
    name: str,
    board: str,
    inputs: npt.ArrayLike,
    *,
    optimise: str = "-O3",
    count: int = 200,
    timeout: float = 120.0,
) -> Measurement:
    """Builds NAME.c of `folder` for a board and takes it through `inputs`, the state carried from row to row.

    inputs: (T, inputs) in NAME_input_t's own type (int8, int16 or float32), T >= 1.  `count`: the first so many rows are run once more
    under the emulator's instruction clock, to count; the machine at hand counts none.  `timeout`: seconds for each run.
    TypeError, ValueError: inputs of another type or shape, no such board, name, or file.  ToolMissing, CompileError, BoardTimeout,
    BoardError: what the tools said.
    """
    record = find(board)
    source = Path(folder).resolve()
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise ValueError(f"name: want a C identifier; got {name!r}")
    if re.fullmatch(r"-O([0123sz]|fast)?", optimise) is None:
        raise ValueError(f"optimise: want a level such as '-O3' or '-Os'; got {optimise!r}")
    if count < 0:
        raise ValueError(f"count: want 0 or more steps; got {count}")
    for file in (f"{name}.h", f"{name}.c"):
        if not (source / file).is_file():
            raise ValueError(f"folder: want one with {file} in it; got {source}")

    with tempfile.TemporaryDirectory(prefix="gatecell-") as scratch:
        build = Build(record, source, name, optimise, Path(scratch))
        program = build.runner()
        layout = build.layout()
        rows = _checked(inputs, layout)
        outputs, (_, used, selftest), _ = _execute(record, program, layout, rows, False, timeout)
        counts = np.zeros(0, np.uint32)
        if record.tick and count:
            again, _, counts = _execute(record, program, layout, rows[:count], True, timeout)
            if again.tobytes() != outputs[:count].tobytes():
                raise BoardError(f"{name} gave other outputs in its second run on {board}: it depends on more than its state and inputs")
        sizes, bound = build.sizes(), build.stack_bound()
    return Measurement(
        outputs=outputs,
        flash=sizes.flash,
        code=sizes.flash - sizes.weights,
        library=sizes.library,
        ram=layout.state_bytes + sizes.variables,
        stack=max(used, bound or 0),
        stack_used=used,
        stack_bound=bound,
        counts=counts,
        selftest=selftest,
        unit=record.unit,
    )


def _checked(inputs: npt.ArrayLike, layout: Layout) -> npt.NDArray[np.generic]:
    """The rows as the runner reads them."""
    rows = np.asarray(inputs)
    if rows.dtype != layout.input_type:
        raise TypeError(f"inputs: want {layout.input_type}, the model's NAME_input_t; got {rows.dtype}")
    if rows.ndim != 2 or rows.shape[1] != layout.inputs or rows.shape[0] == 0:
        raise ValueError(f"inputs: want shape (T, {layout.inputs}) with T >= 1; got {rows.shape}")
    return np.ascontiguousarray(rows)


def _execute(
    board: Board, program: Path, layout: Layout, rows: npt.NDArray[np.generic], counting: bool, timeout: float
) -> tuple[npt.NDArray[np.generic], tuple[int, int, int], npt.NDArray[np.uint32]]:
    """One run: outputs (T, outputs); rows done, stack, selftest; counts (T,) when counting.  The files are runner.c's."""
    work = program.parent
    (work / "input.bin").write_bytes(np.uint32(counting).tobytes() + rows.tobytes())
    if board.emulator is None:
        call((str(program),), board.toolchain.package, work, timeout)
    else:
        flags = board.emulator.counting if counting else ()
        own = (str(work / EMULATOR),) if board.emulator.source else ()
        call((*own, *board.emulator.command, program.name, *flags), board.emulator.package, work, timeout)
    outputs = np.fromfile(work / "output.bin", layout.output_type).reshape(-1, layout.outputs)
    done, stack, selftest = (int(value) for value in np.fromfile(work / "result.bin", np.int32))
    if done != rows.shape[0] or outputs.shape[0] != done:
        raise BoardError(f"{board.name} did {done} of {rows.shape[0]} rows")
    return outputs, (done, stack, selftest), np.fromfile(work / "counts.bin", np.uint32)
