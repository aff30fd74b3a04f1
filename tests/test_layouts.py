"""Weights from elsewhere: Keras' by what Keras computed with them (keras.npz), matrices over [h, x] by tutorials' loops, torch's by torch.

Not here: torch's layers in detail (test_torch_parity.py).
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import budgets
import gatecell
import pages
from gatecell import cells, nn

KERAS = np.load(Path(__file__).with_name("keras.npz"))
LAYERS = {
    "simple": lambda: nn.RNN(3, 5, batch_first=True),
    "memory": lambda: nn.LSTM(3, 5, batch_first=True),
    "memory, no bias": lambda: nn.LSTM(3, 5, bias=False, batch_first=True),
    "after": lambda: nn.GRU(3, 5, batch_first=True),
    "before": lambda: nn.GRU(3, 5, reset_after=False, batch_first=True),
    "after, no bias": lambda: nn.GRU(3, 5, bias=False, batch_first=True),
    "both ways": lambda: nn.LSTM(3, 5, 2, bidirectional=True, batch_first=True),
    "stack": lambda: nn.GRU(3, 5, 3, batch_first=True),
}


def stored(name):
    return [KERAS[f"{name}/{k}"] for k in range(KERAS[f"{name}/count"])]


@pytest.mark.parametrize("name", LAYERS)
def test_keras_weights_give_keras_output(name):
    m = LAYERS[name]()
    gatecell.load_weights(m, stored(name))
    y, want = m(KERAS[f"{name}/x"])[0].data, KERAS[f"{name}/y"]
    assert y.shape == want.shape and abs(y - want).max() <= budgets.TEXTBOOK_ONNX


def sigmoid(a):
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def olah_lstm(x, w, joined):
    """Olah 2015, Understanding LSTM Networks: W_f [h, x] + b_f, ..."""
    h = c = np.zeros((x.shape[1], 5))
    out = []
    for x_t in x:
        v = joined(h, x_t)
        f, i, o = (sigmoid(v @ w[f"W_{k}"] + w[f"b_{k}"].reshape(-1)) for k in "fio")
        c = f * c + i * np.tanh(v @ w["W_C"] + w["b_C"].reshape(-1))
        h = o * np.tanh(c)
        out.append(h)
    return np.stack(out)


def olah_gru(x, w, joined):
    """The same page's GRU, after Cho et al. 2014 with the z of Chung et al. 2014: (1 - z) keeps; the candidate is of [r * h, x]."""
    h, out = np.zeros((x.shape[1], 5)), []
    for x_t in x:
        z, r = (sigmoid(joined(h, x_t) @ w[f"W_{k}"] + w[f"b_{k}"].reshape(-1)) for k in "zr")
        h = (1 - z) * h + z * np.tanh(joined(r * h, x_t) @ w["W_h"] + w["b_h"].reshape(-1))
        out.append(h)
    return np.stack(out)


def plain_rnn(x, w, joined):
    h, out = np.zeros((x.shape[1], 5)), []
    for x_t in x:
        h = np.tanh(joined(h, x_t) @ w["W_h"] + w["b_h"].reshape(-1))
        out.append(h)
    return np.stack(out)


TUTORIALS = {"lstm": (olah_lstm, "fiCo"), "gru_before": (olah_gru, "zrh"), "rnn_tanh": (plain_rnn, "h")}


@pytest.mark.parametrize("order", ["hx", "xh"])
@pytest.mark.parametrize("I", [3, 5])  # as wide as h, and not
@pytest.mark.parametrize("name", TUTORIALS)
def test_matrices_over_h_and_x(name, I, order, rng):
    """(H + I, H) as it is, (H, H + I) with biases (H, 1), and usual spellings of the names."""
    loop, gates = TUTORIALS[name]
    w = {f"W_{k}": rng.normal(size=(5 + I, 5)) for k in gates} | {f"b_{k}": rng.normal(size=5) for k in gates}
    x = rng.normal(size=(6, 2, I))
    joined = lambda h, x: np.concatenate([h, x] if order == "hx" else [x, h], -1)
    want = loop(x, w, joined)
    turned = {k: v.T if k[0] == "W" else v[:, None] for k, v in w.items()}
    spelled = {("weight_" if k[0] == "W" else "bias_") + k[2:].upper(): v for k, v in w.items()}
    for given in (w, turned, spelled, {k.replace("_", ""): torch.tensor(v) for k, v in w.items()}):
        m = nn.Recurrent(name, I, 5, dtype=np.float64)
        gatecell.load_weights(m, given, "concatenated", order=order)
        assert abs(m(x)[0].data - want).max() <= budgets.CORE_DOUBLE


def test_a_stack_of_mappings_and_one_step(rng):
    w = [{f"{kind}_{k}": rng.normal(size=(5 + I, 5) if kind == "W" else 5) for k in "fiCo" for kind in "Wb"} for I in (3, 5)]
    x, joined = rng.normal(size=(6, 2, 3)), lambda h, x: np.concatenate([h, x], -1)
    m = nn.LSTM(3, 5, 2, dtype=np.float64)
    gatecell.load_weights(m, w, "concatenated")
    assert abs(m(x)[0].data - olah_lstm(olah_lstm(x, w[0], joined), w[1], joined)).max() <= budgets.CORE_DOUBLE
    one = nn.LSTMCell(3, 5, dtype=np.float64)
    gatecell.load_weights(one, w[0], "concatenated")
    assert abs(one(x[0])[0].data - olah_lstm(x[:1], w[0], joined)[0]).max() <= budgets.CORE_DOUBLE


@pytest.mark.parametrize("cell", [c for c in pages.EVERY if c.layouts], ids=lambda c: c.name)
def test_a_records_layouts_name_its_gates_once(cell):
    for layout in cell.layouts.values():
        own = [gate.rpartition(":")[2].lstrip("-") for gate in layout.gates.split()]
        assert sorted(own) == sorted(cell.program.families["W"]) == sorted(cell.program.families["R"])
        names = [n for gate in layout.gates.split() for n in gate.split(":")[0].split("|")]
        assert len(set(names)) == len(names) and set(cell.program.families) == {"W", "R"} and not cell.program.params


TORCH = [
    (torch.nn.RNN, nn.RNN, {"nonlinearity": "relu"}), (torch.nn.RNN, nn.RNN, {"nonlinearity": "tanh"}), (torch.nn.GRU, nn.GRU, {}),
    (torch.nn.LSTM, nn.LSTM, {}), (torch.nn.LSTM, nn.LSTM, {"proj_size": 2}),
]  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("theirs", "ours", "options"), TORCH, ids=lambda v: str(v) if isinstance(v, dict) else getattr(v, "__name__", ""))
def test_torch_weights_load_with_every_option(theirs, ours, options, bidirectional, batch_first, bias, rng):
    both = options | {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional, "num_layers": 2}
    layer, x = theirs(3, 5, dtype=torch.float64, **both), rng.normal(size=(4, 2, 3)) * 0.5
    m = ours(3, 5, dtype=np.float64, **both)
    m.load_state_dict(layer.state_dict())
    (y, last), (want, end) = m(x), layer(torch.from_numpy(x))
    pairs = zip(last if isinstance(last, tuple) else (last,), end if isinstance(end, tuple) else (end,), strict=True)
    for a, b in ((y, want), *pairs):
        assert abs(a.data - b.detach().numpy()).max() <= budgets.TORCH_DOUBLE


def test_what_is_wrong_is_said_and_changes_nothing(rng):
    m, w = nn.LSTM(3, 5), stored("memory")
    before = {k: v.data.copy() for k, v in m.state_dict().items()}
    mapping = {f"{kind}_{k}": np.ones((8, 5) if kind == "W" else 5) for k in "fiCo" for kind in "Wb"}
    part = lambda **changed: {k: v for k, v in (mapping | changed).items() if v is not None}
    for error, match, call in (
        (TypeError, "a recurrent layer wanted, got Linear", lambda: gatecell.load_weights(nn.Linear(2, 3), w)),
        (ValueError, "layout: wanted 'keras' or 'concatenated', got 'jax'", lambda: gatecell.load_weights(m, w, "jax")),
        (ValueError, "order: wanted 'hx' or 'xh'", lambda: gatecell.load_weights(m, mapping, "concatenated", order="h")),
        (TypeError, "list of arrays that get_weights", lambda: gatecell.load_weights(m, mapping)),
        (ValueError, "wanted 3 arrays .* for each of 1, got 2", lambda: gatecell.load_weights(m, w[:2])),
        (ValueError, r"wanted 2 arrays .*bias=False.*, got 3", lambda: gatecell.load_weights(nn.LSTM(3, 5, bias=False), w)),
        (ValueError, r"kernel of part 0: wanted shape \(3, 20\), got \(20, 3\)", lambda: gatecell.load_weights(m, [w[0].T, *w[1:]])),
        (ValueError, "bias of part 0: .*reset_after", lambda: gatecell.load_weights(nn.GRU(3, 5), stored("before"))),
        (ValueError, "bias of part 0: .*reset_after", lambda: gatecell.load_weights(nn.GRU(3, 5, reset_after=False), stored("after"))),
        (TypeError, r"weights\[2\]: wanted an array of real numbers", lambda: gatecell.load_weights(m, [*w[:2], "b"])),
        (TypeError, "wanted a mapping of names to arrays", lambda: gatecell.load_weights(m, w, "concatenated")),
        (ValueError, "wanted 1 mappings, .* got 2", lambda: gatecell.load_weights(m, [mapping] * 2, "concatenated")),
        (ValueError, "part 0: missing: W of gate g", lambda: gatecell.load_weights(m, part(W_C=None), "concatenated")),
        (ValueError, "one of i, f, c, g, a, o for names, got 'W_q'", lambda: gatecell.load_weights(m, part(W_q=1), "concatenated")),
        (ValueError, "'W_g' is another name", lambda: gatecell.load_weights(m, part(W_g=mapping["W_C"]), "concatenated")),
        (ValueError, r"W_f of part 0: wanted shape \(8, 5\), got \(7, 5\)",
         lambda: gatecell.load_weights(m, part(W_f=np.ones((7, 5))), "concatenated")),
        (ValueError, "bias=False, and there is: b of gate f",
         lambda: gatecell.load_weights(nn.LSTM(3, 5, bias=False), mapping, "concatenated")),
        (gatecell.Unsupported, "gru has no layout 'concatenated'", lambda: gatecell.load_weights(nn.GRU(3, 5), mapping, "concatenated")),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            call()
    assert all(np.array_equal(v.data, before[k]) for k, v in m.state_dict().items()) and "keras" in cells["lstm"].layouts
