"""The gated recurrent unit of Cho et al. (2014), with the reset gate after the product (v1) and before it (v3), and what became of it.

In both GRUs z keeps the old state, as in Cho's paper and torch; in Chung et al. (2014) z replaces it.
"""

from typing import Any

from ..algebra.ops import lerp, sigmoid, tanh
from .cell import Layout, cell

GATES: Any = {"keeps": "z", "candidate": "n"}
AFTER = {"keras": Layout("z r h:n", biases=2)}
BEFORE = {"keras": Layout("z r h:n"), "concatenated": Layout("z|u:-z r h|c|n:n")}


@cell(title="GRU", source="Cho et al. 2014, v1: reset after the product", fused=True, **GATES, layouts=AFTER)
def gru(W, R, x, h):
    r, z = (sigmoid(W[k](x) + R[k](h)) for k in "rz")
    n = tanh(W.n(x) + r * R.n(h))
    return lerp(z, n, h)


@cell(title="GRU (reset before)", source="Cho et al. 2014, v3: reset before the product", fused=True, **GATES, layouts=BEFORE)
def gru_before(W, R, x, h):
    r, z = (sigmoid(W[k](x) + R[k](h)) for k in "rz")
    n = tanh(W.n(x) + R.n(r * h))
    return lerp(z, n, h)


@cell(title="MGU: one gate", source="Zhou, Wu, Zhang & Zhou 2016", keeps="-f", candidate="n")
def mgu(W, R, x, h):
    f = sigmoid(W.f(x) + R.f(h))
    n = tanh(W.n(x) + R.n(f * h))
    return lerp(f, h, n)


@cell(title="FastGRNN: one product for gate and candidate", source="Kusupati et al. 2018", bias="", candidate="n")
def fastgrnn(W, R, p, s, x, h):
    a = W.a(x) + R.a(h)
    z, n = sigmoid(a + p.z), tanh(a + p.n)
    return (sigmoid(s.zeta) * (1 - z) + sigmoid(s.nu)) * n + z * h
