"""torch.nn's recurrent layers: names and constructor arguments for Recurrent and RecurrentCell over the cells they mean.

The only file of nn, beside the package's list of names, that knows a cell. Shapes, returned values, errors, and the options by keyword that
every cell has (recompute, zoneout, ...): see recurrent.py.
"""

from __future__ import annotations

from typing import Any

from .module import positive
from .recurrent import Recurrent, RecurrentCell


def _elman(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity: wanted 'tanh' or 'relu', got {nonlinearity!r}")
    return f"rnn_{nonlinearity}"


def _lstm(hidden_size: int, proj_size: int) -> str:
    if not proj_size:
        return "lstm"
    if positive("proj_size", proj_size) >= positive("hidden_size", hidden_size):
        raise ValueError(f"proj_size: wanted less than the {hidden_size} hidden units, got {proj_size}")
    return "lstm_projected"


def _gru(reset_after: bool) -> str:
    return "gru" if reset_after else "gru_before"


class RNN(Recurrent):
    """h = tanh(W x + b + R h + b'), or relu (Elman 1990). Returns output, h_n."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(
            _elman(nonlinearity), input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, **options,
        )  # fmt: skip


class LSTM(Recurrent):
    """Long short-term memory (Gers, Schmidhuber & Cummins 2000); gates stacked i, f, g, o. Returns output, (h_n, c_n).

    proj_size: the output is a linear function of the hidden units, of that many entries (Sak, Senior & Beaufays 2014); 0: these units.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            _lstm(hidden_size, proj_size), input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            dtype=dtype, **options,
        )  # fmt: skip


class GRU(Recurrent):
    """Gated recurrent unit; gates stacked r, z, n; z keeps the old state. Returns output, h_n.

    reset_after: the reset gate acts after the recurrent product, as in torch and cuDNN; False: before it (Cho et al. 2014).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reset_after: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        self.reset_after = bool(reset_after)
        super().__init__(
            _gru(reset_after), input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, **options,
        )  # fmt: skip


class RNNCell(RecurrentCell):
    """One step of RNN: h = cell(x, h)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", dtype: Any = None) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(_elman(nonlinearity), input_size, hidden_size, bias, dtype=dtype)


class LSTMCell(RecurrentCell):
    """One step of LSTM: h, c = cell(x, (h, c))."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = None) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, dtype=dtype)


class GRUCell(RecurrentCell):
    """One step of GRU: h = cell(x, h)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, reset_after: bool = True, dtype: Any = None) -> None:
        self.reset_after = bool(reset_after)
        super().__init__(_gru(reset_after), input_size, hidden_size, bias, dtype=dtype)
