"""Scans: the page against the papers' loops, the core against the page, gradients against the complex step; bits, chunks, threads.

Not here: layers and blocks made of them (test_scan_layers.py).
"""

import numpy as np
import pytest

import budgets
import gatecell
import textbook_scans as textbook
from gatecell.algebra.scan import total
from gatecell.cells import scan_record, scans
from gatecell.cells.scan_reference import Reference
from gatecell.tensor.scan import number, scan

SHAPES = [(1, 1, 1, 1), (4, 2, 3, 5), (70, 1, 64, 16), (9, 3, 80, 16), (19, 2, 130, 17), (1, 2, 64, 16), (2, 1, 31, 33)]
"""T, B, H, N: around the vectors' and the blocks' lengths, one step that lies where the arrays do, more steps than a stretch has."""
NAMES = list(scans)


def draw(of, T, B, H, N, rng):
    """Inputs, parameters and states of a run that stays finite: decays decay, weights are positive where the paper has them so."""
    sizes = {"1": (), "H": (H,), "N": (N,), "NH": (N, H)}
    inputs = {k: rng.normal(size=(T, B, *sizes[a])) for k, a in of.inputs.items()}
    params = {k: rng.normal(size=sizes[a]) for k, a in of.params.items()}
    states = {k: rng.normal(size=(B, *sizes[a])) for k, a in of.states.items()}
    if of.name == "selective":
        inputs["dt"], params["A"] = 0.3 * abs(inputs["dt"]), -0.1 - abs(params["A"])
    if of.name == "s4d":
        scale = 0.95 / np.maximum(1, np.hypot(params["Ar"], params["Ai"]))
        params["Ar"], params["Ai"] = params["Ar"] * scale, params["Ai"] * scale
    if of.name == "wkv":
        params["w"], states["b"] = -abs(params["w"]), 1 + abs(states["b"])
    return inputs, params, states


def relative(got, want):
    return abs(got - want).max() / max(1, abs(want).max())


def sizes_of(of, *groups):
    """{"H": .., "N": ..} of arrays with a shape of their own."""
    found = {}
    for group, axes in zip(groups, (of.inputs, of.params, of.states), strict=True):
        for k, a in group.items():
            found |= dict(zip(axes[k].replace("1", ""), a.shape[a.ndim - len(axes[k].replace("1", "")) :], strict=True))
    return found


def run(of, inputs, params, states, dtype=np.float64, grad=False):
    """The core's output, last states in their own shapes, and the tensors that it was given, whose rows are flat."""
    sizes = sizes_of(of, inputs, params, states)

    def flat(a, before):
        a = np.asarray(a, dtype)
        return gatecell.Tensor(a if a.ndim == before + 1 else a.reshape(*a.shape[:before], -1), requires_grad=grad)

    given = [{k: flat(a, before) for k, a in g.items()} for g, before in ((inputs, 2), (params, 0), (states, 1))]
    out, last = scan(of, *given, **sizes)
    return out, {k: t.reshape(states[k].shape) for k, t in last.items()}, {k: t for g in given for k, t in g.items()}


def differentiated(of, given, dout, dlast, dtype):
    """Output, last states and gradients by name, of the core."""
    out, last, tensors = run(of, *given, dtype, grad=True)
    loss = (out * gatecell.Tensor(dout.astype(dtype))).sum()
    for k, t in last.items():
        loss = loss + (t * gatecell.Tensor(dlast[k].astype(dtype))).sum()
    loss.backward()
    return {"output": out.data} | {k + "'": t.data for k, t in last.items()} | {
        "d" + k: tensors[k].grad.data.reshape(a.shape) for g in given for k, a in g.items()
    }


def seeds(of, given, T, B, rng):
    H = next(given[0][k].shape[-1] for k, a in of.inputs.items() if a == "H")
    return rng.normal(size=(T, B, H)), {k: rng.normal(size=a.shape) for k, a in given[2].items()}


# The page against the papers.


def test_selective_scan_is_the_papers(rng):
    of = scans["selective"]
    inputs, params, states = draw(of, 7, 2, 5, 3, rng)
    out, over = Reference(of, inputs, params).forward(states)
    y, s = textbook.selective(*inputs.values(), *params.values(), *states.values())
    assert relative(out, y) < budgets.SCAN_PAGE and relative(over["s"][-1], s) < budgets.SCAN_PAGE


def test_matrix_memory_is_the_papers_without_its_stabiliser(rng):
    of = scans["mlstm"]
    inputs, params, states = draw(of, 7, 3, 5, 4, rng)
    out, over = Reference(of, inputs, params).forward(states)
    scale = np.exp(states["m"])  # what a state's stabiliser has divided it by
    y, C, n = textbook.mlstm_without_stabiliser(*inputs.values(), states["C"] * scale[:, None, None], states["n"] * scale[:, None])
    last = np.exp(over["m"][-1])
    assert relative(out, y) < budgets.SCAN_PAGE
    assert relative(over["C"][-1] * last[:, None, None], C) < budgets.SCAN_PAGE
    assert relative(over["n"][-1] * last[:, None], n) < budgets.SCAN_PAGE


def test_diagonal_state_space_is_the_papers(rng):
    of = scans["s4d"]
    inputs, params, states = draw(of, 9, 2, 5, 3, rng)
    out, over = Reference(of, inputs, params).forward(states)
    A, C = params["Ar"] + 1j * params["Ai"], params["Cr"] + 1j * params["Ci"]
    y, s = textbook.diagonal(inputs["u"], A, C / 2, params["D"], states["sr"] + 1j * states["si"])
    assert relative(out, y) < budgets.SCAN_PAGE
    assert relative(over["sr"][-1] + 1j * over["si"][-1], s) < budgets.SCAN_PAGE


def test_weighted_mean_is_the_papers_sum_over_the_past(rng):
    of = scans["wkv"]
    inputs, params, _ = draw(of, 9, 2, 5, 1, rng)
    nothing = {"a": np.zeros((2, 5)), "b": np.zeros((2, 5)), "p": np.full((2, 5), -1e38)}
    out, _ = Reference(of, inputs, params).forward(nothing)
    assert relative(out, textbook.wkv(*inputs.values(), *params.values())) < budgets.SCAN_PAGE


# The derived gradient against the complex step.


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_exact(name, rng):
    of, (T, B) = scans[name], (4, 2)
    given = draw(of, T, B, 3, 5, rng)
    dout, dlast = seeds(of, given, T, B, rng)
    reference = Reference(of, *given[:2])
    found = reference.backward(reference.forward(given[2])[1], dout, dlast)
    for group in range(3):
        for k, a in given[group].items():
            for flat in rng.choice(a.size, min(4, a.size), replace=False):
                moved = [{n: v.astype(complex) for n, v in g.items()} for g in given]
                moved[group][k].reshape(-1)[flat] += 1e-30j
                out, over = Reference(of, *moved[:2]).forward(moved[2])
                want = ((out * dout).sum() + sum((over[s][-1] * dlast[s]).sum() for s in dlast)).imag / 1e-30
                assert abs(found[k].reshape(-1)[flat] - want) < budgets.SCAN_GRADIENT * abs(found[k]).max(), (k, flat)


# The core against the page.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_core_is_the_reference(name, shape, dtype, rng):
    of, (T, B, H, N) = scans[name], shape
    assert number(of) >= 0, f"{name} is not compiled: run python -m gatecell.emit and build"
    given = [{k: a.astype(dtype).astype(float) for k, a in g.items()} for g in draw(of, T, B, H, N, rng)]
    dout, dlast = seeds(of, given, T, B, rng)
    got = differentiated(of, given, dout, dlast, dtype)
    reference = Reference(of, *given[:2])
    out, over = reference.forward(given[2])
    want = {"output": out} | {k + "'": a[-1] for k, a in over.items()}
    want |= {"d" + k: a for k, a in reference.backward(over, dout, dlast).items()}
    budget = budgets.SCAN_CORE if dtype is np.float64 else budgets.SCAN_FLOAT
    far = {k: relative(got[k], want[k]) for k in want}
    assert max(far.values()) < budget, far


@pytest.mark.parametrize("name", NAMES)
def test_bits_depend_on_neither_chunks_nor_batch_nor_threads(name, rng):
    of, T, B, H, N = scans[name], 23, 3, 70, 5
    given = draw(of, T, B, H, N, rng)
    dout, dlast = seeds(of, given, T, B, rng)
    before = gatecell.get_num_threads()
    whole = differentiated(of, given, dout, dlast, np.float32)
    try:
        gatecell.set_num_threads(3 if before == 1 else 1)
        for k, a in differentiated(of, given, dout, dlast, np.float32).items():
            assert np.array_equal(a, whole[k]), f"{k} depends on threads"
    finally:
        gatecell.set_num_threads(before)
    states, outputs = given[2], []
    for part in (slice(0, 1), slice(1, 2), slice(2, 13), slice(13, T)):  # one step runs where the arrays lie, several in scratch
        out, last, _ = run(of, {k: a[part] for k, a in given[0].items()}, given[1], states, np.float32)
        states = {k: t.data for k, t in last.items()}
        outputs.append(out.data)
    assert np.array_equal(np.concatenate(outputs), whole["output"])
    assert all(np.array_equal(a, whole[k + "'"]) for k, a in states.items())
    alone, _, _ = run(of, {k: a[:, 1:2] for k, a in given[0].items()}, given[1], {k: a[1:2] for k, a in given[2].items()}, np.float32)
    assert np.array_equal(alone.data, whole["output"][:, 1:2])


@pytest.mark.parametrize("name", NAMES)
def test_arrays_may_lie_anyhow(name, rng):
    """Batch-first views, every second channel, parameters of a transposed matrix."""
    of, T, B, H, N = scans[name], 5, 2, 6, 3
    inputs, params, states = draw(of, T, B, H, N, rng)
    want, _, _ = run(of, inputs, params, states)
    views = {k: np.ascontiguousarray(np.swapaxes(a, 0, 1)).swapaxes(0, 1) for k, a in inputs.items()}
    got, _, _ = run(of, views, {k: np.asfortranarray(a) for k, a in params.items()}, {k: np.asfortranarray(a) for k, a in states.items()})
    assert np.array_equal(got.data, want.data)
    spread = {k: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim == 3 else a for k, a in inputs.items()}
    got, _, _ = run(of, spread, params, states)
    assert np.array_equal(got.data, want.data)


# Pages from anywhere.


@scan_record("x:H", "d:H", "s:NH n:N", source="nobody")
def own(x, d, s, n):
    s = 0.5 * s + x * n
    return total(s * s) + total(x + n) * d, s, n + 0.25


def test_a_page_of_ones_own_runs_in_numpy(rng):
    """Sums of what lacks entries on one side, a gradient that is the same along an axis, a state that reads none of the others."""
    assert number(own) == -1
    given = draw(own, 6, 2, 4, 3, rng)
    dout, dlast = seeds(own, given, 6, 2, rng)
    got = differentiated(own, given, dout, dlast, np.float64)
    x, d, s, n = (*given[0].values(), *given[1].values(), *given[2].values())
    for t in range(6):
        s = 0.5 * s + x[t][:, None] * n[:, :, None]
        y = (s**2).sum(1) + (3 * x[t] + n.sum(1)[:, None]) * d
        assert relative(got["output"][t], y) < budgets.SCAN_PAGE
        n = n + 0.25
    k = (1, 2)
    moved = [{name: a.astype(complex) for name, a in g.items()} for g in given]
    moved[2]["n"][k] += 1e-30j
    out, over = Reference(own, *moved[:2]).forward(moved[2])
    want = ((out * dout).sum() + sum((over[s][-1] * dlast[s]).sum() for s in dlast)).imag / 1e-30
    assert abs(got["dn"][k] - want) < budgets.SCAN_GRADIENT * abs(got["dn"]).max()


def test_pages_that_break_the_grammar_are_refused():
    def page(x, s):
        return x * s, s

    with pytest.raises(TypeError, match="wants the arguments x y s"):
        scan_record("x:H y:H", "", "s:NH")(page)
    with pytest.raises(TypeError, match="input x wants to be over 1, H, N, got NH"):
        scan_record("x:NH", "", "s:NH")(page)
    with pytest.raises(TypeError, match="output wants to be over H, got NH"):
        _ = scan_record("x:H", "", "s:NH")(page).program
    with pytest.raises(TypeError, match="new s wants to be over H"):
        _ = scan_record("x:H", "", "s:H")(lambda x, s: (x, 1.0)).program
    with pytest.raises(TypeError, match="2 values|got 3 values"):
        _ = scan_record("x:H", "", "s:H")(lambda x, s: (x, s, s)).program
    with pytest.raises(TypeError, match="total wants a value over N entries"):
        _ = scan_record("x:H", "", "s:H")(lambda x, s: (total(x), s)).program
    with pytest.raises(KeyError, match="no scan 'none'"):
        scans["none"]


def test_bad_arrays_are_refused(rng):
    of = scans["selective"]
    inputs, params, states = draw(of, 3, 2, 4, 5, rng)
    with pytest.raises(ValueError, match="inputs dt, B, C, x, got dt"):
        run(of, {"dt": inputs["dt"]}, params, states)
    with pytest.raises(ValueError, match=r"input x wants shape \(3, 2, 4\), got \(3, 2, 5\)"):
        run(of, {**inputs, "x": inputs["B"]}, params, states)
    with pytest.raises(ValueError, match=r"state s wants shape \(2, 20\)"):
        run(of, inputs, params, {"s": states["s"][:1]})
    with pytest.raises(ValueError, match="none of them 0"):
        run(of, {k: a[:0] for k, a in inputs.items()}, params, states)
    given = [{k: gatecell.Tensor(a) for k, a in g.items()} for g in (inputs, params, states)]
    given[1]["A"] = given[1]["A"].float()
    with pytest.raises(TypeError, match="of one type"):
        scan(of, *given, H=4, N=5)
