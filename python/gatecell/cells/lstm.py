"""The long short-term memory of Gers, Schmidhuber & Cummins (2000): with a forget gate, without peepholes."""

from typing import Any

from ..algebra.ops import sigmoid, tanh
from .cell import Layout, cell

GATES: Any = {"keeps": "f", "admits": "i", "candidate": "g"}
ELSEWHERE = {"keras": Layout("i f c:g o"), "concatenated": Layout("i f c|g|a:g o")}


@cell(title="LSTM", source="Gers, Schmidhuber & Cummins 2000",
      **GATES, layouts=ELSEWHERE)
def lstm(W, R, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c
