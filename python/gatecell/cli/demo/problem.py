"""The demo's problem: from the weather file to forecasting tasks.  Not here: who solves them (baselines.py, networks.py)."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from ...data import Table, weather
from ...train.forecast import Task

Array = npt.NDArray[np.float64]

HORIZONS = (1, 24)
"""Hours ahead."""
WARM_UP = 168
"""Hours that a network runs before those that are scored, its state beginning at zero: as long as the longest window of the baselines."""

WEATHER = ("temperature", "pressure", "wind speed", "wind from east", "wind from north")
CHANGES = ("temperature change", "pressure change")
CALENDAR = ("hour sin", "hour cos", "year sin", "year cos")
INPUTS = (*WEATHER, *CHANGES, *CALENDAR)
"""What a network gets each hour: degrees C, hPa, m/s three times; degrees C and hPa since the hour before; its place in day and year."""


def inputs(table: Table) -> Array:
    """(T, 11) in the order of INPUTS: what a device with a thermometer, a wind vane, a barometer and a clock has at that hour."""
    assert table.time is not None
    temperature, pressure = table["T2M_degC"], table["PS_hPa"]
    speed, direction = table["WS50m_m/s"], np.deg2rad(table["WD50m_deg"])
    since_midnight = table.time - table.time.astype("datetime64[D]")
    since_new_year = table.time - table.time.astype("datetime64[Y]")
    day = 2 * np.pi * (since_midnight / np.timedelta64(1, "D"))
    year = 2 * np.pi * (since_new_year / np.timedelta64(1, "D")) / 365.2425
    return np.stack(
        [
            temperature,
            pressure,
            speed,
            speed * np.sin(direction),
            speed * np.cos(direction),
            np.diff(temperature, prepend=temperature[0]),
            np.diff(pressure, prepend=pressure[0]),
            np.sin(day),
            np.cos(day),
            np.sin(year),
            np.cos(year),
        ],
        axis=1,
    )


def tasks(table: Table) -> dict[int, Task]:
    """One task per horizon, split in time order 70/15/15; the parts of all are cut at the same hours."""
    x = inputs(table)
    return {h: Task.split(x, table["T2M_degC"], h) for h in HORIZONS}


@functools.cache
def weather_tasks() -> dict[int, Task]:
    """`tasks` of the weather that ships, read once in each process."""
    return tasks(weather())


def rows(task: Task, part: range) -> npt.NDArray[np.float32]:
    """(WARM_UP + len(part), I): a part's inputs, after those of the week before it."""
    return np.ascontiguousarray(task.x[part.start - WARM_UP : part.stop], np.float32)
