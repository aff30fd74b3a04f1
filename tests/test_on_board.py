"""A user's model on emulated boards by one call: the integers' bits, the floats within their budget, wrong requests.

Not here: the harness (test_boards.py), the C of each cell (test_export.py).
"""

import numpy as np
import pytest

import gatecell
from budgets import BOARD_FLOAT
from conftest import need_board
from gatecell import nn
from gatecell.deploy.boards import BOARDS
from gatecell.deploy.on_board import run_on_board

pytestmark = pytest.mark.board


class Net(nn.Module):
    """Raw units in, two numbers a step out."""

    def __init__(self, cell):
        super().__init__()
        self.units = nn.Standardize(np.array([1, 20, -3], np.float32), np.array([2, 5, 0.1], np.float32))
        self.layer = getattr(nn, cell)(3, 10, batch_first=True)
        self.head = nn.Linear(10, 2)

    def forward(self, x):
        return self.head(self.layer(self.units(x))[0])


@pytest.fixture(scope="module", params=["LSTM", "GRU", "RNN"])
def net(request):
    gatecell.manual_seed(len(request.param))
    return Net(request.param)


@pytest.fixture(scope="module")
def data():
    return (np.random.default_rng(3).normal(size=(150, 3)) * [2, 5, 0.1] + [1, 20, -3]).astype(np.float32)


@pytest.mark.parametrize("board", BOARDS)
def test_floats(net, data, board):
    need_board(board)
    y, measured = run_on_board(net, data, board, count=5)
    assert y.shape == (150, 2)
    assert measured.selftest == 0
    assert measured.ram <= 2 * 10 * 4  # two states at most: no weight is copied to RAM
    np.testing.assert_allclose(y, net(data[None]).numpy()[0], rtol=0, atol=BOARD_FLOAT)


@pytest.mark.parametrize("board", ["cortex-m4", "rv32imafc", "atmega2560", "host"])  # on all of them: test_conformance.py
@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
def test_integers(net, data, board, scheme):
    need_board(board)
    q = gatecell.quantize(net, data[None], scheme=scheme)
    x = data.copy()
    x[::10] *= 100  # far beyond what was seen: the rails
    y, measured = run_on_board(q, x, board, count=5)
    np.testing.assert_array_equal(y, q(x[None])[0])
    assert len(np.unique(y)) > 100
    assert measured.selftest == 0
    assert measured.outputs.dtype == np.int16
    assert measured.ram <= 10 * 10  # nothing beside two int16 states of ten units, twice over


def test_wrong_requests(data):
    model = Net("GRU")
    with pytest.raises(ValueError, match="board: want one of"):
        run_on_board(model, data, "cortex-x")
    with pytest.raises(ValueError, match="one sequence wanted, got a batch of 2"):
        run_on_board(model, np.stack([data, data]), "host")
    with pytest.raises(ValueError, match="3 features"):
        run_on_board(model, data[:, :2], "host")
    with pytest.raises(TypeError, match="real numbers"):
        run_on_board(model, data.astype(str), "host")
    with pytest.raises(TypeError, match="model"):
        run_on_board("model.safetensors", data, "host")
