"""The report over a series: every figure of the page against the models themselves.  Not here: the command (test_cli.py)."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import budgets
import gatecell
from conftest import need_package
from gatecell import nn, report
from gatecell.algebra.model import SCHEMES
from gatecell.cells import CLASSIC

T, CUT, NAMES = 200, 140, ["heat", "wind & rain"]


class Cells(HTMLParser):
    """The tables of a page: rows of text, by the title before them."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.titles, self.into = {}, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th", "h2"):
            self.into = tag
            if tag == "h2":
                self.titles.append("")
            else:
                self.tables[self.titles[-1]][-1].append("")
        elif tag == "tr":
            self.tables.setdefault(self.titles[-1], []).append([])

    def handle_endtag(self, tag):
        if tag == self.into:
            self.into = None

    def handle_data(self, data):
        if self.into == "h2":
            self.titles[-1] += data
        elif self.into:
            self.tables[self.titles[-1]][-1][-1] += data


class Net(nn.Module):
    """Standardisation, two layers, tanh, two outputs."""

    def __init__(self, batch_first):
        super().__init__()
        self.units = nn.Standardize([10.0, -3.0], [2.0, 0.5])
        self.layers = nn.Recurrent(CLASSIC[-1], 2, 7, 2, batch_first=batch_first)
        self.middle, self.head = nn.Linear(7, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(gatecell.tanh(self.middle(self.layers(self.units(x))[0])))


@pytest.fixture(scope="module", params=[True, False], ids=["batch first", "time first"])
def made(request, tmp_path_factory):
    """A network trained for a moment, its series with a jump beyond what calibration sees, the report's folder and tables."""
    need_package("matplotlib")
    need_package("jinja2")
    gatecell.manual_seed(3)
    rng = np.random.default_rng(3)
    x = np.stack([10 + 2 * np.sin(np.arange(T) / 9), rng.normal(-3, 0.5, T)], axis=1).astype(np.float32)
    x[150:153, 0] += 40
    net, batch = Net(request.param), 0 if request.param else 1
    y = np.tanh(np.expand_dims(x, batch) - [10, -3]).astype(np.float32)
    optimizer = gatecell.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(np.expand_dims(x, batch)), gatecell.tensor(y)).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("report")
    page = report.write(net, x, NAMES, folder / "new", title="a <b> c", window=50)
    return net, x, page, Cells(page.read_text()).tables


def test_the_files(made):
    *_, page, _ = made
    assert sorted(p.name for p in page.parent.iterdir()) == ["errors.png", "index.html", "outputs.png"]
    text = page.read_text()
    assert set(re.findall(r'src="(.*?)"', text)) == {"errors.png", "outputs.png"}
    assert all((page.parent / name).read_bytes()[:4] == b"\x89PNG" for name in ("errors.png", "outputs.png"))
    assert "<h1>a &lt;b&gt; c</h1>" in text
    assert f"{T} steps: the first {CUT}" in text


def test_errors_are_the_models(made):
    net, x, _, tables = made
    want = gatecell.deploy.stream.streamed(net, x)[CUT:]
    rows = {row[0]: row[1:] for row in tables["Integers against floats"][1:]}
    assert list(rows) == [f"output {k}, {scheme}" for scheme in SCHEMES for k in range(2)]
    for scheme in SCHEMES:
        got = gatecell.quantize(net, x[:CUT], scheme)(x)[CUT:]
        for k in range(2):
            rmse, largest, deviation, ratio = rows[f"output {k}, {scheme}"]
            error = np.sqrt(np.mean((got[:, k] - want[:, k]) ** 2))
            assert float(rmse) == pytest.approx(error, rel=budgets.REPORT_SHOWN)
            assert float(largest) == pytest.approx(abs(got - want)[:, k].max(), rel=budgets.REPORT_SHOWN)
            assert float(deviation) == pytest.approx(want[:, k].std(), rel=budgets.REPORT_SHOWN)
            assert float(ratio.removesuffix(" dB")) == pytest.approx(20 * np.log10(want[:, k].std() / error), abs=0.1)


def test_the_step_graph_and_what_it_takes(made):
    net, x, _, tables = made
    graph = tables["The step graph"][1:]
    assert [row[1] for row in graph] == ["standardize", CLASSIC[-1].title, CLASSIC[-1].title, "linear", "tanh", "linear"]
    assert [row[2] for row in graph] == ["2 → 2", "2 → 7", "7 → 7", "7 → 5", "5 → 5", "5 → 2"]
    assert sum(int(row[3].replace(",", "")) for row in graph) == sum(v.numel() for v in net.state_dict().values())
    head, *rows, total = tables["Bytes of weights, biases and scales"]
    assert head[2:] == ["float", *SCHEMES]
    numbers = np.array([[int(cell.replace(",", "")) for cell in row[2:]] for row in [*rows, total]])
    np.testing.assert_array_equal(numbers[:-1].sum(0), numbers[-1])
    assert numbers[-1, 0] == 4 * sum(v.numel() for v in net.state_dict().values())
    stored = gatecell.quantize(net, x[:CUT]).to_arrays()
    assert numbers[-1, 1] == sum(a.nbytes for name, a in stored.items() if name != "description")


def test_the_inputs(made):
    _, x, _, tables = made
    _, heat, wind = tables["The inputs"]
    assert [heat[0], wind[0]] == NAMES
    want = [f(x[:, 0]) for f in (np.min, np.max, np.mean, np.std)]
    assert [float(v) for v in heat[1:5]] == pytest.approx(want, rel=budgets.REPORT_SHOWN)
    low, high = (float(v) for v in heat[5].split(" to "))
    assert low < x[:CUT, 0].min() < x[:CUT, 0].max() < high < 40
    assert heat[7] == "5 %"  # 3 of the 60 steps that judge
    assert wind[7] == "0 %"


def test_what_cannot_be_reported(tmp_path, monkeypatch):
    x = np.ones((9, 3))
    with pytest.raises(ValueError, match="at least 2 steps .* got 1 and 200"):
        report.write(nn.GRU(3, 2), x[:1], "abc", tmp_path / "r", title="")
    with pytest.raises(gatecell.Unsupported, match="end"):
        report.write(nn.GRU(3, 2, bidirectional=True), x, "abc", tmp_path / "r", title="")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"wants jinja2, which is not installed: pip install 'gatecell\[report\]'"):
        report.write(nn.GRU(3, 2), x, "abc", tmp_path / "r", title="")
    assert not (tmp_path / "r").exists()
