"""The demo's networks as integers and as C: quantised, scored, run on emulated boards.  Not here: how any of that is done (deploy/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...deploy.board_build import ToolMissing
from ...deploy.board_table import BOARDS, Board
from ...deploy.on_board import run_on_board
from ...deploy.quantize import quantize
from ...deploy.quantized import QuantizedModel
from ...tensor.autograd import no_grad
from .networks import Trained
from .problem import WARM_UP, rows, weather_tasks
from .workers import Progress

Array = npt.NDArray[Any]

SCHEMES = ("w8a8", "w8a16")
FLOAT = "float"
FORMS = (FLOAT, *SCHEMES)
BOARD_NAMES = ("cortex-m4", "cortex-m3", "rv32imafc")
ROUNDING = 1e-4
"""Degrees by which floats on a board may differ from the desktop's: other orders of sums, fused products; 3e-6 was met."""


@dataclass(frozen=True)
class Quantised:
    """A network in all integer schemes: their arrays, and RMSE of the test part by scheme."""

    trained: Trained
    arrays: dict[str, dict[str, Array]]
    test: dict[str, float]

    def model(self, scheme: str) -> QuantizedModel:
        return QuantizedModel.from_arrays(self.arrays[scheme])


def quantise(trained: Trained, progress: Progress) -> Quantised:
    """Ranges come from the training part alone."""
    task = weather_tasks()[trained.job.horizon]
    model, x = trained.model(), rows(task, task.test)
    arrays, errors = {}, {}
    for done, scheme in enumerate(SCHEMES, 1):
        q = quantize(model, task.x[: task.train.stop], scheme)
        arrays[scheme] = q.to_arrays()
        errors[scheme] = task.rmse(q(x)[WARM_UP:], task.test)
        progress(done / len(SCHEMES))
    return Quantised(trained, arrays, errors)


@dataclass(frozen=True)
class BoardJob:
    """One network in one form, FLOAT or a scheme, on one board. hours: of the test part, from its beginning; None: all."""

    network: Quantised
    form: str
    board: str
    hours: int | None = None

    @property
    def cost(self) -> float:
        """Time it takes, roughly: a core without a floating-point unit is slow on floats."""
        return 3.0 if self.form == FLOAT else 1.0


@dataclass(frozen=True)
class OnBoard:
    """What a network did and took on a board; bytes.

    hours: scored. distance: largest difference from the desktop, degrees. equal: bit for bit. missing: Debian packages without which the
    board could not be run; then nothing else is known.
    """

    job: BoardJob
    hours: int = 0
    test: float = 0.0
    distance: float = 0.0
    equal: bool = False
    flash: int = 0
    ram: int = 0
    stack: int = 0
    instructions: float | None = None
    missing: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Not what the desktop computes: other integers, or floats beyond ROUNDING."""
        return not (self.missing or self.equal or (self.job.form == FLOAT and self.distance <= ROUNDING))


def on_board(job: BoardJob, progress: Progress) -> OnBoard:
    """Export, compile, emulate, compare."""
    trained = job.network.trained
    task = weather_tasks()[trained.job.horizon]
    part = task.test if job.hours is None else task.test[: job.hours]
    x = rows(task, part)
    integers = None if job.form == FLOAT else job.network.model(job.form)
    with no_grad():
        expected = trained.model()(x[:, None])[0].numpy()[:, 0] if integers is None else integers(x)
    try:
        output, measured = run_on_board(integers or trained.model(), x, job.board)
    except ToolMissing:
        return OnBoard(job, missing=packages(BOARDS[job.board]))
    return OnBoard(
        job,
        hours=len(part),
        test=task.rmse(output[WARM_UP:], part),
        distance=float(np.abs(output - expected).max()),
        equal=output.tobytes() == expected.astype(np.float32).tobytes() and measured.selftest == 0,
        flash=measured.flash,
        ram=measured.ram,
        stack=measured.stack,
        instructions=measured.instructions,
    )


def packages(board: Board) -> tuple[str, ...]:
    """Debian packages that a board's compiler, C library and emulator are in."""
    emulator = () if board.emulator is None else (board.emulator.package,)
    return (board.toolchain.package, board.toolchain.library_package, *emulator)
