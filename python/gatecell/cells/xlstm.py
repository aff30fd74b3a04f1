"""The sLSTM of xLSTM (Beck et al. 2024): exponential gates, a normaliser n and a stabiliser m, recurrent products within heads."""

from ..algebra.ops import exp, log_sigmoid, maximum, sigmoid, stop_gradient, tanh, within
from .cell import cell


@cell(title="sLSTM", source="Beck et al. 2024, f a sigmoid", heads="R", keeps="f", admits="i", candidate="z")
def slstm(W, R, x, h, c, n, m):
    i, f, z, o = (W[k](x) + R[k](h) for k in "ifzo")
    f = log_sigmoid(f) + m
    m = stop_gradient(maximum(f, i))  # h does not depend on it: nothing is lost
    i, f = exp(within(i - m, -1e9, 0)), exp(within(f - m, -1e9, 0))
    c = f * c + i * tanh(z)
    n = f * n + i
    return sigmoid(o) * within(c / n, -1, 1), c, n, m
