"""The demo: its problem leaks nothing from the future, its baselines are what they say, and the command does all of it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatecell
from budgets import (
    BOARD_FLOAT,
    DEMO_RIDGE,
    DEMO_W8A8,
    DEMO_W8A16,
    WEATHER_CHANGE,
    WEATHER_SHARE,
    WEATHER_SPEED,
    WEATHER_STORED,
    WEATHER_YEAR,
)
from conftest import need, need_package
from gatecell.cells import CLASSIC, Cell
from gatecell.cli.demo import baselines, chip, networks, problem, report, workers
from gatecell.data import weather
from gatecell.deploy.board_table import BOARDS
from gatecell.deploy.integer import Runner
from gatecell.train.forecast import Forecaster, Recipe, Task

COMMAND = [sys.executable, "-c", "from gatecell.cli import main; main()", "demo"]


@pytest.fixture(scope="module")
def tasks() -> dict[int, Task]:
    return problem.weather_tasks()


# -- the problem ----------------------------------------------------------------------------------------------------------------------


def test_inputs_are_what_they_are_called(tasks: dict[int, Task]) -> None:
    table, x = weather(), dict(zip(problem.INPUTS, tasks[1].x.astype(np.float64).T, strict=True))
    np.testing.assert_allclose(x["temperature"], table["T2M_degC"], rtol=WEATHER_STORED)
    np.testing.assert_allclose(x["pressure"], table["PS_hPa"], rtol=WEATHER_STORED)
    np.testing.assert_allclose(np.hypot(x["wind from east"], x["wind from north"]), table["WS50m_m/s"], rtol=WEATHER_SPEED)
    # At hour 0 the wind comes from 202 degrees, from south-south-west.
    assert table["WD50m_deg"][0] == 202
    assert x["wind from east"][0] == pytest.approx(8.138 * np.sin(np.deg2rad(202)), rel=WEATHER_STORED)
    assert x["wind from north"][0] == pytest.approx(8.138 * np.cos(np.deg2rad(202)), rel=WEATHER_STORED)
    np.testing.assert_allclose(x["temperature change"][1:], np.diff(table["T2M_degC"]), atol=WEATHER_CHANGE)
    np.testing.assert_allclose(x["pressure change"][1:], np.diff(table["PS_hPa"]), atol=WEATHER_CHANGE)
    assert table.time is not None
    np.testing.assert_allclose(x["hour cos"][table.time.astype("datetime64[h]").astype(int) % 24 == 12], -1)
    april = table.time == np.datetime64("2014-04-02T07:00:00")  # a quarter of a year after its beginning
    assert x["year sin"][april] == pytest.approx(1, abs=WEATHER_YEAR)


def test_the_parts_follow_each_other_and_share_no_value(tasks: dict[int, Task]) -> None:
    for h, task in tasks.items():
        used = [(part.start, part.stop - 1 + h) for part in (task.train, task.val, task.test)]  # hours whose temperature counts
        assert used == [(0, 30675), (30676, 37249), (37250, 43823)]
        shares = np.array([part.stop - part.start + h for part in (task.train, task.val, task.test)]) / len(task.x)
        np.testing.assert_allclose(shares, [0.70, 0.15, 0.15], atol=WEATHER_SHARE)


def test_nothing_learns_from_what_comes_later(tasks: dict[int, Task]) -> None:
    """Another future changes neither the statistics nor the weights, nor what ridge regression does on the validation part."""
    task = tasks[24]
    later = np.arange(len(task.x)) >= task.test.start
    other = dataclasses.replace(
        task, x=np.where(later[:, None], task.x[::-1], task.x).astype(np.float32), column=np.where(later, 7 * task.column, task.column)
    )
    for ours, theirs in zip(task.statistics(), other.statistics(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    recipe = Recipe(hidden_size=4, epochs=1, noise=0.1)
    ours, theirs = (networks.train_forecaster(t, CLASSIC[0], recipe, progress=False)[0].state_dict() for t in (task, other))
    for name in ours:
        np.testing.assert_array_equal(ours[name].numpy(), theirs[name].numpy())
    found = []
    for t in (task, other):
        ridge = baselines.Ridge([t], [3], [1.0])
        list(ridge.fits())
        found.append(ridge.errors[3, 1.0][0])
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


# -- the baselines --------------------------------------------------------------------------------------------------------------------


def test_simple_baselines_against_loops(tasks: dict[int, Task]) -> None:
    temperature = weather()["T2M_degC"]
    for h, task in tasks.items():
        stays = [(temperature[t + h] - temperature[t]) ** 2 for t in task.test]
        assert baselines.persistence(task, task.test) == pytest.approx(float(np.sqrt(np.mean(stays))))
        day = [(temperature[t + h] - temperature[t + h - 24]) ** 2 for t in task.test]
        assert baselines.yesterday(task, task.test) == pytest.approx(float(np.sqrt(np.mean(day))))


def test_ridge_against_the_normal_equations(tasks: dict[int, Task]) -> None:
    """Windows of all inputs written out, every column. The baseline's fewer say the same but where the year's place jumps at its end."""
    need_package("sklearn")
    lags, alpha = 4, 1e-6
    ridge = baselines.Ridge(list(tasks.values()), [lags, 2], [alpha, 1e7])
    assert len(list(ridge.fits())) == 4
    x = (tasks[24].x - tasks[24].x.mean(0)).astype(np.float64)
    for i, (h, task) in enumerate(tasks.items()):

        def windows(part: range) -> np.ndarray:
            return np.stack([np.append(x[t - lags + 1 : t + 1].ravel(), 1.0) for t in part])

        known = range(lags - 1, tasks[24].train.stop)
        beta = np.linalg.lstsq(windows(known), task.column[known.start + h : known.stop + h] - task.column[known.start : known.stop])[0]
        for part, error in zip((task.val, task.test), ridge.errors[lags, alpha][i], strict=True):
            assert task.rmse(windows(part) @ beta, part) == pytest.approx(error, rel=DEMO_RIDGE)
        best = min(ridge.errors, key=lambda setting: ridge.errors[setting][i][0])
        assert ridge.chosen(i) == best == (lags, alpha)


# -- the work -------------------------------------------------------------------------------------------------------------------------


def double(item: int, progress: workers.Progress) -> int:
    progress(0.5)
    if item < 0:
        raise LookupError(f"no {item}")
    return 2 * item


@pytest.fixture(scope="module")
def pool() -> Iterator[workers.Workers]:
    with workers.Workers(2) as pool:
        yield pool


def test_workers_keep_the_order_and_pass_exceptions_on(pool: workers.Workers) -> None:
    assert pool.map("doubling", double, [3, 1, 2], [1.0, 5.0, 2.0]) == [6, 2, 4]
    with pytest.raises(LookupError, match="no -1"):
        pool.map("doubling", double, [-1], [1.0])
    assert pool.map("doubling", double, [], []) == []


def test_a_network_is_the_same_in_any_process(pool: workers.Workers) -> None:
    job = networks.Job(24, CLASSIC[-1].name, 3, Recipe(hidden_size=5, epochs=2))
    there = pool.map("training", networks.train, [job], [1.0])[0]
    threads = gatecell.get_num_threads()
    gatecell.set_num_threads(2)
    here = networks.train(job, lambda share: True)
    gatecell.set_num_threads(threads)
    assert here.val == there.val
    np.testing.assert_array_equal(here.forecasts, there.forecasts)
    assert here.epochs == there.epochs == 2
    whole = here.model()(problem.rows(problem.weather_tasks()[24], problem.weather_tasks()[24].test)[:, None])[0].numpy()[:, 0, 0]
    np.testing.assert_array_equal(here.forecasts, whole[problem.WARM_UP :])  # streamed, and as one sequence


@pytest.mark.parametrize("scheme", chip.SCHEMES)
@pytest.mark.parametrize("cell", CLASSIC, ids=lambda c: c.name)
def test_integers_are_the_same_over_the_whole_test_part(tasks: dict[int, Task], tmp_path: Path, cell: Cell, scheme: str) -> None:
    """The Python definition, the core and the C, a network of the demo's sizes: every hour's bits, its state never set back."""
    need("cc")
    task = tasks[24]
    mean, std, _ = task.statistics()
    gatecell.manual_seed(5)
    model = Forecaster(cell, mean, std, Recipe().hidden_size)
    q = gatecell.quantize(model, task.x[: task.train.stop, None], scheme=scheme)
    x = problem.rows(task, task.test)[:, None]
    integers = q.quantize_input(x)
    want = Runner(q.model).run(integers)
    assert len(want) == problem.WARM_UP + len(task.test)
    assert len(np.unique(want)) > 1000
    np.testing.assert_array_equal(q.run(integers), want)
    c = gatecell.export_c(q, tmp_path, name="whole")
    np.testing.assert_array_equal(c.run(x), q.dequantize_output(want))  # times a power of two: no two integers give one float


def test_boards_that_cannot_be_run_are_left_out_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    job = networks.Job(1, CLASSIC[0].name, 0, Recipe(hidden_size=3, epochs=1))
    network = chip.quantise(networks.train(job, lambda share: True), lambda share: True)
    monkeypatch.setenv("PATH", "")
    runs = [chip.on_board(chip.BoardJob(network, form, "rv32imafc", 5), lambda share: True) for form in chip.FORMS]
    wanted = ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf", "qemu-system-misc")
    assert [r.missing for r in runs] == [wanted] * 3
    assert report.boards(runs).rows == []


# -- the command ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    out = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run([*COMMAND, "--quick", "--out", str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr, out


@pytest.mark.slow
def test_quick_prints_each_step_with_a_bar(quick: tuple[str, str, Path]) -> None:
    printed, bars, out = quick
    for part in ("1. Ridge", "2. Training 6", "3. Quantising", "persistence", "yesterday", "Better than every baseline", str(out)):
        assert part in printed
    for part in ("training", "quantising", "100%", "6 of 6"):
        assert part in bars


@pytest.mark.slow
def test_quick_beats_the_baselines(quick: tuple[str, str, Path]) -> None:
    """All three an hour ahead, a short training notwithstanding; a day ahead the last of the list, as promised of the long one."""
    found = json.loads((quick[2] / "results.json").read_text())
    bar = {h: min(by_horizon[str(h)] for by_horizon in found["baselines"].values()) for h in problem.HORIZONS}
    assert bar[1] == pytest.approx(0.202, abs=0.002)  # ridge regression does not depend on chance
    assert bar[24] == pytest.approx(2.008, abs=0.01)
    assert len(found["networks"]) == 6
    for network in found["networks"]:
        assert network["hidden_size"] <= 32
        if network["horizon"] == 1 or network["cell"] == CLASSIC[-1].name:
            assert network["test"] < bar[network["horizon"]], network


@pytest.mark.slow
def test_quick_loses_little_by_integers(quick: tuple[str, str, Path]) -> None:
    found = json.loads((quick[2] / "results.json").read_text())
    for network, integers in zip(found["networks"], found["integers"], strict=True):
        assert abs(integers["w8a8"] / network["test"] - 1) <= DEMO_W8A8
        assert abs(integers["w8a16"] / network["test"] - 1) <= DEMO_W8A16


@pytest.mark.slow
@pytest.mark.board
def test_quick_runs_on_boards_with_the_same_bits(quick: tuple[str, str, Path]) -> None:
    for board in (BOARDS[name] for name in chip.BOARD_NAMES):
        assert board.emulator is not None
        need(board.toolchain.prefix + "gcc", board.emulator.command[0])
    found: list[dict[str, Any]] = json.loads((quick[2] / "results.json").read_text())["boards"]
    assert len(found) == 9
    for run in found:
        assert run["hours"] == 500
        assert run["equal"] if run["form"] != chip.FLOAT else run["distance"] <= BOARD_FLOAT
        assert 0 < run["ram"] <= 512
        assert 0 < run["flash"] < 40_000
        assert 0 < run["stack"] < 1000
        assert run["instructions"] > 1000


@pytest.mark.slow
def test_quick_leaves_models_and_c(quick: tuple[str, str, Path]) -> None:
    out = quick[2]
    x = problem.rows(problem.weather_tasks()[1], problem.weather_tasks()[1].test)[:200]
    for cell in CLASSIC:
        for h in problem.HORIZONS:
            model = gatecell.load(out / "models" / f"{cell.name}_{h}h.safetensors")
            assert model(x[:, None]).shape == (200, 1, 1)
            for form in chip.FORMS:
                header = (out / "c" / f"{cell.name}_{h}h_{form}.h").read_text()
                assert f"{cell.name}_{h}h_{form}_step" in header
    assert (out / ".gitignore").read_text() == "*\n"
    tables = (out / "tables.md").read_text()
    assert tables.count("| --- |") >= 2
    need_package("matplotlib")
    assert (out / "forecast.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_ctrl_c_ends_all_processes(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--quick", "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("1."):
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, shown = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in shown
    deadline = time.monotonic() + 10
    while alive(process.pid):
        assert time.monotonic() < deadline, "a process outlives the command"
        time.sleep(0.05)


def alive(group: int) -> bool:
    """Is any process of the group left?"""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
