"""The oracle judged: against torch and onnxruntime where they have the cell, against each other where one contains another,
and its hand-written gradients against complex step.  Nothing here imports gatecell either.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

import budgets
import textbook
import textbook_bptt

STEP = 1e-30  # of the complex step: its square vanishes beside 1 in float64
GATES = {"rnn": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_before": 3, "peephole": 4, "projected": 4, "full_gate_recurrence": 4}
GATES |= {"mgu": 2, "odyssey": 4}
SIZES = [(1, 1, 1, 1), (5, 2, 3, 4), (7, 3, 1, 13), (3, 1, 9, 17)]  # T, B, I, H


def draw(rng, name, T, B, I, H, M=None, bias=True):
    """x, start, w for a loop; M is the size of h where it is projected."""
    G, M = GATES[name], M or H
    normal = lambda *shape: rng.normal(size=shape) * 0.7
    w = {"W": normal(G * H, I), "R": normal(G * H, M)}
    if bias:
        w |= {"bW": normal(G * H), "bR": normal(G * H)}
    start = {"h": np.tanh(normal(B, M))}
    if name in ("lstm", "peephole", "projected", "full_gate_recurrence", "odyssey"):
        start["c"] = normal(B, H)
    if name == "projected":
        w["P"] = normal(M, H) / np.sqrt(H)
    if name in ("peephole", "full_gate_recurrence", "odyssey"):
        w |= {f"p_{k}": normal(H) for k in "ifo"}
    if name == "full_gate_recurrence":
        start |= {k: textbook.sigmoid(normal(B, H)) for k in "ifo"}
        w |= {f"R_{a}{b}": normal(H, H) for a in "ifo" for b in "ifo"}
    return normal(T, B, I), start, w


def same(a, b, tolerance=budgets.TEXTBOOK_TORCH):
    assert a.keys() == b.keys()
    for k in a:
        assert a[k].shape == b[k].shape, k
        np.testing.assert_allclose(a[k], b[k], rtol=0, atol=tolerance, err_msg=k)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    ("name", "layer", "options"),
    [
        ("rnn", torch.nn.RNN, {}),
        ("rnn_relu", torch.nn.RNN, {"nonlinearity": "relu"}),
        ("lstm", torch.nn.LSTM, {}),
        ("gru", torch.nn.GRU, {}),
        ("projected", torch.nn.LSTM, {"proj_size": 2}),
    ],
)
def test_equals_torch(rng, name, layer, options, sizes, bias):
    T, B, I, H = sizes
    M = options.get("proj_size")
    if M and M >= H:
        H = M + 1
    x, start, w = draw(rng, name, T, B, I, H, M, bias)
    if name == "rnn_relu":
        w["R"] /= 3 * H  # unbounded units: a contraction keeps them near 1, where the budget is meant
    module = layer(I, H, bias=bias, dtype=torch.float64, **options)
    stems = {"W": "weight_ih_l0", "R": "weight_hh_l0", "bW": "bias_ih_l0", "bR": "bias_hh_l0", "P": "weight_hr_l0"}
    module.load_state_dict({stems[k]: torch.from_numpy(v) for k, v in w.items()})
    given = tuple(torch.from_numpy(v)[None] for v in start.values())
    output, last = module(torch.from_numpy(x), given if len(given) > 1 else given[0])
    over = getattr(textbook, name)(x, start, w)
    scale = max(1.0, float(abs(over["h"]).max()))
    np.testing.assert_allclose(over["h"] / scale, output.detach().numpy() / scale, rtol=0, atol=budgets.TEXTBOOK_TORCH)
    if "c" in start:
        np.testing.assert_allclose(over["c"][-1], last[1][0].detach().numpy(), rtol=0, atol=budgets.TEXTBOOK_TORCH)


def onnxruntime_layer(op, order, x, start, w, **options):
    """Output over time of an ONNX layer with the loops' weights, whose gates it stacks in another order."""
    T, B, I = x.shape
    H = start["h"].shape[1]
    own = {"LSTM": "ifgo", "GRU": "rzn"}[op]

    def stacked(key):
        gates = np.split(w[key], len(own))
        return np.concatenate([gates[own.index(k)] for k in order]).astype(np.float32)

    biases = np.concatenate([stacked("bW"), stacked("bR")])
    arrays = {"W": stacked("W")[None], "R": stacked("R")[None], "B": biases[None], "h0": start["h"][None]}
    inputs = ["X", "W", "R", "B", "", "h0"]
    if "p_i" in w:
        arrays |= {"c0": start["c"][None], "P": np.concatenate([w["p_i"], w["p_o"], w["p_f"]])[None]}
        inputs += ["c0", "P"]
    node = helper.make_node(op, inputs, ["Y"], hidden_size=H, **options)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "one_layer",
        [info("X", onnx.TensorProto.FLOAT, [T, B, I])],
        [info("Y", onnx.TensorProto.FLOAT, [T, 1, B, H])],
        [onnx.numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": x.astype(np.float32)})
    return y[:, 0]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    ("name", "op", "order", "options"),
    [
        ("peephole", "LSTM", "iofg", {}),
        ("gru_before", "GRU", "zrn", {"linear_before_reset": 0}),
        ("gru", "GRU", "zrn", {"linear_before_reset": 1}),
    ],
)
def test_equals_onnxruntime(rng, name, op, order, options, sizes):
    x, start, w = draw(rng, name, *sizes)
    y = onnxruntime_layer(op, order, x, start, w, **options)
    np.testing.assert_allclose(getattr(textbook, name)(x, start, w)["h"], y, rtol=0, atol=budgets.TEXTBOOK_ONNX)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("change", ["", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG"])
def test_variants_are_onnxruntimes(rng, change, sizes):
    """A gate that is 1 there: no weights and a bias of 200; no activation: an affine one; coupled gates: an attribute."""
    x, start, w = draw(rng, "odyssey", *sizes)
    if change in ("NIAF", "NOAF"):
        w = {k: v * 0.3 for k, v in w.items()}  # what no tanh bounds stays near 1, where the budget is meant
    gone = {"NIG": "i", "NFG": "f", "NOG": "o"}.get(change, "")
    theirs = dict(w)
    for key in ("W", "R", "bW", "bR"):
        gates = dict(zip("ifgo", np.split(w[key], 4), strict=True))
        away = gone or ("f" if change == "CIFG" else "")
        w[key] = np.concatenate([v for k, v in gates.items() if k != away])
        ones = np.full(sizes[3], 100.0) if key[0] == "b" else np.zeros_like(gates["i"])
        theirs[key] = np.concatenate([ones if k == gone else v for k, v in gates.items()])
    if gone:
        theirs[f"p_{gone}"] = np.zeros(sizes[3])
    options = {"input_forget": 1} if change == "CIFG" else {}
    if change in ("NIAF", "NOAF"):
        kinds = ["Sigmoid", *(["Affine", "Tanh"] if change == "NIAF" else ["Tanh", "Affine"])]
        options = {"activations": kinds, "activation_alpha": [1.0], "activation_beta": [0.0]}
    y = onnxruntime_layer("LSTM", "iofg", x, start, theirs, **options)
    over = textbook.odyssey(x, start, w, change)
    scale = max(1.0, abs(over["c"]).max())
    np.testing.assert_allclose(over["h"] / scale, y / scale, rtol=0, atol=budgets.TEXTBOOK_ONNX)


def test_what_the_paper_calls_np_is_the_plain_lstm(rng):
    """And 1997's is NFG without peepholes."""
    x, start, w = draw(rng, "odyssey", 6, 3, 4, 5)
    w |= {f"p_{k}": np.zeros(5) for k in "ifo"}
    same(textbook.odyssey(x, start, w), textbook.lstm(x, start, w))
    w |= {k: np.concatenate([v for n, v in enumerate(np.split(w[k], 4)) if n != 1]) for k in ("W", "R", "bW", "bR")}
    same(textbook.odyssey(x, start, w, "NFG"), textbook.lstm_1997(x, start, w))


def test_one_unit_of_fastgrnn_by_hand():
    """Two steps by scalar arithmetic, worked out with the paper's equations; sigmoid(0) = 1/2 and sigmoid(log 3) = 3/4."""
    w = {"W": np.array([[0.5]]), "R": np.array([[-1.5]]), "b_z": np.array([0.1]), "b_h": np.array([0.2])}
    w |= {"zeta": np.array([np.log(3.0)]), "nu": np.array([0.0])}
    h = 0.3
    for x in (1.0, -2.0):
        a = 0.5 * x - 1.5 * h
        z = 1 / (1 + np.exp(-(a + 0.1)))
        h = (0.75 * (1 - z) + 0.5) * np.tanh(a + 0.2) + z * h
    over = textbook.fastgrnn(np.array([[[1.0]], [[-2.0]]]), {"h": np.array([[0.3]])}, w)
    np.testing.assert_allclose(over["h"][-1, 0, 0], h, rtol=0, atol=budgets.TEXTBOOK_TORCH)


@pytest.mark.parametrize("name", ["mingru", "minlstm"])
def test_minimal_cells_are_the_papers_parallel_form(rng, name):
    """Their h_t = a_t h_(t-1) + b_t over all steps at once: products of a, and sums of b over these (appendix A)."""
    x, start = rng.normal(size=(7, 3, 4)), {"h": rng.normal(size=(3, 5))}
    G = 2 if name == "mingru" else 3
    w = {"W": rng.normal(size=(G * 5, 4)), "bW": rng.normal(size=G * 5)}
    sums = np.split(x @ w["W"].T + w["bW"], G, axis=-1)
    gates = [textbook.sigmoid(v) for v in sums[:-1]]
    b_share = gates[0] if name == "mingru" else gates[0] / (gates[0] + gates[1])
    a, b = np.cumprod(1 - b_share, axis=0), b_share * sums[-1]
    want = a * (start["h"] + np.cumsum(b / a, axis=0))
    same(getattr(textbook, name)(x, start, w), {"h": want}, budgets.TEXTBOOK_PARALLEL)


def test_slstm_is_the_papers_recurrence_without_a_stabiliser(rng):
    """Equations 8 to 14 as they stand: c and n with gates exp(i) and sigmoid(f), of no scale; two heads of their own units."""
    T, B, I, H = 9, 3, 4, 6
    x, shapes = rng.normal(size=(T, B, I)), {"W": (4 * H, I), "R": (4 * H, H // 2), "bW": 4 * H}
    w = {k: rng.normal(size=shape) for k, shape in shapes.items()}
    start = {k: np.zeros((B, H)) for k in "hcnm"}
    h, c, n, hs = np.zeros((B, H)), 0, 0, []
    R = np.zeros((4, H, H))
    for k in (slice(0, 3), slice(3, 6)):
        R[:, k, k] = w["R"].reshape(4, H, 3)[:, k]
    for x_t in x:
        i, f, z, o = (x_t @ W.T + u + h @ r.T for W, u, r in zip(np.split(w["W"], 4), np.split(w["bW"], 4), R, strict=True))
        c = textbook.sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = textbook.sigmoid(f) * n + np.exp(i)
        h = textbook.sigmoid(o) * c / n
        hs.append(h)
    over = textbook.slstm(x, start, w)
    np.testing.assert_allclose(over["h"], hs, rtol=0, atol=budgets.TEXTBOOK_PARALLEL)
    np.testing.assert_allclose(over["n"][-1] * np.exp(over["m"][-1]), n, rtol=budgets.TEXTBOOK_PARALLEL)


def test_a_cell_without_its_extra_is_the_plain_one(rng):
    """Peepholes of 0, gate-to-gate weights of 0, a projection that changes nothing."""
    x, start, w = draw(rng, "full_gate_recurrence", 6, 3, 4, 5)
    w |= {k: np.zeros((5, 5)) for k in w if len(k) == 4}
    with_peepholes = textbook.peephole(x, start, w)
    over = textbook.full_gate_recurrence(x, start, w)
    same({k: over[k] for k in "hc"}, with_peepholes)
    w |= {f"p_{k}": np.zeros(5) for k in "ifo"}
    plain = textbook.lstm(x, start, w)
    assert abs(plain["c"] - with_peepholes["c"]).max() > budgets.TEXTBOOK_DIFFERS
    same(textbook.peephole(x, start, w), plain)
    same(textbook.projected(x, start, w | {"P": np.eye(5)}), plain)


def test_the_two_resets_agree_where_the_product_is_per_unit(rng):
    """R_n diagonal and without a bias: r * (R h) = R (r * h)."""
    x, start, w = draw(rng, "gru", 6, 3, 4, 5)
    assert abs(textbook.gru(x, start, w)["h"] - textbook.gru_before(x, start, w)["h"]).max() > budgets.TEXTBOOK_DIFFERS
    w["R"][10:] = np.diag(np.diag(w["R"][10:]))
    w["bR"][10:] = 0
    same(textbook.gru(x, start, w), textbook.gru_before(x, start, w))


@pytest.mark.parametrize("a", "ifo")
@pytest.mark.parametrize("b", "ifo")
def test_full_gate_recurrence_leads_from_a_to_b(rng, a, b):
    """With R_ab alone, a at the start moves b at the first step and neither other gate; each is a gate, in (0, 1)."""
    x, start, w = draw(rng, "full_gate_recurrence", 6, 3, 4, 5)
    w |= {k: np.zeros((5, 5)) for k in w if len(k) == 4 and k != f"R_{a}{b}"} | {"p_o": np.zeros(5)}
    over = textbook.full_gate_recurrence(x, start, w)
    other = textbook.full_gate_recurrence(x, start | {a: start[a] + 0.1}, w)
    assert all(over[k].min() > 0 and over[k].max() < 1 for k in "ifo")
    assert {k for k in "ifo" if abs(other[k][0] - over[k][0]).max() > budgets.TEXTBOOK_DIFFERS} == {b}


def test_one_unit_of_mgu_by_hand():
    """Two steps of one unit by scalar arithmetic, worked out with the paper's equations 12 to 14."""
    w = {"W": np.array([[0.5], [-1.0]]), "R": np.array([[2.0], [0.25]]), "bW": np.array([0.1, 0.2]), "bR": np.zeros(2)}
    h = 0.3
    for x in (1.0, -2.0):
        f = 1 / (1 + np.exp(-(0.5 * x + 2.0 * h + 0.1)))
        h = (1 - f) * h + f * np.tanh(-1.0 * x + 0.25 * (f * h) + 0.2)
    over = textbook.mgu(np.array([[[1.0]], [[-2.0]]]), {"h": np.array([[0.3]])}, w)
    np.testing.assert_allclose(over["h"][-1, 0, 0], h, rtol=0, atol=budgets.TEXTBOOK_TORCH)


def test_layer_norm_forgets_the_scale_of_its_products(rng):
    """What the paper promises: weights times 1000 leave the states alone (but for EPS), gains do not; the mean of a gate is its bias."""
    T, B, I, H = 4, 3, 5, 11
    x, start = rng.normal(size=(T, B, I)), {"h": rng.normal(size=(B, H)), "c": rng.normal(size=(B, H))}
    w = {"W": rng.normal(size=(4 * H, I)) * 1e3, "R": rng.normal(size=(4 * H, H)) * 1e3}
    w |= {k: rng.normal(size=4 * H) for k in ("a_x", "a_h", "b")} | {k: rng.normal(size=H) for k in ("a_c", "b_c")}
    over = textbook.layer_norm_lstm(x, start, w)
    larger = textbook.layer_norm_lstm(x, start, w | {"W": w["W"] * 1e3, "R": w["R"] * 1e3})
    same(over, larger, budgets.TEXTBOOK_SCALE)
    assert abs(textbook.layer_norm_lstm(x, start, w | {"a_x": w["a_x"] * 2})["h"] - over["h"]).max() > budgets.TEXTBOOK_GAIN_DIFFERS
    reference = torch.nn.functional.layer_norm(torch.from_numpy(x), (I,)).numpy()
    np.testing.assert_allclose(textbook.layer_norm(x), reference, rtol=0, atol=budgets.TEXTBOOK_TORCH)


@pytest.mark.parametrize("name", ["lstm", "rnn", "gru"])
@pytest.mark.parametrize("sizes", SIZES)
def test_bptt_by_hand_is_the_complex_step(rng, name, sizes):
    """Every entry of every gradient: the loss is the sum of h times fixed random numbers."""
    x, start, w = draw(rng, name, *sizes)
    dh = rng.normal(size=(sizes[0], sizes[1], sizes[3]))
    got = getattr(textbook_bptt, f"{name}_bptt")(x, start, w, dh)
    arrays = {"x": x} | w | start
    assert got.keys() == arrays.keys()
    for key, array in arrays.items():
        want = np.empty_like(array)
        for at in np.ndindex(array.shape):
            shifted = {k: v.astype(complex) for k, v in arrays.items()}
            shifted[key][at] += 1j * STEP
            over = getattr(textbook, name)(shifted["x"], {k: shifted[k] for k in start}, {k: shifted[k] for k in w})
            want[at] = (over["h"].imag * dh).sum() / STEP
        np.testing.assert_allclose(got[key], want, rtol=0, atol=budgets.TEXTBOOK_GRADIENT * max(1.0, abs(want).max()), err_msg=key)


@pytest.mark.parametrize("name", [*GATES, "layer_norm_lstm"])
def test_complex_numbers_and_float32_pass_through(rng, name):
    """The real part is the real loop's; the imaginary part is the derivative that a central difference sees; float32 stays float32."""
    if name == "layer_norm_lstm":
        x, start, w = draw(rng, "lstm", 4, 2, 3, 5, bias=False)
        w |= {k: rng.normal(size=20) for k in ("a_x", "a_h", "b")} | {k: rng.normal(size=5) for k in ("a_c", "b_c")}
    else:
        x, start, w = draw(rng, name, 4, 2, 3, 5, 3 if name == "projected" else None)
    loop, direction = getattr(textbook, name), rng.normal(size=w["R"].shape)
    at = lambda step: loop(x, start, w | {"R": w["R"] + step * direction})
    stepped, difference = at(1j * STEP), {k: (at(1e-5)[k] - at(-1e-5)[k]) / 2e-5 for k in start}
    assert abs(stepped["h"].imag).max() > 0
    for k, v in at(0).items():
        assert v.shape[:2] == (4, 2)
        np.testing.assert_allclose(stepped[k].real, v, rtol=0, atol=budgets.TEXTBOOK_TORCH)
        budget = budgets.CENTRAL_DIFFERENCE * max(1.0, abs(difference[k]).max())
        np.testing.assert_allclose(stepped[k].imag / STEP, difference[k], rtol=0, atol=budget)
    single = loop(x.astype(np.float32), *({k: v.astype(np.float32) for k, v in arrays.items()} for arrays in (start, w)))
    assert {v.dtype for v in single.values()} == {np.dtype(np.float32)}
