"""Random models of every cell and scheme on every board: the Python definition's bits.  A sample; campaigns/boards.py runs hundreds.

Not here: the harness (test_boards.py), floats (test_on_board.py), what a model costs (test_costs.py).
"""

import re
from itertools import pairwise

import numpy as np
import pytest

import conformance
from conftest import need_board
from gatecell.deploy import boards
from gatecell.deploy.boards import BOARDS
from gatecell.emit.targets import TARGETS

pytestmark = pytest.mark.board


@pytest.fixture(scope="module")
def cases():
    """Every cell once, schemes in turn; small, for a board that holds them all."""
    count = len(conformance.integer_cells())
    found = [conformance.draw(seed + count * (seed % 3), largest=11) for seed in range(count)]
    for case in found:
        case.check()
    return found


@pytest.mark.parametrize("board", BOARDS)
def test_random_models_have_the_same_bits(cases, tmp_path, board):
    """All of them in one program, compiled once."""
    need_board(board)
    header, source = conformance.program(cases, board if board in TARGETS else "generic")
    (tmp_path / "all.h").write_text(header)
    (tmp_path / "all.c").write_text(source)
    x, want = conformance.rows(cases)
    got = boards.run(tmp_path, "all", board, x, optimise="-Os" if board.startswith("at") else "-O2", count=0)
    wrong = [case.title for case, at in zip(cases, places(cases), strict=True) if (got.outputs[:, at] != want[:, at]).any()]
    assert not wrong
    assert got.selftest == 0


def places(cases):
    """Each case's columns of the outputs."""
    return [slice(int(a), int(b)) for a, b in pairwise(np.cumsum([0, *(c.y.shape[1] for c in cases)]))]


def test_the_check_sees_trivial_models(cases):
    """A constant output, gates at their ends, and inputs that never reach a rail are each refused."""
    good = cases[0]
    for change in ({"distinct": 99}, {"saturated": 0.95}, {"at_rails": 0.0}):
        fields = {**good.__dict__, **change}
        with pytest.raises(AssertionError):
            conformance.Case(**fields).check()


def test_the_program_holds_every_model(cases):
    _, source = conformance.program(cases, "generic")
    assert len(re.findall(r"^int m\d+_selftest\(void\)", source, re.MULTILINE)) == len(cases)
    assert source.count("tanh_table[514] =") == 1
