"""The diagonal state space of Gu, Gupta, Goel & Re (2022), "On the Parameterization and Initialization of Diagonal State Space Models".

A and C come discretised: s' = A s + u, y = 2 Re(C s') + D u, with complex numbers as pairs of reals; of conjugate pairs one half.
"""

from ..algebra.scan import total
from .scan import scan


@scan("u:H", "Ar:NH Ai:NH Cr:NH Ci:NH D:H", "sr:NH si:NH", title="S4D", source="Gu, Gupta, Goel & Re 2022, section 3")
def s4d(u, Ar, Ai, Cr, Ci, D, sr, si):
    r = Ar * sr - Ai * si + u
    i = Ar * si + Ai * sr
    return total(Cr * r - Ci * i) + D * u, r, i
