"""The WKV operator of Peng et al. (2023), "RWKV: Reinventing RNNs for the Transformer Era": a weighted mean of past values.

a over b is the mean so far, both divided by exp(p), the largest exponent that they contain (their appendix D).  w < 0 is the decay a step.
"""

from ..algebra.ops import exp, maximum
from .scan import scan


@scan("k:H v:H", "w:H u:H", "a:H b:H p:H", title="WKV", source="Peng et al. 2023, equations 16 to 22")
def wkv(k, v, w, u, a, b, p):
    q = maximum(p, u + k)
    old, new = exp(p - q), exp(u + k - q)
    y = (old * a + new * v) / (old * b + new)
    q = maximum(w + p, k)
    old, new = exp(w + p - q), exp(k - q)
    return y, old * a + new * v, old * b + new, q
