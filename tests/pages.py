"""Cells that live in the tests: hard shapes for the grammar, and how every cell's arrays are called in textbook.py.

Nothing under python/, cpp/ or firmware/ knows these pages; what they need, any page may need.
"""

from functools import partial

import numpy as np

import textbook
from gatecell import cells
from gatecell.algebra.integer import Vector
from gatecell.algebra.lower import Given, lower
from gatecell.algebra.ops import lerp, sigmoid, tanh
from gatecell.cells import record
from gatecell.errors import Unsupported


@record(source="a toy: each product needs the one before it, and one weight is used twice")
def three(W, R, x, h):
    a = tanh(W.a(x) + R.a(h))
    b = sigmoid(R.b(a * h) - a)
    return lerp(b, tanh(R.a(a * b) + W.a(x)), h)


@record(source="a state that only moves, and a weight that is used twice")
def delay(W, R, x, h, old, older):
    return tanh(W.a(x) + R.a(h) + R.b(older) - R.a(0.5 * old)), h, old


EVERY = (*cells.values(), three)


def _three(x, start, w):
    (Ra, Rb), (va, vb), h, hs = textbook.part(w, "R", 2), textbook.part(w, "bR", 2), start["h"], []
    for x_t in x:
        Wx = x_t @ w["W"].T + w.get("bW", 0)
        a = np.tanh(Wx + h @ Ra.T + va)
        b = textbook.sigmoid((a * h) @ Rb.T + vb - a)
        h = b * h + (1 - b) * np.tanh(Wx + (a * b) @ Ra.T + va)
        hs.append(h)
    return {"h": np.stack(hs)}


def _as_they_are(w):
    """The families under the books' names, per-unit parameters "p.i" as p_i."""
    named = {"W+": "bW", "R+": "bR"}
    return {named.get(k, k.replace(".", "_")): v for k, v in w.items()}


def _normed(w):
    gates = {kind: np.concatenate([w[f"p.{kind}{k}"] for k in "ifgo"]) for kind in "xhb"}
    return {"W": w["W"], "R": w["R"], "a_x": gates["x"], "a_h": gates["h"], "b": gates["b"], "a_c": w["p.ac"], "b_c": w["p.bc"]}


def _full(w):
    gates = cells["fgr"].program.families["R"]
    part = dict(zip(gates, np.split(w["R"], len(gates)), strict=True))
    own = _as_they_are(w) | {"R": np.concatenate([part[k] for k in "ifgo"])}
    return own | {f"R_{a}{b}": part[f"{b}_{a}"] for a in "ifo" for b in "ifo"}


def _fast(w):
    return {"W": w["W"], "R": w["R"], "b_z": w["p.z"], "b_h": w["p.n"], "zeta": w["s.zeta"], "nu": w["s.nu"]}


TEXTBOOK = {
    "rnn_tanh": (textbook.rnn, _as_they_are),
    "rnn_relu": (textbook.rnn_relu, _as_they_are),
    "lstm": (textbook.lstm, _as_they_are),
    "lstm_1997": (textbook.lstm_1997, _as_they_are),
    "lstm_peephole": (textbook.peephole, _as_they_are),
    "lstm_projected": (textbook.projected, _as_they_are),
    "lstm_layer_norm": (textbook.layer_norm_lstm, _normed),
    "gru": (textbook.gru, _as_they_are),
    "gru_before": (textbook.gru_before, _as_they_are),
    "mgu": (textbook.mgu, _as_they_are),
    "fastgrnn": (textbook.fastgrnn, _fast),
    "mingru": (textbook.mingru, _as_they_are),
    "minlstm": (textbook.minlstm, _as_they_are),
    **{name: (partial(textbook.odyssey, change=name.upper()), _as_they_are) for name in ("nig", "nfg", "nog", "niaf", "noaf", "cifg")},
    "fgr": (textbook.full_gate_recurrence, _full),
    "slstm": (textbook.slstm, _as_they_are),
    "three": (_three, _as_they_are),
}
"""Name -> (the paper's loop, how it calls a cell's arrays)."""


def _within_their_sum(start):
    """A normaliser is a sum of positive numbers, and its cell a sum of at most as much."""
    n = abs(start["n"]) + 0.5
    return start | {"n": n, "c": n * np.clip(start["c"], -1, 1)}  # no function whose bits depend on the CPU


def started(cell, start):
    """The states, if need be made such as the cell can have."""
    return STARTS.get(cell.name, dict)(start)


STARTS = {"slstm": _within_their_sum}
"""Name -> what makes of random numbers states that the cell can have, where it cannot have any."""


def run_textbook(cell, w, x, start):
    """The paper's loop with a cell's arrays; {state: (T, B, N)}."""
    loop, renamed = TEXTBOOK[cell.name]
    return loop(x, start, renamed(w))


def integers(cell):
    """Whether it has an integer form."""
    peaks = dict.fromkeys(cell.program.nodes, 2.0)
    params = {k: Vector("param", axis, 14, -16000, 16000) for k, axis in cell.program.params.items()}
    try:
        lower(cell.program, Given(Vector("input", "I", 0, -127, 127), False, True, peaks, params))
    except Unsupported:
        return False
    return True


INTEGER = [c for c in EVERY if integers(c)]


def heads(units):
    """Into how many blocks tests cut the block-diagonal families of so many units: some number, of which many are odd."""
    return next(k for k in (3, 5, 2, 1) if units % k == 0)


def options(cell, units):
    """nn.Recurrent's for cells that have a projection or heads."""
    return {"proj_size": units // 2 + 1} if cell.projects else {"num_heads": heads(units)} if cell.heads else {}


def draw(cell, rng, T, B, sizes, bias=True, scale=0.6):
    """Random weights, input and start states of a cell, float64."""
    w = {k: rng.normal(size=s) * scale for k, s in cell.shapes({"K": heads(sizes["H"]), **sizes}, bias=bias).items()}
    start = {s: rng.normal(size=(B, sizes[cell.axis(s)])) for s in cell.states}
    return w, rng.normal(size=(T, B, sizes["I"])), started(cell, start)
