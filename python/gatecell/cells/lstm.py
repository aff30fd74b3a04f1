"""The long short-term memory from 1997 on: without and with a forget gate, with peepholes, a projection, layer normalisation.

tanh squashes what goes in and what comes out, as everywhere since 2000; the gradient is the whole one (full BPTT), and not the
truncated one of 1997.  Changes of single parts, one at a time: odyssey.py.
"""

from typing import Any

from ..algebra.ops import norm, sigmoid, tanh
from .cell import Layout, cell

GATES: Any = {"keeps": "f", "admits": "i", "candidate": "g"}
ELSEWHERE = {"keras": Layout("i f c:g o"), "concatenated": Layout("i f c|g|a:g o")}


@cell(title="LSTM", source="Gers, Schmidhuber & Cummins 2000", fused=True, **GATES, layouts=ELSEWHERE)
def lstm(W, R, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell(title="LSTM of 1997 (no forget gate)", source="Hochreiter & Schmidhuber 1997", admits="i", candidate="g")
def lstm_1997(W, R, x, h, c):
    i, g, o = (W[k](x) + R[k](h) for k in "igo")
    c = c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell(title="LSTM (peepholes)", source="Gers & Schmidhuber 2000", **GATES)
def lstm_peephole(W, R, p, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c1 = sigmoid(f + p.f * c) * c + sigmoid(i + p.i * c) * tanh(g)
    return sigmoid(o + p.o * c1) * tanh(c1), c1


@cell(title="LSTM (projection)", source="Sak, Senior & Beaufays 2014, without peepholes", axes="P:M h:M", **GATES)
def lstm_projected(W, R, P, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return P.h(sigmoid(o) * tanh(c)), c


@cell(title="LSTM (layer norm)", source="Ba, Kiros & Hinton 2016", bias="", **GATES)
def lstm_layer_norm(W, R, p, x, h, c):
    i, f, g, o = (p["x" + k] * norm(W[k](x)) + p["h" + k] * norm(R[k](h)) + p["b" + k] for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(p.ac * norm(c) + p.bc), c
