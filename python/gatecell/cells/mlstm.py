"""The matrix memory of Beck et al. (2024), "xLSTM: Extended Long Short-Term Memory": one head of it.

Exponential input gate, sigmoid forget gate; m keeps the exponents within range (their equation 15).  Channels are the values' features,
entries the keys'; k comes divided by the square root of how many these are.
"""

from ..algebra.ops import exp, log_sigmoid, maximum
from ..algebra.scan import total
from .scan import scan


@scan("q:N k:N v:H i:1 f:1", "", "C:NH n:N m:1", title="mLSTM", source="Beck et al. 2024, equations 19 to 27")
def mlstm(q, k, v, i, f, C, n, m):
    lf = log_sigmoid(f) + m
    m = maximum(lf, i)
    f, i = exp(lf - m), exp(i - m)
    C = f * C + (i * k) * v
    n = f * n + i * k
    d = total(n * q)
    h = total(C * q) / maximum(maximum(d, -d), exp(-m))
    return h, C, n, m
