"""The simple recurrent network of Elman (1990), with either nonlinearity."""

from ..algebra.ops import relu, tanh
from .cell import Layout, cell

ELSEWHERE = {"keras": Layout("a"), "concatenated": Layout("h|a|hh:a")}


@cell(title="RNN (tanh)", source="Elman 1990", fused=True, layouts=ELSEWHERE)
def rnn_tanh(W, R, x, h):
    return tanh(W.a(x) + R.a(h))


@cell(title="RNN (relu)", source="Elman 1990; Le, Jaitly & Hinton 2015", fused=True, layouts=ELSEWHERE)
def rnn_relu(W, R, x, h):
    return relu(W.a(x) + R.a(h))
