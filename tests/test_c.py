"""Generated C: integer models bit for bit against the Python definition, float models within their budget, compilers, languages, boards.

Not here: the arithmetic itself (test_integer.py), the emulated boards as such (test_boards.py), tanh and exp (test_functions.py).
"""

import re
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pytest

import budgets
import gatecell
import golden
from conftest import missing, need, need_board
from gatecell import nn
from gatecell.algebra.model import FloatLayer, FloatModel, quantize_input
from gatecell.algebra.ops import lerp, norm, sigmoid, tanh
from gatecell.algebra.ranges import ranges
from gatecell.cells import cells, record
from gatecell.deploy import boards
from gatecell.deploy.board_build import WARNINGS
from gatecell.deploy.calibration import observe
from gatecell.deploy.export import export_c
from gatecell.deploy.integer import Runner
from gatecell.deploy.quantize import quantize
from gatecell.deploy.quantizer import quantize_model
from gatecell.emit import c_float
from gatecell.emit.c import Golden, float_c, integer_c
from test_integer import INTEGER, Net, mgu, projected, series, with_rails

TARGETS = ["generic", "cortex-m4", "atmega2560"]
"""One of each layout: plain, for the DSP extension, constants in flash, of which no array may have more than 32,767 bytes."""


@record(title="a page beyond the integers: norms of a sum and of a state, which it keeps")
def normalised(W, R, x, h):
    return 0.5 * h + norm(W.a(x) + R.a(norm(h)))


@record(title="a share of 1, which is an integer of fraction 0")
def whole(W, R, x, h):
    return lerp(1.0, 0.5 * h, tanh(W.n(x) + R.n(h)))


@record(title="a line of delays: one sum of thirteen products")
def delays(W, R, x, a, b, c, d, e, f, g, h, i, j, k, l):
    n = tanh(W.n(x) + R.a(a) + R.b(b) + R.c(c) + R.d(d) + R.e(e) + R.f(f) + R.g(g) + R.h(h) + R.i(i) + R.j(j) + R.k(k) + R.l(l))
    return n, a, b, c, d, e, f, g, h, i, j, k


@record(title="sums in brackets: from left to right they would leave int32, and two signs")
def nested(W, R, x, h):
    i, o = sigmoid(W.i(x) + R.i(h)), sigmoid(W.o(x) + R.o(h))
    less = -((i * i + 0.8) + (i * o - 0.9))
    return tanh(-less)


@record(title="a product of what has to be computed first")
def bent(W, R, x, h):
    return tanh(W.n(x) + R.n(0.5 * h * h))


class Odd(nn.Module):
    """Layers of 50 (`widest`), 1 and 5 units, so that one program has the sizes that go wrong; I13."""

    def __init__(self, cell, widest=50):
        super().__init__()
        self.standardize = nn.Standardize(np.linspace(-5, 900, 13), np.linspace(0.1, 30, 13))
        sizes = [13, widest, 1, 5]
        self.layers = nn.ModuleList([nn.Recurrent(cell, a, b) for a, b in pairwise(sizes)])
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        y = self.standardize(x)
        for layer in self.layers:
            y, _ = layer(y)
        return self.head(gatecell.tanh(y))


def on_host(folder, name, x):
    """Outputs (T, O) of NAME_step on this machine, and what the selftest said."""
    m = boards.run(folder, name, "host", x, optimise="-O2", count=0)
    return m.outputs, m.selftest


# --- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("cell", INTEGER)
def test_integer_c_is_the_python_definition(rng, tmp_path, cell, scheme, target):
    x = series(rng, 13, T=1500)
    for bits in (8, 16):
        q = quantize(Odd(cell, 33 if target == "atmega2560" else 50), x[:400], scheme, input_bits=bits)
        export_c(q, tmp_path, name="odd", target=target)
        xi = with_rails(rng, q, x)
        outputs, selftest = on_host(tmp_path, "odd", xi[:, 0])
        assert selftest == 0
        np.testing.assert_array_equal(outputs, Runner(q.model).run(xi)[:, 0])


PAGES = {
    "two loops": mgu, "projection": projected, "share of 1": whole,
    "13 operands": delays, "no product first": bent, "brackets": nested,
}
"""Pages from outside the package, through the same rule: kept values, parameters, products over two axes."""


def model_of(rng, page, deviation=0.5):
    sizes = {"I": 3, "H": 9, "M": 5, "K": 3}
    weights = {k: rng.normal(0, deviation, s).astype(np.float32) for k, s in page.shapes(sizes).items()}
    return FloatModel((FloatLayer(page.signature, page.program, weights, sizes),), np.zeros(3), np.ones(3))


def write(folder, files):
    (folder / "page.h").write_text(files.header)
    (folder / "page.c").write_text(files.source)


def page_in_c(rng, folder, page, scheme, target):
    """page.h and page.c in the folder; inputs from rail to rail, (300, 3), and what the definition makes of them."""
    integer = quantize_model(model_of(rng, page), rng.normal(0, 1, (300, 1, 3)), scheme, 16)
    xi = rng.integers(-32767, 32768, (300, 1, 3)).astype(np.int16)
    want = Runner(integer, check=True).run(xi)[:, 0]
    write(folder, integer_c(integer, "page", target, Golden(xi[:50, 0], want[:50])))
    return xi[:, 0], want


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_pages_of_other_shapes_too(rng, tmp_path, page, scheme, target):
    xi, want = page_in_c(rng, tmp_path, page, scheme, target)
    outputs, selftest = on_host(tmp_path, "page", xi)
    assert selftest == 0
    np.testing.assert_array_equal(outputs, want)
    assert len(np.unique(want)) > 100


FLOATS = PAGES | {"norms": normalised, "blocks": cells["slstm"]}


@pytest.mark.parametrize("page", FLOATS.values(), ids=FLOATS)
def test_pages_in_floats(rng, tmp_path, page):
    model, x = model_of(rng, page, 0.2), rng.normal(0, 1, (40, 1, 3)).astype(np.float32)  # weights that forget rounding
    want = observe(model, x)[-1].output[:, 0]
    write(tmp_path, float_c(model, "page", "generic", Golden(x[:9, 0], want[:9])))
    outputs, selftest = on_host(tmp_path, "page", x[:, 0])
    assert selftest == 0
    assert abs(outputs - want).max() <= budgets.FLOAT_C * max(1, abs(want).max())
    assert np.ptp(want) > 0.1


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_nothing_rests_on_what_c_leaves_open(rng, tmp_path, page, scheme):
    """Its own selftest, 50 steps, under a sanitizer that ends at a shift or sum which C does not define."""
    need("gcc")
    page_in_c(rng, tmp_path, page, scheme, "generic")
    (tmp_path / "main.c").write_text('#include "page.h"\nint main(void) { return page_selftest(); }\n')
    flags = ["-std=c99", "-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, "main.c", "page.c", "-o", "page"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "page"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_gives_the_bits_of_q(rng, tmp_path):
    x = series(rng, 3, T=40, B=3)
    q = quantize(Net("gru", 3, 6), x)
    c = export_c(q, tmp_path, name="net")
    np.testing.assert_array_equal(c.run(x), q(x))
    np.testing.assert_array_equal(c.run(x[:, 1]), q(x)[:, 1])
    ql = quantize(Net("gru", 3, 6, last=True), x)
    np.testing.assert_array_equal(export_c(ql, tmp_path, name="last").run(x), ql(x))
    odd = np.array([[[np.nan, np.inf, -np.inf]] * 3] * 2, np.float32)  # a device meets NaN; the desktop's door refuses it
    integers = quantize_input(q.model.scale, q.model.offset, 16, odd)
    np.testing.assert_array_equal(c.run(odd), q.dequantize_output(q.run(integers)))


@pytest.mark.parametrize("cell", cells)
def test_float_c_is_the_model(rng, tmp_path, cell):
    net, x = Odd(cell), series(rng, 13, T=200)
    want = net(x).numpy()
    got = export_c(net, tmp_path, name="odd").run(x)
    program = cells[cell].program
    bounded = max(map(abs, ranges(program)[program.states[cells[cell].states[0]]])) < np.inf
    assert abs(got - want).max() <= (budgets.FLOAT_C if bounded else budgets.FLOAT_C_SUMMED) * max(1, abs(want).max())
    assert np.ptp(want) > 1e-3


# --- the text -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with an integer and a float model of two layers and a head, for both targets."""
    folder = tmp_path_factory.mktemp("c")
    rng = np.random.default_rng(0)
    x = series(rng, 5)
    names = []
    for cell in ("lstm", "gru_before"):
        net = Net(cell, 5, 6, layers=2)
        for target in TARGETS:
            for scheme in ("w8a8", "w8a16"):
                names.append(f"{cell}_{scheme}_{target[:4].replace('-', '')}")
                export_c(quantize(net, x, scheme), folder, name=names[-1], target=target)
        names.append(f"{cell}_float")
        export_c(net, folder, name=names[-1])
    return folder, names


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc -std=c99", "clang -std=c99", "g++ -x c++ -std=c++17", "clang++ -x c++ -std=c++17"])
def test_no_compiler_complains(exported, compiler, optimise):
    folder, names = exported
    command = compiler.split()
    if shutil.which(command[0]) is None:
        missing(command[0])
    for name in names:
        subprocess.run([*command, *WARNINGS, optimise, "-c", f"{name}.c", "-o", f"{name}.o"], cwd=folder, check=True)


def test_the_text_keeps_its_promises(exported):
    folder, names = exported
    for name in names:
        header, source = ((folder / f"{name}.{end}").read_text() for end in "hc")
        for text in (header, source):
            assert "belongs to whoever generated it" in text
        assert re.findall(r"#include (.*)", source) == [f'"{name}.h"', "<avr/pgmspace.h>"][: 1 + name.endswith("_atme")]
        assert re.findall(r"#include (.*)", header) == ["<stdint.h>"]
        code = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
        assert not re.search(r"\b(malloc|free|expf?|tanhf?|memcpy|memset|double|long double)\s*\(", code)
        # Every array of weights is found by its name.
        others = "tanh_table|selftest|input_|output_|mean|inverse_std"
        weights = [n for n in re.findall(r"static const \w+ (\w+)\[", code) if not re.search(others, n)]
        assert weights
        assert all(n.startswith(f"{name}_w") for n in weights)
        for macro in ("MODEL_ID", "INPUT_SIZE 5", "OUTPUT_SIZE 2"):
            assert f"#define {name.upper()}_{macro}" in header
        if "float" not in name:
            assert code.count("<= 2147483647LL ? 1 : -1]") >= 8
            assert not re.search(r"\b(float|double)\b", code.split("static const float")[0])
    assert "/* c = sigmoid(f) * c + sigmoid(i) * tanh(g) */" in (folder / "lstm_w8a8_gene.c").read_text()


def test_no_library_is_needed(exported):
    """A model's object file asks for no symbol, not even memcpy."""
    need("gcc", "nm")
    folder, names = exported
    for name in names:
        for optimise in ("-O2", "-O3", "-Os"):
            subprocess.run(["gcc", "-std=c99", optimise, "-fno-stack-protector", "-c", f"{name}.c", "-o", "lone.o"], cwd=folder, check=True)
            wanted = subprocess.run(["nm", "-u", "lone.o"], cwd=folder, check=True, capture_output=True, text=True).stdout
            assert [w for w in wanted.split() if len(w) > 1 and w != "_GLOBAL_OFFSET_TABLE_"] == [], (name, optimise)


def test_the_selftest_sees_a_changed_weight(exported):
    folder, _ = exported
    source = (folder / "lstm_w8a16_gene.c").read_text()
    head = "static const int8_t lstm_w8a16_gene_w0["
    at = source.index("{", source.index(head)) + 1
    first = re.search(r"-?\d+", source[at:])
    changed = source[: at + first.start()] + str(-int(first[0]) or 90) + source[at + first.end() :]
    (folder / "broken").mkdir()
    (folder / "broken" / "lstm_w8a16_gene.c").write_text(changed)
    shutil.copy(folder / "lstm_w8a16_gene.h", folder / "broken")
    x = np.zeros((1, 5), np.int16)
    assert on_host(folder / "broken", "lstm_w8a16_gene", x)[1] > 0
    assert on_host(folder, "lstm_w8a16_gene", x)[1] == 0


@pytest.mark.parametrize("name", sorted(golden.texts()))
def test_committed_c_is_fresh(name):
    assert (golden.FOLDER / name).read_text() == golden.texts()[name], "PYTHONPATH=python:tests python tests/golden.py writes it anew"


def test_no_committed_c_is_left_over():
    assert {p.name for p in golden.FOLDER.iterdir()} == set(golden.texts())


# --- boards ---------------------------------------------------------------------------------------------------------


@pytest.mark.board
@pytest.mark.parametrize(("board", "target"), [("cortex-m4", "cortex-m4"), ("cortex-m3", "generic"), ("rv32imafc", "generic")])
@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
def test_boards_give_the_desktops_bits(rng, tmp_path, board, target, scheme):
    need_board(board)
    x = series(rng, 13, T=300)
    for cell in ("lstm", "gru"):
        q = quantize(Odd(cell), x, scheme)
        export_c(q, tmp_path, name="odd", target=target)
        xi = with_rails(rng, q, x)
        m = boards.run(tmp_path, "odd", board, xi[:, 0], count=0)
        assert m.selftest == 0
        np.testing.assert_array_equal(m.outputs, Runner(q.model).run(xi)[:, 0])


@pytest.mark.board
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_instructions_on_a_cortex_m4(rng, tmp_path, cell):
    """w8a8 at I40 H64, int8 in and out of products: instructions per multiply-accumulate of a whole step."""
    need_board("cortex-m4")
    gatecell.manual_seed(0)  # its shifts are constants of the code, so the count belongs to these weights
    net, x = nn.Recurrent(cell, 40, 64), series(rng, 40, T=60) / 300
    q = quantize(net, x, "w8a8", input_bits=8)
    export_c(q, tmp_path, name="bare", target="cortex-m4")
    xi = q.quantize_input(x)[:, 0]
    m = boards.run(tmp_path, "bare", "cortex-m4", xi, count=10)
    np.testing.assert_array_equal(m.outputs, Runner(q.model).run(xi[:, None])[:, 0])
    gates = sum(len(v) for v in q.model.layers[0].program.families.values()) // 2
    assert m.instructions / (gates * 64 * (40 + 64)) <= budgets.M4_INSTRUCTIONS[cell]
    version = subprocess.run(["arm-none-eabi-gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    if version == budgets.M4_COMPILER:  # another compiler counts otherwise, within the bound above
        assert set(m.counts) == {budgets.M4_STEP[cell]}
    assert m.stack <= 400


@pytest.mark.board
def test_float_c_on_a_cortex_m4(rng, tmp_path):
    need_board("cortex-m4")
    net, x = Net("gru", 5, 16), series(rng, 5, T=100)
    export_c(net, tmp_path, name="net", target="cortex-m4")
    want = net(x).numpy()[:, 0]
    m = boards.run(tmp_path, "net", "cortex-m4", x[:, 0], count=0)
    assert m.selftest == 0
    assert abs(m.outputs - want).max() <= budgets.FLOAT_C * max(1, abs(want).max())


# --- bad input ------------------------------------------------------------------------------------------------------


def test_bad_names_targets_and_folders(rng, tmp_path):
    x = series(rng, 3)
    q = quantize(nn.GRU(3, 2), x)
    folder = tmp_path / "new"
    file = tmp_path / "file"
    file.write_text("")
    bad = ("", "2x", "a b", "a-b", "int", "Class", "x" * 41, "_a", "a__b", "é", "a\n")
    for error, match, options in [
        *((ValueError, "name: wanted a C identifier", {"name": n}) for n in bad),
        (TypeError, "name: wanted a string, got int", {"name": 3}),
        (ValueError, "target: wanted one of generic, .*cortex-m4.*got 'z80'", {"name": "a", "target": "z80"}),
        (TypeError, "target: wanted a string", {"name": "a", "target": None}),
    ]:
        with pytest.raises(error, match=match):
            export_c(q, folder, **options)
    with pytest.raises(TypeError, match="Module or a quantised model wanted, got int"):
        export_c(3, folder, name="a")
    assert not folder.exists()
    with pytest.raises(ValueError, match="folder: wanted one that can be written"):
        export_c(q, file / "inside", name="a")
    with pytest.raises(TypeError, match="real numbers"):
        export_c(q, folder, name="a").run(["a"])


@pytest.mark.parametrize(("layers", "units", "match"), [
    (1, 90, r"atmega2560: a_w0 takes 34,200 bytes; its compiler takes at most 32,767 in one array"),
    (3, 70, r"atmega1284p: weights and tables take 8\d,\d\d\d bytes; its loads reach 65,280"),
])  # fmt: skip
def test_what_a_flash_does_not_hold_is_said(rng, tmp_path, layers, units, match):
    """Before anything is written."""
    q = quantize(Net("lstm" if layers == 1 else "gru", 5, units, layers=layers), series(rng, 5), "w8a8")
    with pytest.raises(gatecell.Unsupported, match=match):
        export_c(q, tmp_path / "new", name="a", target=match.split(":")[0])
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_keeps_what_it_has(rng, tmp_path):
    """A file in the folder's place, a folder below a file, a folder in the file's place: these stop root too, whom no rights stop."""
    export_c(quantize(nn.GRU(3, 2), series(rng, 3)), tmp_path, name="a")
    (tmp_path / "b.h").mkdir()
    before = {p.name: p.is_file() and p.read_bytes() for p in tmp_path.iterdir()}
    other = quantize(nn.LSTM(3, 2), series(rng, 3))
    for folder, cause in [
        (tmp_path / "a.h", FileExistsError),
        (tmp_path / "a.h" / "inside", NotADirectoryError),
        (tmp_path, IsADirectoryError),
    ]:
        with pytest.raises(ValueError, match="folder: wanted one that can be written") as caught:
            export_c(other, folder, name="b")
        assert isinstance(caught.value.__cause__, cause)
        assert {p.name: p.is_file() and p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_primitive_without_c_is_named(monkeypatch):
    monkeypatch.delitem(c_float.HELPERS, "rsqrt")
    sizes = {"I": 2, "H": 3}
    weights = {k: np.ones(s, np.float32) for k, s in normalised.shapes(sizes).items()}
    layer = FloatLayer(normalised.signature, normalised.program, weights, sizes)
    golden_steps = Golden(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))
    with pytest.raises(gatecell.Unsupported, match="rsqrt has no C form yet in line"):
        float_c(FloatModel((layer,), np.zeros(2), np.ones(2)), "a", "generic", golden_steps)
