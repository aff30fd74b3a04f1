"""The variants of "LSTM: A Search Space Odyssey" (Greff et al. 2017, section III): each changes one part of the vanilla LSTM of
their section II, and keeps the rest, the peepholes too.

Their vanilla LSTM is `lstm_peephole`.  Their NP, without peepholes, is `lstm`: it has that page, and no other name here.
The paper's block input z is g here and its y is h, as in the other pages; of the paper's one bias torch makes two.
"""

from ..algebra.ops import lerp, sigmoid, tanh
from .cell import cell
from .lstm import GATES


@cell(title="NIG: no input gate", source="Greff et al. 2017", candidate="g")
def nig(W, R, p, x, h, c):
    f, g, o = (W[k](x) + R[k](h) for k in "fgo")
    c1 = sigmoid(f + p.f * c) * c + tanh(g)
    return sigmoid(o + p.o * c1) * tanh(c1), c1


@cell(title="NFG: no forget gate", source="Greff et al. 2017", admits="i", candidate="g")
def nfg(W, R, p, x, h, c):
    i, g, o = (W[k](x) + R[k](h) for k in "igo")
    c1 = c + sigmoid(i + p.i * c) * tanh(g)
    return sigmoid(o + p.o * c1) * tanh(c1), c1


@cell(title="NOG: no output gate", source="Greff et al. 2017", **GATES)
def nog(W, R, p, x, h, c):
    i, f, g = (W[k](x) + R[k](h) for k in "ifg")
    c1 = sigmoid(f + p.f * c) * c + sigmoid(i + p.i * c) * tanh(g)
    return tanh(c1), c1


@cell(title="NIAF: no input activation", source="Greff et al. 2017", **GATES)
def niaf(W, R, p, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c1 = sigmoid(f + p.f * c) * c + sigmoid(i + p.i * c) * g
    return sigmoid(o + p.o * c1) * tanh(c1), c1


@cell(title="NOAF: no output activation", source="Greff et al. 2017", **GATES)
def noaf(W, R, p, x, h, c):
    i, f, g, o = (W[k](x) + R[k](h) for k in "ifgo")
    c1 = sigmoid(f + p.f * c) * c + sigmoid(i + p.i * c) * tanh(g)
    return sigmoid(o + p.o * c1) * c1, c1


@cell(title="CIFG: coupled input and forget gate", source="Greff et al. 2017", keeps="-i", candidate="g")
def cifg(W, R, p, x, h, c):
    i, g, o = (W[k](x) + R[k](h) for k in "igo")
    c1 = lerp(sigmoid(i + p.i * c), c, tanh(g))  # f = 1 - i
    return sigmoid(o + p.o * c1) * tanh(c1), c1


@cell(title="FGR: full gate recurrence", source="Greff et al. 2017", bias="W", **GATES)
def fgr(W, R, p, x, h, c, i, f, o):
    def gate(k):  # R.i_f leads from the last step's f to i
        return W[k](x) + R[k](h) + R[k + "_i"](i) + R[k + "_f"](f) + R[k + "_o"](o)

    i1, f1 = sigmoid(gate("i") + p.i * c), sigmoid(gate("f") + p.f * c)
    c1 = f1 * c + i1 * tanh(W.g(x) + R.g(h))
    o1 = sigmoid(gate("o") + p.o * c1)
    return o1 * tanh(c1), c1, i1, f1, o1
