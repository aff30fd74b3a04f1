"""CSV tables and the weather that ships: what is read is what the file says, and what is wrong with a file is said."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatecell.data import WEATHER, read_csv, weather


def test_weather_is_five_years_without_a_gap() -> None:
    table = weather()
    assert list(table.columns) == ["WS50m_m/s", "WD50m_deg", "T2M_degC", "PS_hPa"]
    assert len(table) == (5 * 365 + 1) * 24  # 2016 was a leap year
    assert table.time is not None
    assert table.time[0] == np.datetime64("2012-07-01T00:00:00")
    assert (np.diff(table.time) == np.timedelta64(3600, "s")).all()
    x = table.matrix(list(table.columns))
    assert np.isfinite(x).all()
    for name, low, high in (("WS50m_m/s", 0, 40), ("WD50m_deg", 0, 360), ("T2M_degC", -10, 30), ("PS_hPa", 920, 1030)):
        assert low <= table[name].min() < table[name].max() <= high, name


def test_weather_against_another_reader() -> None:
    with gzip.open(WEATHER, "rt") as file:
        rows = list(csv.DictReader(file))
    table = weather()
    for t in (0, 1, 12345, len(rows) - 1):
        assert {name: float(rows[t][name]) for name in table.columns} == {name: column[t] for name, column in table.columns.items()}


def test_weather_is_small_enough_to_ship() -> None:
    assert WEATHER.stat().st_size <= 1_000_000


@given(
    st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], stamps: bool, compressed: bool) -> None:
    names = ["a", "b with, a comma", "c"]
    text = io.StringIO()
    out = csv.writer(text)
    times = np.datetime64("2020-02-28T22:00:00") + np.arange(len(rows)) * np.timedelta64(90, "m")
    out.writerow([*(["when"] if stamps else []), *names])
    for when, row in zip(times, rows, strict=True):
        out.writerow([*([str(when)] if stamps else []), *("" if np.isnan(v) else repr(v) for v in row)])
    path = tmp_path_factory.mktemp("csv") / "data"
    raw = text.getvalue().encode()
    path.write_bytes(gzip.compress(raw) if compressed else raw)
    table = read_csv(path)
    assert (table.time is not None) == stamps
    if table.time is not None:
        assert (table.time == times).all()
    np.testing.assert_array_equal(np.stack([table[name] for name in names], 1), np.array(rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted a header line, got an empty file"),
        ("a,b\n", "the header alone"),
        ("a,a\n1,2\n", "different names"),
        ("a,\n1,2\n", "different names"),
        ("a,b\n1,2\n3\n", "row 2: wanted 2 cells, got 1"),
        ("a,b\n1,2\n3,x\n", "row 2, column 'b': wanted a number, got 'x'"),
        ("a,b\n1,2\n\n3,x\n", "row 2, column 'b': wanted a number, got 'x'"),
        ("t,b\n2020-01-01,2\nyesterday,3\n", "column 't': wanted numbers or ISO 8601 timestamps"),
        ("t,b\n2020-01-02,2\n2020-01-01,3\n", "timestamps that increase, but row 2 has '2020-01-01'"),
        ("t,b\n2020-01-01,2\n2020-01-01,3\n", "timestamps that increase"),
        ("t\n2020-01-01\n", "a column of numbers"),
        ('a,b\n1,"2\n', "not a CSV file"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_csv(path)
    assert str(path) in str(caught.value)


def test_foreign_and_truncated_files(tmp_path: Path) -> None:
    path = tmp_path / "data.csv.gz"
    for raw in (WEATHER.read_bytes()[:5000], b"\x1f\x8b" + bytes(50), b"\x89PNG\r\n\x1a\n\xff\xfe\x00"):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match="not a CSV file"):
            read_csv(path)
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv")


def test_columns_that_are_missing_or_have_holes(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b,c\n1,,3\n4,NaN,6\n7,8,inf\n")
    table = read_csv(path)
    assert len(table) == 3
    with pytest.raises(ValueError, match="missing columns 'x', 'y'; the columns are a, b, c"):
        table.matrix(["a", "x", "y"])
    with pytest.raises(ValueError, match="no column 'x'; the columns are a, b, c"):
        table["x"]
    with pytest.raises(ValueError, match=r"'b' lacks 2 \(the first in row 1\), 'c' lacks 1 \(the first in row 3\)"):
        table.matrix(["a", "b", "c"])
    np.testing.assert_array_equal(table.matrix(["c", "a"][1:]), [[1], [4], [7]])


def test_columns_that_are_not_asked_for_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("when,a,remark,b\n2012-07-01,1,calm,2\n2012-07-02,3,,4\n")
    table = read_csv(path, ["b", "a"])
    assert list(table.columns) == ["b", "a"] and table.time is not None
    np.testing.assert_array_equal(table.matrix(["a", "b"]), [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="column 'remark': wanted a number, got 'calm'"):
        read_csv(path)
    with pytest.raises(ValueError, match="missing column 'c'; the columns are a, remark, b"):
        read_csv(path, ["a", "c"])
