"""What a model costs on every board, exact: instructions (cycles) of its steps, bytes of flash and RAM, stack.

Counts are of one compiler's code: with another version than budgets.py names, only the bits are compared.

Not here: the M4's goals (test_c.py).
"""

import subprocess

import numpy as np
import pytest

import budgets
import golden
from conftest import need_board
from gatecell.algebra.integer import Vector
from gatecell.algebra.model import IntegerModel
from gatecell.cells import cells
from gatecell.deploy import boards
from gatecell.deploy.boards import BOARDS
from gatecell.deploy.chain import linear
from gatecell.deploy.integer import Runner
from gatecell.emit.c import Golden, integer_c

pytestmark = pytest.mark.board


def model():
    """13 inputs, 20 units, one output; its integers come from a counter, so that no machine's arithmetic has a say."""
    first = golden.integer_layer(cells["lstm"], {"I": 13, "H": 20}, Vector("input", "I", 0, -127, 127), True, True, 1)
    out = first.program.vectors[first.program.output]
    head = golden.integer_layer(linear, {"I": 20, "O": 1}, Vector("input", "I", out.frac, out.lo, out.hi), False, False, 2)
    scale = np.full(13, 0.25, np.float32)
    return IntegerModel((first, head), "w8a8", 8, scale, np.zeros(13, np.float32), np.array([12], np.int32))


@pytest.mark.parametrize("board", [name for name, board in BOARDS.items() if board.emulator])
def test_costs_are_exact(tmp_path, board):
    need_board(board)
    q = model()
    x = golden.numbers(20 * 13, -127, 127, 7).reshape(20, 13).astype(np.int8)
    y = Runner(q, check=True).run(x[:, None])[:, 0]
    files = integer_c(q, "cost", board, Golden(x[:3], y[:3]))
    (tmp_path / "cost.h").write_text(files.header)
    (tmp_path / "cost.c").write_text(files.source)
    m = boards.run(tmp_path, "cost", board, x)
    np.testing.assert_array_equal(m.outputs, y)
    assert len(np.unique(y)) > 10
    chain = BOARDS[board].toolchain.prefix
    version = subprocess.run([f"{chain}gcc", "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=True).stdout.strip()
    if version == budgets.BOARD_COMPILERS[chain]:
        assert (int(m.counts.sum()), m.flash, m.ram, m.stack) == budgets.BOARD_COSTS[board]
