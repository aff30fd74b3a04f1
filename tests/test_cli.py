"""The command line: from a CSV file to C on a board, and one clear line for everything that is wrong.  Not here: the demo."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

import budgets
import gatecell
from conftest import need, need_package
from gatecell.cells import CLASSIC
from gatecell.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three columns over 1,500 hours, the power made of the others' past; a trained model, and its integers."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    load = np.cumsum(rng.standard_normal(1500)) * 0.1
    speed = 50 + 3 * np.sin(np.arange(1500) / 7) + rng.standard_normal(1500)
    power = np.convolve(load * speed, [0.5, 0.3, 0.2])[:1500]
    times = np.datetime64("2024-01-01T00:00:00") + np.arange(1500) * np.timedelta64(1, "h")
    with (folder / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["when", "load", "speed", "power"])
        out.writerows(zip(times, *(map(repr, column.tolist()) for column in (load, speed, power)), strict=True))
    train = ["train", "data.csv", "--target", "power", "--hidden", "6", "--epochs", "6", "--out", "model.safetensors"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(*train)
        run("quantize", "model.safetensors", "data.csv")
    return folder


def run(*arguments: str) -> int:
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def table(path: Path) -> np.ndarray:
    with path.open() as file:
        return np.array([[float(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]], np.float32)


def test_train_tells_the_errors_and_the_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = ["--cell", CLASSIC[1].name, "--hidden", "5", "--layers", "2"]
    task = ["--target", "power", "--inputs", "power, load", "--horizon", "3"]
    code = run("train", "data.csv", *task, *network, "--epochs", "2", "--noise", "0.01", "--out", "two.safetensors")
    printed, bar = capsys.readouterr()
    assert code == 0
    assert "reads power, load" in printed
    assert CLASSIC[1].title in printed
    assert "epoch 2/2" in bar
    power = table(folder / "data.csv")[:, 2]
    stays = float(np.sqrt(np.mean((power[1278:] - power[1275:-3]) ** 2)))  # 85 % of 1,500 is 1,275
    shown = float(next(line for line in printed.splitlines() if line.startswith("it stays")).split()[-1])
    assert shown == pytest.approx(stays, rel=budgets.CLI_SHOWN)
    assert run("info", "two.safetensors") == 0
    assert capsys.readouterr().out.count(CLASSIC[1].title) == 2


def test_one_seed_is_one_file(folder: Path) -> None:
    options = ["--target", "power", "--hidden", "4", "--epochs", "1", "--seed", "5"]
    for name in ("a", "b"):
        assert run("train", "data.csv", *options, "--out", f"{name}.safetensors") == 0
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_run_gives_what_the_library_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = table(folder / "data.csv")
    for name in ("model", "model_w8a8"):
        assert run("run", f"{name}.safetensors", "data.csv", "--out", f"{name}.csv") == 0
        assert "1500 steps" in capsys.readouterr().out
        wanted = gatecell.load(folder / f"{name}.safetensors")(x[:, None])
        np.testing.assert_array_equal(table(folder / f"{name}.csv").astype(np.float32), np.asarray(wanted)[:, 0])
    with (folder / "model.csv").open() as file:
        assert next(csv.reader(file)) == ["time", "output_0"]
        assert next(csv.reader(file))[0] == "2024-01-01T00:00:00"
    header = (folder / "data.csv").read_text().splitlines()[0].split(",")
    turned = [row.split(",") for row in (folder / "data.csv").read_text().splitlines()[1:]]
    with (folder / "turned.csv").open("w") as other:
        other.write("\n".join(",".join(row[i] for i in (3, 2, 1)) for row in [header, *turned]) + "\n")
    assert run("run", "model.safetensors", "turned.csv", "--inputs", "load,speed,power", "--out", "turned_out.csv") == 0
    assert [row.split(",")[-1] for row in (folder / "turned_out.csv").read_text().splitlines()] == [
        row.split(",")[-1] for row in (folder / "model.csv").read_text().splitlines()
    ]


def test_quantize_and_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quantize", "model.safetensors", "data.csv", "--scheme", "w8a16", "--out", "q.safetensors") == 0
    assert capsys.readouterr().out.startswith("q.safetensors: w8a16, outputs within ")
    assert run("info", "q.safetensors") == 0
    assert "w8a16, 3 inputs of int16, 1 outputs" in capsys.readouterr().out
    assert run("info", "model.safetensors") == 0
    shown = capsys.readouterr().out
    for part in ("float32, 3 inputs, 1 outputs", "standardize", "recurrence", CLASSIC[-1].title, "linear"):
        assert part in shown
    assert run("info") == 0
    shown = capsys.readouterr().out
    for part in (gatecell.__version__, gatecell.cpu(), *gatecell.cells, "w8a8", "generic", "cortex-m4"):
        assert part in shown


def test_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "model_w8a8.safetensors", "--out", "c", "--target", "cortex-m4") == 0
    assert "model_w8a8_step" in (folder / "c" / "model_w8a8.h").read_text()
    assert run("export", "model.safetensors", "--out", "c", "--name", "pump") == 0
    assert (folder / "c" / "pump.c").exists()
    assert "pump.h" in capsys.readouterr().out


def test_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra in ("matplotlib", "jinja2"):
        need_package(extra)
    assert run("report", "model.safetensors", "data.csv", "--out", "page", "--window", "50") == 0
    assert capsys.readouterr().out.strip() == "page/index.html"
    text = (folder / "page" / "index.html").read_text()
    for part in ("model.safetensors over data.csv", CLASSIC[-1].title, *("load", "speed", "power"), "output 0, w8a16", "The last 50 steps"):
        assert part in text


def test_a_report_without_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("report", "model.safetensors", "data.csv") == 2
    assert "pip install 'gatecell[report]'" in capsys.readouterr().err


@pytest.mark.board
@pytest.mark.parametrize(("board", "tools"), [("host", ["gcc"]), ("cortex-m4", ["arm-none-eabi-gcc", "qemu-system-arm"])])
def test_run_on_boards(board: str, tools: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    need(*tools)
    assert run("run", "model_w8a8.safetensors", "data.csv", "--board", board) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith(board)
    assert "bit for bit" in row
    assert run("run", "model.safetensors", "data.csv", "--board", board) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(board)


def test_a_board_without_its_tools(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert run("run", "model.safetensors", "data.csv", "--board", "cortex-m3") == 2
    assert "(Debian package gcc-arm-none-eabi)" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    shown = capsys.readouterr().out
    for command in ("demo", "train", "quantize", "export", "run", "report", "info"):
        assert command in shown
        assert run(command, "--help") == 0
        assert command in capsys.readouterr().out
    assert run("--version") == 0
    assert gatecell.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train none.csv --target power", "none.csv: No such file or directory"),
        ("train . --target power", "Is a directory"),
        ("train data.csv --target heat", "missing column 'heat'; the columns are load, speed, power"),
        ("train data.csv --target power --inputs load,wind,rain", "missing columns 'wind', 'rain'; the columns are load, speed, power"),
        ("train data.csv", "Missing option '--target'"),
        ("train holes.csv --target a", "'a' lacks 1 (the first in row 2)"),
        ("train words.csv --target a", "words.csv, row 2, column 'b': wanted a number, got 'x'"),
        ("train still.csv --target a", "never changes"),
        ("train short.csv --target a", "horizon"),
        ("train data.csv --target power --cell perceptron", "'perceptron' is not one of"),
        ("train data.csv --target power --hidden 0", "--hidden"),
        ("train data.csv --target power --horizon 0", "--horizon"),
        ("train data.csv --target power --lr -1", "lr"),
        ("train data.csv --target power --epochs 1000000 --out /proc/none/model.safetensors", "/proc/none"),
        ("train data.csv --target power --epochs 1000000 --out .", "a file in a folder that can be written"),
        ("quantize data.csv data.csv", "safetensors"),
        ("quantize model_w8a8.safetensors data.csv", "wanted a model of floats, got one of w8a8"),
        ("quantize model.safetensors data.csv --scheme w4a4", "'w4a4' is not one of"),
        ("quantize model.safetensors data.csv --inputs load", "the model reads 3 columns, got 1: load"),
        ("quantize model.safetensors holes.csv --inputs a,b,b", "'a' lacks 1"),
        ("export model.safetensors --name 2fast", "wanted a C identifier"),
        ("export model.safetensors --target z80", "'z80' is not one of"),
        ("export model.safetensors --out /proc/none", "/proc/none"),
        ("export cut.safetensors", "cut.safetensors"),
        ("run model.safetensors data.csv --board pdp11", "'pdp11' is not one of"),
        ("run model.safetensors still.csv", "the model reads 3 columns, got 2: a, b"),
        ("run none.safetensors data.csv", "none.safetensors"),
        ("report model_w8a8.safetensors data.csv", "wanted a model of floats, got one of w8a8"),
        ("report model.safetensors data.csv --inputs load", "the model reads 3 columns, got 1: load"),
        ("report model.safetensors data.csv --window 0", "--window"),
        ("report model.safetensors data.csv --out words.csv", "words.csv"),
        ("info words.csv", "words.csv"),
        ("fly", "No such command 'fly'"),
        ("demo --seeds 0", "--seeds"),
    ],
)
def test_one_line_for_what_is_wrong(folder: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "holes.csv").write_text("a,b\n1,2\n,3\n4,5\n")
    (folder / "words.csv").write_text("a,b\n1,2\n2,x\n")
    (folder / "still.csv").write_text("a,b\n" + "1,2\n" * 200)
    (folder / "short.csv").write_text("a,b\n1,2\n2,3\n3,1\n")
    (folder / "cut.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    assert run(*line.split()) == 2
    printed, error = capsys.readouterr()
    last = error.strip().splitlines()[-1]
    assert last.startswith("gatecell: ")
    assert message in last
    assert "Traceback" not in error + printed
    assert not (folder / "none").exists()
