"""The long short-term memory of Gers, Schmidhuber & Cummins (2000): with a forget gate, without peepholes."""

from ..algebra.ops import sigmoid, tanh
from .cell import cell

GATES = {"keeps": "f", "admits": "i", "candidate": "g"}


@cell(title="LSTM", source="Gers, Schmidhuber & Cummins 2000",
      **GATES)
def lstm(W, R, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c
