"""The selective scan of Gu & Dao (2023), "Mamba: Linear-Time Sequence Modeling with Selective State Spaces".

dt, B and C depend on the input, which makes the scan selective.  s decays by exp(dt A); its input is held by Euler's rule, dt B x,
as in the authors' own code; equation 4 of the paper has zero-order hold there.
"""

from ..algebra.ops import exp
from ..algebra.scan import total
from .scan import scan


@scan("dt:H B:N C:N x:H", "A:NH D:H", "s:NH", title="Selective scan", source="Gu & Dao 2023, algorithm 2")
def selective(dt, B, C, x, A, D, s):
    s = exp(dt * A) * s + (dt * x) * B
    return total(C * s) + D * x, s
