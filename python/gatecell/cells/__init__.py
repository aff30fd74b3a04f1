"""The cells of the package, one page each.  A new cell adds its page and its line here: importing a page registers it."""

from . import causal_conv as causal_conv
from . import elman as elman
from . import gru as gru
from . import lstm as lstm
from . import minimal as minimal
from . import mlstm as mlstm
from . import odyssey as odyssey
from . import s4d as s4d
from . import selective as selective
from . import wkv as wkv
from . import xlstm as xlstm
from .cell import Cell, Registry, cell, cells, record
from .options import by_name
from .scan import Scan, Scans, scan, scan_record, scans

cells.spelled = by_name

CLASSIC: tuple[Cell, ...] = (elman.rnn_tanh, lstm.lstm, gru.gru)
"""The three that every comparison shows."""

__all__ = ["CLASSIC", "Cell", "Registry", "Scan", "Scans", "cell", "cells", "record", "scan", "scan_record", "scans"]
