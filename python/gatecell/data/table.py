"""Table: named columns of numbers over time, and how a CSV file becomes one.  Not here: dates in other forms than ISO 8601, dialects."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""Cells, in lower case, that stand for no value; they become NaN."""


@dataclass(frozen=True)
class Table:
    """columns: name -> (T,) float64, NaN where the file has no value.  time: (T,) datetime64[s], None when the file has no timestamps."""

    columns: dict[str, Array]
    time: npt.NDArray[np.datetime64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Array:
        """One column, (T,). ValueError names the columns that there are."""
        if name not in self.columns:
            raise ValueError(f"no column {name!r}; the columns are {', '.join(self.columns)}")
        return self.columns[name]

    def matrix(self, names: Sequence[str]) -> Array:
        """(T, len(names)). ValueError: a missing column, or values that are missing; all are named."""
        _want(names, self.columns)
        holes = {name: np.flatnonzero(~np.isfinite(self.columns[name])) for name in names}
        told = [f"{name!r} lacks {len(rows)} (the first in row {rows[0] + 1})" for name, rows in holes.items() if len(rows)]
        if told:
            raise ValueError(f"wanted a number in every row, but {', '.join(told)}")
        return np.stack([self.columns[name] for name in names], axis=1)


def _want(names: Sequence[str], there: Iterable[str]) -> None:
    absent = [name for name in names if name not in there]
    if absent:
        raise ValueError(f"missing column{'s' * (len(absent) > 1)} {', '.join(map(repr, absent))}; the columns are {', '.join(there)}")


def read_csv(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Table:
    """Read a CSV file, plain or gzipped: a header line, then one line per time step.

    The first column may hold timestamps (ISO 8601: 2012-07-01, 2012-07-01 13:00, 2012-07-01T13:00:00Z), which must increase; every other
    column is of numbers, or every one of `columns`, where these are named: the others are not looked at. ValueError: what is not so, with
    row and column; OSError: the file cannot be read.
    """
    header, rows = _cells(Path(path))
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        raise ValueError(f"{path}: wanted a header of different names, got {header}")
    if not rows:
        raise ValueError(f"{path}: wanted a header and at least one row, got the header alone")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ValueError(f"{path}, row {number}: wanted {len(names)} cells, got {len(row)}")
    texts = dict(zip(names, zip(*rows, strict=True), strict=True))
    time = None
    if not _is_number(rows[0][0]):
        time = _times(path, names[0], texts.pop(names[0]))
    if columns is not None:
        _want(columns, texts)
        texts = {name: texts[name] for name in columns}
    if not texts:
        raise ValueError(f"{path}: wanted a column of numbers, got only {names[0]!r}")
    return Table({name: _numbers(path, name, cells) for name, cells in texts.items()}, time)


def _cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text; empty lines are no rows."""
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")  # spreadsheets write a byte-order mark
        lines = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from None
    if not lines:
        raise ValueError(f"{path}: wanted a header line, got an empty file")
    return lines[0], lines[1:]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip().lower() in MISSING
    return True


def _numbers(path: object, name: str, cells: Sequence[str]) -> Array:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:  # the slow way finds the cell, or that all of them stand for something
        values = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if not _is_number(cell):
                raise ValueError(f"{path}, row {row + 1}, column {name!r}: wanted a number, got {cell!r}") from None
            if cell.strip().lower() not in MISSING:
                values[row] = float(cell)
        return values


def _times(path: object, name: str, cells: Sequence[str]) -> npt.NDArray[np.datetime64]:
    try:
        time = np.array([cell.strip().removesuffix("Z") for cell in cells], dtype="datetime64[s]")
    except ValueError as error:
        raise ValueError(f"{path}, column {name!r}: wanted numbers or ISO 8601 timestamps ({error})") from None
    back = np.flatnonzero(~(np.diff(time) > np.timedelta64(0, "s")))  # NaT compares false
    if len(back):
        raise ValueError(f"{path}, column {name!r}: wanted timestamps that increase, but row {back[0] + 2} has {cells[back[0] + 1]!r}")
    return time
