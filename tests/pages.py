"""Cells that live in the tests: hard shapes for the grammar, and how every cell's arrays are called in textbook.py.

Nothing under python/, cpp/ or firmware/ knows these pages; what they need, any page may need.
"""

import numpy as np

import textbook
from gatecell import cells
from gatecell.algebra.ops import lerp, norm, sigmoid, tanh
from gatecell.cells import record


@record(source="Gers & Schmidhuber 2000", keeps="f", admits="i", candidate="g")
def peephole(W, R, p, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c1 = sigmoid(f + p.f * c) * c + sigmoid(i + p.i * c) * tanh(g)
    return sigmoid(o + p.o * c1) * tanh(c1), c1


@record(source="Sak, Senior & Beaufays 2014", axes="P:M h:M", bias="W R")
def projected(W, R, P, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return P.h(sigmoid(o) * tanh(c)), c


@record(source="Ba, Kiros & Hinton 2016", bias="", keeps="f", admits="i", candidate="g")
def layer_norm_lstm(W, R, p, x, h, c):
    i, f, g, o = (p["x" + k] * norm(W[k](x)) + p["h" + k] * norm(R[k](h)) + p["b" + k] for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(p.ac * norm(c) + p.bc), c


@record(source="Greff et al. 2017: full gate recurrence", bias="W")
def full_gate_recurrence(W, R, p, x, h, c, i, f, o):
    def gate(k):
        return W[k](x) + R[k](h) + R[k + "_i"](i) + R[k + "_f"](f) + R[k + "_o"](o)

    i1, f1 = sigmoid(gate("i") + p.i * c), sigmoid(gate("f") + p.f * c)
    c1 = f1 * c + i1 * tanh(W.g(x) + R.g(h))
    o1 = sigmoid(gate("o") + p.o * c1)
    return o1 * tanh(c1), c1, i1, f1, o1


@record(source="Zhou et al. 2016", keeps="-f", candidate="n")
def mgu(W, R, x, h):
    f = sigmoid(W.f(x) + R.f(h))
    return lerp(f, h, tanh(W.n(x) + R.n(f * h)))


@record(source="a state that only moves, and a weight that is used twice")
def delay(W, R, x, h, old, older):
    return tanh(W.a(x) + R.a(h) + R.b(older) - R.a(0.5 * old)), h, old


HARD = (peephole, projected, layer_norm_lstm, full_gate_recurrence, mgu)
EVERY = (*cells.values(), *(c for c in HARD if c.name not in cells))


def _as_they_are(w):
    return {"W": w["W"], "R": w["R"]} | {b: w[k] for b, k in (("bW", "W+"), ("bR", "R+")) if k in w}


def _gates(w, kind):
    return np.concatenate([w[f"p.{kind}{k}"] for k in "ifgo"])


def _full(w):
    gates = full_gate_recurrence.program.families["R"]
    part = dict(zip(gates, np.split(w["R"], len(gates)), strict=True))
    out = {"W": w["W"], "R": np.concatenate([part[k] for k in "ifgo"])}
    out |= {"bW": w["W+"]} if "W+" in w else {}
    return out | {f"R_{a}{b}": part[f"{b}_{a}"] for a in "ifo" for b in "ifo"} | {f"p_{k}": w[f"p.{k}"] for k in "ifo"}


TEXTBOOK = {
    "rnn_tanh": (textbook.rnn, _as_they_are),
    "rnn_relu": (textbook.rnn_relu, _as_they_are),
    "lstm": (textbook.lstm, _as_they_are),
    "gru": (textbook.gru, _as_they_are),
    "gru_before": (textbook.gru_before, _as_they_are),
    "peephole": (textbook.peephole, lambda w: _as_they_are(w) | {f"p_{k}": w[f"p.{k}"] for k in "ifo"}),
    "projected": (textbook.projected, lambda w: _as_they_are(w) | {"P": w["P"]}),
    "layer_norm_lstm": (
        textbook.layer_norm_lstm,
        lambda w: {
            "W": w["W"],
            "R": w["R"],
            "a_x": _gates(w, "x"),
            "a_h": _gates(w, "h"),
            "b": _gates(w, "b"),
            "a_c": w["p.ac"],
            "b_c": w["p.bc"],
        },
    ),
    "full_gate_recurrence": (textbook.full_gate_recurrence, _full),
    "mgu": (textbook.mgu, _as_they_are),
}
"""Name -> (the paper's loop, how it calls a cell's arrays)."""


def run_textbook(cell, w, x, start):
    """The paper's loop with a cell's arrays; {state: (T, B, N)}."""
    loop, renamed = TEXTBOOK[cell.name]
    return loop(x, start, renamed(w))


def draw(cell, rng, T, B, sizes, bias=True, scale=0.6):
    """Random weights, input and start states of a cell, float64."""
    w = {k: rng.normal(size=s) * scale for k, s in cell.shapes(sizes, bias=bias).items()}
    start = {s: rng.normal(size=(B, sizes[cell.axis(s)])) for s in cell.states}
    return w, rng.normal(size=(T, B, sizes["I"])), start
