"""gatecell.inspect: every gate and state of any cell by name, against equations written out and the layer's own outputs; pictures of it."""

import sys

import numpy as np
import pytest

import budgets
import gatecell
import pages
import textbook
from conftest import need_package
from gatecell import nn, report

every = pytest.mark.parametrize("cell", pages.EVERY, ids=lambda c: c.name)


def layer(cell, I, H, **options):
    return nn.Recurrent(cell, I, H, proj_size=0 if cell.axis(cell.states[0]) == "H" else 4, **options)


def start_of(m, rng, B, dtype=np.float32):
    """Random first states of a layer: as it takes them, and by name."""
    rows = len(m.parts())
    sizes = {"H": m.hidden_size, m.cell.axis(m.cell.states[0]): m.proj_size or m.hidden_size}
    given = {s: rng.normal(size=(rows, B, sizes[m.cell.axis(s)])).astype(dtype) for s in m.cell.states}
    given = pages.started(m.cell, given)
    tensors = tuple(gatecell.tensor(a) for a in given.values())
    return (tensors if len(tensors) > 1 else tensors[0]), given


@every
def test_states_are_the_papers_and_the_layers_own_bits(cell, rng):
    m = layer(cell, 3, 6, dtype=np.float64)
    x = rng.normal(size=(7, 2, 3))
    hx, given = start_of(m, rng, 2, np.float64)
    y, last = m(x, hx)
    seen = gatecell.inspect(m, x, hx)
    assert list(seen) == ["l0"] and seen["l0"].cell is cell and not seen["l0"].reverse
    one = seen["l0"]
    assert set(one.states) == set(cell.states) and not set(one.gates) & set(cell.states)
    assert np.array_equal(one[cell.states[0]], y.data)
    for s, end in zip(cell.states, last if isinstance(last, tuple) else (last,), strict=True):
        assert np.array_equal(one[s][-1], end.data[0]) and np.array_equal(one.start[s], given[s][0])
    if cell.name in pages.TEXTBOOK:
        w = {k: t.data for k, t in m.parts()[0].items()}
        want = pages.run_textbook(cell, w, x, {s: a[0] for s, a in given.items()})
        assert all(abs(one[s] - want[s]).max() <= budgets.CORE_DOUBLE for s in cell.states)


def by_hand(m, k, x, h, gate, f, gates):
    """f(W x + b + R h + b') of one gate; h (T, B, H) are the states before each step."""
    arrays = {key: t.data.astype(np.float64) for key, t in m.parts()[k].items() if key[0] in "WR"}
    w = {key: np.split(a, len(gates))[gates.index(gate)] for key, a in arrays.items()}
    return f(x @ w["W"].T + w["W+"] + h @ w["R"].T + w["R+"])


def before(states, start, reverse):
    return np.concatenate([states[1:], start[None]]) if reverse else np.concatenate([start[None], states[:-1]])


def test_gates_of_a_stack_in_both_directions_are_the_equations(rng):
    m = nn.LSTM(3, 6, 2, bidirectional=True, batch_first=True)
    x = rng.normal(size=(2, 9, 3)).astype(np.float32)
    seen = gatecell.inspect(m, x)
    assert list(seen) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    inputs = x.transpose(1, 0, 2)
    for k, (name, one) in enumerate(seen.items()):
        assert list(one) == ["i", "f", "g", "o", "h", "c"] and one.reverse == name.endswith("reverse")
        h = before(one["h"], one.start["h"], one.reverse)
        for gate in "ifgo":
            want = by_hand(m, k, inputs, h, gate, np.tanh if gate == "g" else textbook.sigmoid, "ifgo")
            np.testing.assert_allclose(one[gate], want, rtol=0, atol=budgets.CORE_FORWARD)
        c = before(one["c"], one.start["c"], one.reverse)
        np.testing.assert_allclose(one["c"], one["f"] * c + one["i"] * one["g"], rtol=0, atol=budgets.CORE_FORWARD)
        np.testing.assert_allclose(one["h"], one["o"] * np.tanh(one["c"]), rtol=0, atol=budgets.CORE_FORWARD)
        if name == "l0_reverse":
            inputs = np.concatenate([seen["l0"]["h"], one["h"]], -1)
    assert np.array_equal(m(x)[0].data.transpose(1, 0, 2), np.concatenate([seen["l1"]["h"], seen["l1_reverse"]["h"]], -1))


def test_gates_of_other_cells_are_their_equations(rng):
    """A reset after the product; one gate for two ends; a peephole on the new cell; what a page names beside its gates."""
    x = rng.normal(size=(9, 2, 3)).astype(np.float32)
    m = nn.GRU(3, 6)
    one = gatecell.inspect(m, x)["l0"]
    h = before(one["h"], one.start["h"], False)
    assert list(one.gates) == ["r", "z", "n"]
    r, z = (by_hand(m, 0, x, h, k, textbook.sigmoid, "rzn") for k in "rz")
    n = by_hand(m, 0, x, 0 * h, "n", lambda v: v, "rzn") - m.bias_hh_l0.data[12:]
    n = np.tanh(n + r * (h @ m.weight_hh_l0.data[12:].T + m.bias_hh_l0.data[12:]))
    for got, want in ((one["r"], r), (one["z"], z), (one["n"], n), (one["h"], z * h + (1 - z) * n)):
        np.testing.assert_allclose(got, want, rtol=0, atol=budgets.CORE_FORWARD)
    one = gatecell.inspect(layer(gatecell.cells["mgu"], 3, 6), x)["l0"]
    h = before(one["h"], one.start["h"], False)
    np.testing.assert_allclose(one["h"], (1 - one["f"]) * h + one["f"] * one["n"], rtol=0, atol=budgets.CORE_FORWARD)
    m = layer(gatecell.cells["lstm_peephole"], 3, 6)
    one = gatecell.inspect(m, x)["l0"]
    h, c = (before(one[s], one.start[s], False) for s in "hc")
    for gate, cell in (("i", c), ("f", c), ("o", one["c"])):
        want = by_hand(m, 0, x, h, gate, lambda v: v, "ifgo") + m.parts()[0]["p." + gate].data * cell
        np.testing.assert_allclose(one[gate], textbook.sigmoid(want), rtol=0, atol=budgets.CORE_FORWARD)


def far(m, gate, value):
    """A gate's bias so far out that its sigmoid is exactly 0 or 1."""
    for part in m.parts():
        key = "W+" if "W+" in part else f"p.b{gate}"
        gates = m.cell.program.families["W"] if key == "W+" else [gate]
        part[key].data.reshape(len(gates), -1)[gates.index(gate)] = value


MEMORY = {"slstm": ["c", "n", "m"]}
"""What remembers, where it is not the cell's c alone."""
BOTH = [c for c in pages.EVERY if c.keeps and c.admits and c.name != "minlstm"]  # whose two gates are one share


@pytest.mark.parametrize("cell", BOTH, ids=lambda c: c.name)
def test_f_1_and_i_0_keep_the_memory_bit_for_bit(cell, rng):
    """Over 40 steps of large inputs, while what would be new moves."""
    m = layer(cell, 3, 37)
    far(m, cell.keeps, 200.0)
    far(m, cell.admits, -200.0)
    hx, given = start_of(m, rng, 5)
    one = gatecell.inspect(m, 5 * rng.normal(size=(40, 5, 3)).astype(np.float32), hx)["l0"]
    assert (one[cell.keeps] == 1).all() and (one[cell.admits] == 0).all() and np.ptp(one[cell.candidate], axis=0).min() > 0
    kept = [s for s in cell.states if np.array_equal(one[s], np.broadcast_to(given[s][0], one[s].shape))]
    assert kept == MEMORY.get(cell.name, ["c"])


@pytest.mark.parametrize("cell", [c for c in pages.EVERY if c.keeps and not c.admits], ids=lambda c: c.name)
def test_one_gate_for_both_keeps_the_memory_to_rounding(cell, rng):
    """n + z (h - n) with z = 1 rounds twice, at each of 40 steps."""
    m = layer(cell, 3, 37)
    far(m, cell.keeps.lstrip("-"), -200.0 if cell.keeps[0] == "-" else 200.0)
    hx, given = start_of(m, rng, 5)
    one = gatecell.inspect(m, rng.normal(size=(40, 5, 3)).astype(np.float32), hx)["l0"]
    assert (one[cell.keeps.lstrip("-")] == (cell.keeps[0] != "-")).all()
    memory = "c" if "c" in cell.states else "h"
    assert abs(one[memory] - given[memory][0]).max() <= 40 * 2.0**-23 * max(1, abs(given[memory]).max())


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_of_their_own_length_are_nan_beyond_it(reverse, rng):
    m = nn.GRU(3, 5, bidirectional=True)
    x, lengths = rng.normal(size=(8, 3, 3)).astype(np.float32), [8, 1, 5]
    one = gatecell.inspect(m, x, lengths=lengths)["l0_reverse" if reverse else "l0"]
    for b, n in enumerate(lengths):
        alone = gatecell.inspect(m, x[:n, b : b + 1])["l0_reverse" if reverse else "l0"]
        for k in one:
            assert np.array_equal(one[k][:n, b], alone[k][:, 0]) and np.isnan(one[k][n:, b]).all(), k


class Loop(nn.Module):
    """A cell step by step over one layer, and another batch of it at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.cell, self.head = nn.RNN(3, 4), nn.LSTMCell(4, 5), nn.Linear(5, 1)

    def forward(self, x):
        y, state = self.first(x)[0], None
        for t in range(len(y)):
            state = self.cell(y[t], state)
        self.cell(y[0][:1], None)
        return self.head(state[0])


def test_models_loops_and_modes(rng, tmp_path):
    m, x = Loop(), rng.normal(size=(6, 3, 3)).astype(np.float32)
    m.first.train()
    m.head.eval()
    seen = gatecell.inspect(m, x)
    assert list(seen) == ["first.l0", "cell", "cell (2)"] and m.first.training and not m.head.training
    assert seen["cell"]["c"].shape == (6, 3, 5) and seen["cell (2)"]["c"].shape == (1, 1, 5)
    whole = nn.LSTM(4, 5)
    whole.load_state_dict({k + "_l0": v for k, v in m.cell.state_dict().items()})
    again = gatecell.inspect(whole, gatecell.tensor(seen["first.l0"]["h"]))["l0"]
    assert list(again) == list(seen["cell"]) and all(np.array_equal(again[k], seen["cell"][k]) for k in again)
    net = nn.Sequential(nn.Standardize([0.0] * 3, [2.0] * 3), nn.LSTM(3, 4, zoneout=0.25, dropout=0.0))
    gatecell.save(net, tmp_path / "m")
    a, b = (next(iter(gatecell.inspect(v, x).values())) for v in (net, gatecell.load(tmp_path / "m")))
    assert list(a) == list(b) and all(np.array_equal(a[k], b[k]) for k in a) and a.cell.name == "lstm with zoneout h 0.25, zoneout c 0.25"


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match="a Module wanted, got ndarray"):
        gatecell.inspect(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="nothing recurs in Linear"):
        gatecell.inspect(nn.Linear(2, 3), np.ones((1, 2), np.float32))
    with pytest.raises(KeyError, match="one of r, z, n, h wanted"):
        gatecell.inspect(nn.GRU(2, 3), np.ones((4, 1, 2), np.float32))["l0"]["f"]


def test_pictures_show_the_values(rng, tmp_path):
    need_package("matplotlib")
    from gatecell.report.gates import drawn

    m, x = nn.LSTM(3, 6, bidirectional=True), rng.normal(size=(9, 2, 3)).astype(np.float32)
    seen = gatecell.inspect(m, x, lengths=[9, 4])
    panels = [a for a in drawn(seen, 1).axes if a.images and a.get_ylabel()]
    assert [a.get_ylabel() for a in panels] == [*"ifgohc"] * 2
    for axes, (one, name) in zip(panels, [(s, name) for s in seen.values() for name in s], strict=True):
        shown = np.ma.filled(axes.images[0].get_array().astype(np.float32), np.nan)
        assert np.array_equal(shown, one[name][:, 1].T, equal_nan=True)
        low, high = axes.images[0].get_clim()
        assert (low, high) == ({"i": (0, 1), "f": (0, 1), "o": (0, 1), "g": (-1, 1), "h": (-1, 1)}.get(name) or (-high, high))
    assert panels[0].get_title(loc="left") == "l0: LSTM" and panels[6].get_title(loc="left") == "l0_reverse: LSTM, from the last step"
    for suffix, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        path = report.gates(m, x, tmp_path / f"gates{suffix}", row=1)
        assert path.read_bytes().startswith(begins)
    with pytest.raises(ValueError, match="row: wanted 0 to 1, got 2"):
        report.gates(m, x, tmp_path / "none.png", row=2)


def test_without_matplotlib_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'gatecell\[report\]'"):
        report.gates(nn.GRU(2, 3), np.ones((4, 1, 2), np.float32), tmp_path / "a.png")
