"""The benches' machinery on tiny networks: agreement with the peers, what ends a run, ratios, JSON there and back, tables and plot from it.

Not here: speed.
"""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import integers
import loops
import measures
import peak
import plot
import record
import rows
import run
import scans
import speed
import timing
import where
import work
from cases import Case
from conftest import ROOT, need
from record import Record, Results
from rows import GROUPS, Group, Row
from shapes import Shape
from timing import Rival, Time

ONCE = {"turns": 1, "seconds": 0.0}
SMALL = {  # a mode's kinds of network, tiny
    "forward": ["LSTM", "GRU", "GRU before", "RNN"],
    "training": ["LSTM", "GRU", "GRU before", "RNN"],
    "training with dx": ["LSTM", "GRU before"],
    "lengths, forward": ["LSTM", "GRU"],
    "lengths, training": ["LSTM", "GRU"],
    "step from Python": ["LSTM", "GRU"],
    "steps in compiled code": ["LSTM", "GRU"],
}


def tiny(mode, kind):
    step = mode.startswith("step")
    return Shape(kind, 3, 5, 1, 1 if step else 4, 1 if step else 6)


def row_of(mode, shape, low, gatecell, threads=1, **others):
    """A measured row: seconds of gatecell and of others."""
    times = {name: Time(s * low, s, s / low, 5) for name, s in {"gatecell": gatecell, **others}.items()}
    return Record(mode, shape, threads, 1e9, times, figures={"fma flops": 1e9})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("mode", "kind"), [(mode, kind) for mode, kinds in SMALL.items() for kind in kinds])
def test_every_library_computes_the_same_and_is_timed(mode, kind, threads, monkeypatch):
    need("cc")
    monkeypatch.setattr(work, "SEQUENCE", 7)
    found = run.measure(Row(mode, tiny(mode, kind)), threads, **ONCE)
    expected = {"gatecell", "torch"} | ({"onnxruntime"} if mode == "forward" or mode.startswith("step") else set())
    assert not found.missing and found.times.keys() >= expected | {"fma"}
    assert all(0 < t.low <= t.median <= t.high for t in found.times.values())
    assert 0 < found.distances["gatecell"] < work.GRADIENT and found.distances["torch"] == 0
    assert ("one thread" in found.times) == (threads > 1 and mode != "steps in compiled code")
    assert measures.MEASURES["peak"].of(found, Results({}, {}, {}, {}), None) > 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", list(scans.MODES))
def test_scans_are_a_loop_of_torchs_operations(mode, threads):
    step = "step" in mode
    shape = Shape("Mamba", 3, 5, 1, 1, 7) if not step else Shape("mLSTM", 5, 3 * scans.HEADS, 1, 1, 1)
    found = run.measure(Row(mode, shape), threads, **ONCE)
    assert found.times.keys() >= {"gatecell", "torch", "fma"} and 0 < found.distances["gatecell"] < work.GRADIENT


@pytest.mark.parametrize("mode", list(integers.MODES))
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_rows_in_integers_are_those_of_the_definition_and_near_the_float(mode, kind, monkeypatch):
    monkeypatch.setattr(integers, "SEQUENCE", 7)
    found = run.measure(Row(mode, tiny(mode.removeprefix("int8, ").removeprefix("block-sparse "), kind)), 1, **ONCE)
    assert not found.missing and {"gatecell", "float", "torch"} <= found.times.keys()
    assert ("onnxruntime" in found.times) == (kind == "LSTM")
    assert 0 < found.distances["gatecell"] < integers.BUDGET and found.distances["float"] == 0
    case = Case(tiny("forward", kind))
    q = integers.quantized(case)
    other = Rival(lambda: None, lambda: {"y": q(case.x) * np.float32(1.01)})
    with pytest.raises(RuntimeError, match="Python definition"):
        integers.defined(other, q, case.x).arrays()


def test_what_cannot_be_measured_says_why(monkeypatch):
    def missing(shape, threads):
        raise work.Missing("nobody has it")

    row = GROUPS[0].rows[0]
    monkeypatch.setitem(run.MODES, row.mode, missing)
    assert run.measure(row, 1, **ONCE).missing == "nobody has it"


@pytest.mark.parametrize("shape", [Shape("LSTM", 3, 5, 3, 4, 6), Shape("GRU", 3, 5, 2, 4, 6, 2), Shape("RNN", 2, 17, 1, 1, 9, 2)])
def test_stacks_and_both_directions_agree(shape):
    for mode in ("forward", "training"):
        assert work.MODES[mode](shape, 1).distances()["gatecell"] < work.GRADIENT


def test_a_disagreement_ends_the_run(monkeypatch, tmp_path):
    """A ten-thousandth off: nothing is timed, nothing is stored."""
    right = work.own.forward

    def wrong(case, threads):
        rival = right(case, threads)
        return replace(rival, result=lambda: {"y": rival.result()["y"] * 1.0001})

    monkeypatch.setattr(work.own, "forward", wrong)
    monkeypatch.setattr(run, "in_turns", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(run, "GROUPS", (Group("tiny", [Row("forward", tiny("forward", "LSTM"))]),))
    monkeypatch.setattr(peak, "measure", lambda threads: {"fma": {"1": 1e9}, "read": {str(size): 1e9 for size in peak.SIZES}})
    monkeypatch.setattr(sys, "argv", ["run.py", "--threads", "1", "--json", str(tmp_path / "r.json")])
    with pytest.raises(RuntimeError, match=r"gatecell and torch disagree on y by 1\.0e-04"):
        run.main()
    assert not (tmp_path / "r.json").exists()


def test_what_must_agree():
    arrays = lambda *a: Rival(lambda: None, lambda: {"y": np.array(a)})
    assert work.Work({"torch": arrays(1.0, 2.0), "gatecell": arrays(1.0, 2.000001)}).distances()["gatecell"] == pytest.approx(5e-7)
    for wrong in ((1.0, 2.1), (1.0, math.nan), (1.0, 2.0, 3.0)):
        with pytest.raises(RuntimeError, match="gatecell and torch disagree on"):
            work.Work({"torch": arrays(1.0, 2.0), "gatecell": arrays(*wrong)}).distances()
    half, both = (Rival(lambda: None, lambda keys=keys: dict.fromkeys(keys, np.ones(2))) for keys in ("z", "yz"))
    with pytest.raises(RuntimeError, match="nobody is compared with torch on y"):
        work.Work({"torch": both, "gatecell": half}).distances()
    with pytest.raises(RuntimeError, match="gatecell has nothing to be compared"):
        work.Work({"torch": arrays(1.0, 2.0), "gatecell": Rival(lambda: None)}).distances()


def test_flops_are_counted_from_the_products():
    """Against the sums of every matrix product of a textbook's loop, written out for one network."""
    s = Shape("LSTM", 3, 5, 2, 7, 11, 2)
    forward = 2 * 7 * 11 * sum(2 * 4 * 5 * (into + 5) for into in (3, 10))
    assert s.forward_flops() == forward
    assert s.training_flops(dx=True) == 3 * forward
    assert s.training_flops(dx=False) == 3 * forward - 2 * 7 * 11 * 2 * 4 * 5 * 3
    assert sum(s.read_once()) == 4 * 2 * 4 * 5 * (3 + 10) and sum(s.read_each_step()) == 4 * 4 * 4 * 5 * 5
    assert Shape("GRU", 3, 5, 1, 1, 1).forward_flops() == 2 * 3 * 5 * 8


def test_turns_are_shuffled_and_quartiles_are_quartiles(monkeypatch):
    order, clock = [], iter(np.arange(0.0, 1e6, 0.5))
    rivals = {name: Rival(lambda name=name: order.append(name), steps=2) for name in "abc"}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    times = timing.in_turns(rivals, turns=20, seconds=0.5)
    assert times["a"] == Time(0.25, 0.25, 0.25, 20)  # half a second a call, two steps in it
    turns = ["".join(order[k : k + 3]) for k in range(len(order) - 60, len(order), 3)]
    assert {"".join(sorted(t)) for t in turns} == {"abc"} and len(set(turns)) > 3


def test_the_fastest_setting_is_the_peers():
    slow, fast = Rival(lambda: sum(range(20_000))), Rival(lambda: None)
    assert timing.fastest({"slow": slow, "fast": fast}).how == "fast"
    assert timing.fastest({"only": slow}).how == "only"


def test_goals_are_met_as_printed():
    share, time = measures.MEASURES["peak"], measures.MEASURES["time"]
    assert share.met(0.9196, 0.92) and not share.met(0.9194, 0.92)
    assert time.met(48.04e-9, 48e-9) and not time.met(48.1e-9, 48e-9)
    assert [measures.seconds(s) for s in (0, 4.8e-8, 3.2e-5, 0.06, 180)] == ["0 ns", "48.0 ns", "32.0 us", "60.0 ms", "180 s"]


def test_tables_show_goals_beside_figures_and_what_is_missing():
    shape, stack = rows.LSTM_256, replace(rows.LSTM_256, L=2)
    done = [row_of("forward", shape, 0.99, 1e-2, torch=1.2e-2, fma=0.5e-2), row_of("forward", stack, 0.9, 2e-2, torch=2e-2, fma=0.9e-2)]
    results = Results({}, {}, {"threads": [1]}, {}, done)
    lines = speed.tables(results).splitlines()
    assert f"| {shape} | 100 GF | 83.3 GF |  | 0.500 (goal 0.920, **MISSED**) | 1.20x (goal 1.05x) |  |" in lines
    assert any(
        f"| forward: {stack} | 50.0 GF ±11 % | 50.0 GF ±11 % |  | 0.450 | 0.900 (goal 0.920, **MISSED**) |" in line for line in lines
    )
    assert f"| {rows.LSTM_512} | not measured: not in this run |" in lines
    goals = list(speed.goals(results))
    assert speed.summary(results).startswith("1 of ") and speed.summary(results, measured_only=True) == "1 of 3 goals met."
    assert len(goals) > 60 and {threads for _, threads, *_ in goals} == {1, 2}


def test_goals_of_several_threads():
    big, small = Row("forward", rows.LSTM_256, {"peak": 0.92, "torch": 1.05}), Row("forward", rows.LSTM_ONE, {"time": 32e-6})
    assert big.goals_on(1) == big.goals and big.goals_on(2) == {"torch": 1.05, "one thread": rows.FASTER}
    assert small.goals_on(2) == {"one thread": rows.NOT_SLOWER}


def test_the_table_of_rows_is_sound():
    every = [row for g in GROUPS for row in g.rows]
    keys = [(row.mode, row.shape) for row in every]
    assert len(set(keys)) == len(keys)
    for group in GROUPS:
        for row in group.rows:
            assert row.mode in run.MODES and set(row.goals) <= set(group.measures) <= set(measures.MEASURES)
            assert "one thread" in group.measures or max(row.threads) == 1
            assert row.beside is None or row.beside in keys
    assert {row[:2] for row in where.ROWS} <= set(keys) and set(rows.QUOTED) <= set(keys)


def test_json_there_and_back(tmp_path):
    given = Results(
        {"cores": 2},
        {"a": "1"},
        {"threads": [1]},
        {"fma": {"1": 2.5e11}},
        [row_of("forward", rows.GRU_ONE, 0.5, 1e-3), Record("import", None, 1)],
    )
    given.profiles = [record.Profile("forward", rows.GRU_ONE, 1, {"products": 0.5})]
    given.save(tmp_path / "r.json")
    assert record.load(tmp_path / "r.json") == given
    for wrong in ({}, {"schema": 0}, [], {"schema": record.SCHEMA, "rows": []}):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="wrong.json"):
            record.load(tmp_path / "wrong.json")


def test_what_is_stored_is_what_the_table_of_rows_asks_for():
    results = record.load(speed.SHOWN)
    asked = {(row.mode, row.shape, threads) for g in GROUPS for row in g.rows for threads in row.threads}
    stored = [r.key for r in results.rows]
    assert len(set(stored)) == len(stored) and set(stored) <= asked


@pytest.mark.parametrize("script", [["docs/tables.py"], ["bench/plot.py"]])
def test_readme_and_plot_show_what_is_stored(script):
    done = subprocess.run([sys.executable, *script, "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"stale: python {script[0]} ({done.stderr})"


def test_a_plot_of_other_figures_is_another(tmp_path):
    results = record.load(speed.SHOWN)
    plot.draw(results, tmp_path / "a.svg")
    plot.draw(results, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text() and plot.digest(results) in text
    k = next(k for k, r in enumerate(results.rows) if r.mode == "roof")
    results.rows[k] = replace(results.rows[k], flops=2 * results.rows[k].flops)
    assert plot.digest(results) not in text


def test_roofs_lie_under_each_other():
    """R of 64 KB at 100 GB/s: two operations a weight and row, four bytes a weight."""
    limits = {"read": {"1024": 100e9, "1048576": 100e9}}
    one, many = (plot.roof(Shape("LSTM", 64, 64, 1, B, 100), limits) for B in (1, 8))
    assert one == pytest.approx(2 * 100e9 / 4 * 200 / 101) and many == pytest.approx(8 * one)


def test_limits_of_the_machine():
    need("cc")
    peak.Reader([(1000, 2), (70_000, 3)], times=2)()
    meter = peak.Meter(2)
    meter()
    assert meter.flops == 2 * meter.rounds * peak.library().lanes() * peak.library().chains() * 2


def test_samples_are_sorted_into_parts():
    core, libc = "/x/_core.cpython-311.so", "/lib/libc.so.6"
    sample = {
        ("gatecell::(anonymous namespace)::product_tile<float, 6, 4, true>", core): "products",
        ("gatecell::(anonymous namespace)::OuterTile<float, 4>::add<6>", core): "products",
        ("gatecell::(anonymous namespace)::memory_tile<gatecell::(anonymous namespace)::lstm_back_0>", core): "pointwise",
        ("gatecell_layer_new", core): "packing",
        ("gatecell::(anonymous namespace)::Runner<float>::loop", core): "time loop",
        ("__memset_avx512_unaligned_erms", libc): "memory",
        ("clear_page_erms", "[kernel.kallsyms]"): "memory",
        ("schedule", "[kernel.kallsyms]"): "kernel",
        ("_PyEval_EvalFrameDefault", "/usr/bin/python3"): "Python",
    }
    assert {key: where.part_of(key[0], 0, key[1]) for key in sample} == sample


def test_loops_of_a_function_are_found(tmp_path):
    """Compiled here: a division in the loop, a square root behind it; and a listing whose jump back ends no loop."""
    need("cc", "objdump")
    body = "float f(const float *a, long n) { float s = a[0]; for (long k = 0; k < n; k++) s = a[k] / s; return __builtin_sqrtf(s); }"
    (tmp_path / "a.c").write_text(body)
    library = str(tmp_path / "a.so")
    subprocess.run(["cc", "-O1", "-fno-math-errno", "-shared", "-fPIC", tmp_path / "a.c", "-o", library], check=True)
    assert loops.functions(library, "nobody") == {}
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True).stdout
    lines = listing[listing.index("<f>:") :].split("\n\n")[0].splitlines()[1:]
    at = {line.split()[1]: int(line.split(":")[0], 16) - int(lines[0].split(":")[0], 16) for line in lines}
    divides, roots = (next(offset for name, offset in at.items() if word in name) for word in ("div", "sqrt"))
    assert divides in loops.functions(library, "f")["f"] and roots not in loops.functions(library, "f")["f"]
    block = " 4:\tjmp    10 <f+0xc>\n 8:\tnop\n c:\tret\n 10:\tnop\n 14:\tjne    10 <f+0xc>\n 18:\tjmp    8 <f+0x4>\n"
    assert loops.in_cycles(loops.graph(block)) == {0x10, 0x14}


@pytest.mark.slow
def test_memory_of_a_pass_is_counted():
    """Of torch and of gatecell, within what a pass must and may hold: more than its output, less than twenty arrays of its size."""
    for library in ("gatecell", "torch"):
        assert 1 < work.memory.peak_floats(library, Shape("LSTM", 8, 128, 1, 16, 200), {}) < 20
