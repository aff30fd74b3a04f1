"""What every test file shares: tools that may be missing, hypothesis's profile, numbers that are the same on every run.

Not here: tolerances (budgets.py), oracles (textbook.py), and fixtures that only one file needs.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""

# No deadline: a cold cache is no defect.  Derandomised: the same commit gives the same verdict; campaigns look further.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("suite")


# A shell's background job ignores Ctrl-C, and so would its children: the tests that send one are run from anywhere.
signal.signal(signal.SIGINT, signal.default_int_handler)


def missing(what: str) -> NoReturn:
    """End the test for want of a tool: a skip on a developer's machine, a failure where CI=true promises a whole one."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and with CI=true nothing may be", pytrace=False)
    pytest.skip(f"{what} is missing")


def need(*tools: str) -> None:
    """The test runs these programs; see `missing` for when one is not there."""
    for tool in tools:
        if shutil.which(tool) is None:
            package = re.search(rf"^has {re.escape(tool)} (\S+)$", (ROOT / ".ci" / "packages").read_text(), re.MULTILINE)
            missing(f"{tool} (Debian: {package[1]})" if package else tool)


def need_board(name: str) -> None:
    """The test runs a model on this board: its compiler, its emulator and their libraries."""
    from gatecell.deploy.boards import BOARDS

    board = BOARDS[name]
    need(f"{board.toolchain.prefix}gcc")
    if board.emulator is None:
        return
    if not board.emulator.source:
        need(board.emulator.command[0])
    elif not Path("/usr/include/simavr/sim_avr.h").exists():
        missing(f"simavr (Debian: {board.emulator.package})")


def need_package(name: str) -> None:
    """The same for a Python package that users may do without."""
    if importlib.util.find_spec(name) is None:
        missing(name)


def hole(values: np.ndarray, at: tuple[int, ...]) -> np.ndarray:
    """A copy with NaN at one place."""
    values = values.copy()
    values[at] = np.nan
    return values


def _seed(request: pytest.FixtureRequest) -> int:
    """A number that depends on the test's name and parameters alone, so that tests may be run in any order, or alone."""
    return int.from_bytes(hashlib.sha256(request.node.nodeid.encode()).digest()[:8], "little")


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Weights that a test draws are the same on every run, ours and torch's."""
    if "gatecell" in sys.modules:
        sys.modules["gatecell"].manual_seed(_seed(request) % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(_seed(request) % 2**32)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of the test's own."""
    return np.random.default_rng(_seed(request))
