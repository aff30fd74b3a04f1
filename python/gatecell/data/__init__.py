"""Data: the table that CSV files become, and the weather that ships with the package.  Not here: features, splits, batches (train/)."""

from __future__ import annotations

from pathlib import Path

from .table import Table, read_csv

WEATHER = Path(__file__).with_name("weather.csv.gz")
"""Five years of hourly weather; README.md beside it says where they come from."""


def weather() -> Table:
    """43,824 hours from 2012-07-01: wind speed (m/s), its direction (degrees), temperature (degrees C), pressure (hPa); none is missing."""
    return read_csv(WEATHER)


__all__ = ["WEATHER", "Table", "read_csv", "weather"]
