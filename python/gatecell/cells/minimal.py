"""Were RNNs all we needed? (Feng et al. 2024): gates that see the input alone, so that no product waits for a step before it.

What depends on x alone has the same bits in any chunk of a sequence; the one scan is over units, step by step.
"""

from ..algebra.ops import lerp, log_sigmoid, sigmoid
from .cell import cell


@cell(title="minGRU", source="Feng et al. 2024", bias="W", keeps="-z", candidate="n")
def mingru(W, x, h):
    z, n = sigmoid(W.z(x)), W.n(x)
    return lerp(z, h, n)


@cell(title="minLSTM", source="Feng et al. 2024, gates normalised", bias="W", keeps="f", admits="i", candidate="n")
def minlstm(W, x, h):
    i, f, n = (W[k](x) for k in "ifn")
    share = sigmoid(log_sigmoid(i) - log_sigmoid(f))  # i / (f + i) of their sigmoids, as in the paper's log-space form
    return lerp(share, h, n)
