"""Initialisation by gates, for every cell that has them: what is set, what is left alone, what the gates then do to a memory.

Which gate forgets is a fact of a cell's record; the last test here judges it by the papers' loops.
"""

import numpy as np
import pytest

import budgets
import gatecell
import pages
from gatecell import cells, nn
from gatecell.cells import record

I, H = 3, 6
FORGET = [c for c in pages.EVERY if c.keeps]
forgetting = pytest.mark.parametrize("cell", FORGET, ids=lambda c: c.name)


def layer(cell, **options):
    return nn.Recurrent(cell, I, H, proj_size=0 if cell.axis(cell.states[0]) == "H" else 4, **options)


def biases(weights, cell, gate):
    """Of each kind of product: the gate's bias, (H,), a view."""
    weights = {k: v if isinstance(v, np.ndarray) else v.data for k, v in weights.items()}
    gate = gate.lstrip("-")
    families = {f: gates for f, gates in cell.program.families.items() if gate in gates and f + "+" in weights}
    out = [np.split(weights[f + "+"], len(gates))[gates.index(gate)] for f, gates in families.items()]
    return out or [weights["p.b" + gate]]


def others(before, after, cell, gates):
    """Whether all but the gates' biases is as it was."""
    for now, then in zip(after, before, strict=True):
        for k, v in now.items():
            left = np.ones(v.shape, bool)
            for gate in gates:
                family = cell.program.families.get(k.rstrip("+"), [])
                if k == "p.b" + gate.lstrip("-"):
                    left[:] = False
                elif k.endswith("+") and gate.lstrip("-") in family:
                    each = len(v.data) // len(family)
                    at = family.index(gate.lstrip("-")) * each
                    left[at : at + each] = False
            assert np.array_equal(v.data[left], then[k][left]), k


def copies(m):
    return [{k: v.data.copy() for k, v in part.items()} for part in m.parts()]


@forgetting
def test_forget_bias(cell):
    m = layer(cell, num_layers=2, bidirectional=True)
    before = copies(m)
    assert nn.init.forget_bias_(m, 1.5) is m
    sign = -1 if cell.keeps[0] == "-" else 1
    for part in m.parts():
        first, *rest = biases(part, cell, cell.keeps)
        assert (first == sign * 1.5).all() and not any(b.any() for b in rest)
    others(before, m.parts(), cell, [cell.keeps])
    assert len(m.parts()) == 4


@forgetting
def test_chrono(cell):
    m = layer(cell, num_layers=2)
    before = copies(m)
    assert nn.init.chrono_(m, 100) is m
    sign = -1 if cell.keeps[0] == "-" else 1
    for part in m.parts():
        first, *rest = biases(part, cell, cell.keeps)
        assert (sign * first >= 0).all() and (sign * first <= np.log(99)).all() and len(set(first)) == len(first)
        assert not any(b.any() for b in rest)
        if cell.admits:
            assert np.array_equal(biases(part, cell, cell.admits)[0], -first)
    others(before, m.parts(), cell, [cell.keeps, *([cell.admits] if cell.admits else [])])


def test_chrono_is_the_logarithm_of_a_uniform_number():
    """exp(b) - 1 over [0, longest - 2]: mean and largest distance from the uniform distribution's, 4000 draws."""
    m = nn.GRUCell(1, 4000)
    nn.init.chrono_(m, 21)
    u = np.sort((np.exp(m.bias_ih.data[4000:8000].astype(np.float64)) - 1) / 19)
    assert abs(u - np.arange(4000) / 4000).max() < 1.95 / np.sqrt(4000)  # Kolmogorov and Smirnov: one in a thousand is beyond
    nn.init.chrono_(m, 2)
    assert not m.bias_ih.data[4000:8000].any()


@pytest.mark.parametrize("cell", [c for c in pages.EVERY if "R" in c.program.families], ids=lambda c: c.name)
def test_orthogonal_gates(cell):
    m = layer(cell, num_layers=2)
    before = copies(m)
    assert nn.init.orthogonal_gates_(m, 2.0) is m
    gates = cell.program.families["R"]
    heads = cell.program.weights[f"R.{gates[0]}"].blocks != "1"
    for part, then in zip(m.parts(), before, strict=True):
        matrices = np.split(part["R"].data, len(part["R"].data) // part["R"].shape[1] if heads else len(gates))
        for a in matrices:
            a = a if len(a) <= a.shape[1] else a.T
            assert abs(a @ a.T - 4 * np.eye(len(a))).max() <= budgets.ORTHOGONAL
        assert all(np.array_equal(v.data, then[k]) for k, v in part.items() if k != "R")
        assert not np.array_equal(matrices[0], matrices[-1]) or len(matrices) == 1


def test_they_are_repeatable_and_noticed():
    """From the seed; and a graph that has read the old weights says so."""
    made = []
    for _ in range(2):
        gatecell.manual_seed(3)
        m = nn.init.orthogonal_gates_(nn.init.chrono_(nn.LSTM(I, H), 50))
        made.append([p.data.copy() for p in m.parameters()])
    assert all(map(np.array_equal, *made))
    y = m(gatecell.randn(4, 2, I))[0].sum()
    nn.init.forget_bias_(m)
    with pytest.raises(RuntimeError):
        y.backward()


def test_what_is_wrong_is_said():
    for call in (nn.init.forget_bias_, nn.init.orthogonal_gates_, lambda m: nn.init.chrono_(m, 9)):
        with pytest.raises(TypeError, match="recurrent layer wanted, got Linear"):
            call(nn.Linear(2, 3))
    with pytest.raises(gatecell.Unsupported, match="rnn_tanh has no gate that forgets"):
        nn.init.forget_bias_(nn.RNN(2, 3))
    with pytest.raises(gatecell.Unsupported, match="the gate z of this gru has no bias"):
        nn.init.chrono_(nn.GRU(2, 3, bias=False), 9)
    with pytest.raises(gatecell.Unsupported, match="alone has no recurrent products"):
        nn.init.orthogonal_gates_(nn.Recurrent(alone, 2, 3))
    for longest in (1.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="at least 2 steps wanted"):
            nn.init.chrono_(nn.LSTM(2, 3), longest)


@record()
def alone(W, x, h):
    return W.a(x) + 0.5 * h


@pytest.mark.parametrize("cell", [c for c in pages.EVERY if c.keeps or c.admits], ids=lambda c: c.name)
def test_gates_do_what_the_record_says(cell, rng):
    """By the paper's loop: where `keeps` is 1 and `admits` 0 some state stays as it was, bit for bit; where either is not, none does."""
    w, x, start = pages.draw(cell, rng, 5, 2, {"I": I, "H": H, "M": H})

    def states(**far):
        m = {k: v.copy() for k, v in w.items()}
        for gate, value in far.items():
            name = getattr(cell, gate)
            for b in biases(m, cell, name) if name else ():
                b[:] = -value if name[0] == "-" else value
        over = pages.run_textbook(cell, m, x, start)
        return [s for s in cell.states if all(np.array_equal(v, start[s]) for v in over[s])]

    assert states(keeps=800.0, admits=-800.0)
    if cell.keeps:
        assert not states(keeps=-800.0, admits=-800.0)
    if cell.admits:
        assert not states(keeps=800.0, admits=800.0)


def test_every_cell_of_the_package_with_gates_says_which():
    """All but those without gates have a role for one."""
    own = [c for c in cells.values() if c.page.__module__.startswith("gatecell.")]
    assert {c.name for c in own if not (c.keeps or c.admits or c.candidate)} <= {c.name for c in own if len(c.program.weights) <= 2}
