"""The cells of the package, one page each.  A new cell adds its page and its line here."""

from . import elman, gru, lstm
from .cell import Cell, Registry, cell, cells, record

CLASSIC: tuple[Cell, ...] = (elman.rnn_tanh, lstm.lstm, gru.gru)
"""The three that every comparison shows."""

__all__ = ["CLASSIC", "Cell", "Registry", "cell", "cells", "record"]
