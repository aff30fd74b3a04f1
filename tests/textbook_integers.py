"""Integer layers by hand, from docs/arithmetic.md alone; NumPy and textbook.py's `part`, nothing of gatecell.

Everything is int64 here, so that nothing can overflow unseen; `fits` holds what the document promises to stay in int32.
A model's layer is a dict with the integer matrices W, R and, for each accumulator A, A.m and A.b (H,), A.SH, A.kW, A.kR;
for the GRU also W_n.P and R_n.P, for the LSTM CF.  Names as in section 10 of the document.
"""

import numpy as np

from textbook import part

TABLE = np.array([min(32767, int(np.floor(32768 * (t + t * (1 - t * t) / 32768) + 0.5))) for t in np.tanh(np.arange(514) / 64)])


def fits(a):
    assert np.all((-(2**31) <= a) & (a < 2**31)), "beyond int32"
    return a


def sat16(a):
    return np.clip(a, -32768, 32767)


def rounded(a, n):
    """Section 1's round: divide by 2^n, half goes up."""
    return (fits(a + 2 ** (n - 1)) >> n) if n else a


def narrowed(a, shift):
    """Drop `shift` bits of fraction (add them where it is negative) and saturate to int16."""
    return sat16(rounded(a, shift) if shift >= 0 else a << -shift)


def view(h):
    """Section 4: the int8 view of an int16 vector."""
    return (h * 127 + 16384) >> 15


def integer_input(x, scale, offset, Q):
    """Section 3: float32 -> int8 (Q = 127) or int16 (Q = 32767); halves away from zero, a NaN becomes -Q."""
    t = (x.astype(np.float32) - offset.astype(np.float32)) / scale.astype(np.float32)
    t = np.where(t > -Q, t, np.float32(-Q))
    t = np.where(t < Q, t, np.float32(Q))
    return np.where(t >= 0, np.trunc(t + np.float32(0.5)), np.trunc(t - np.float32(0.5))).astype(np.int64)


def lookup(n, k, s):
    """Section 6's L: linear interpolation in the table."""
    low, high, between = TABLE[n >> k], TABLE[(n >> k) + 1], n % 2**k
    return (low * 2**k + (high - low) * between + 2 ** (s - 1)) >> s


def integer_tanh(a):
    """Q3.12 -> Q0.15."""
    return np.where(a >= 0, 1, -1) * lookup(abs(a), 6, 6)


def integer_sigmoid(a):
    """Q3.12 -> Q0.15."""
    return 16384 + np.where(a >= 0, 1, -1) * lookup(abs(a), 7, 8)


def accumulator(w, name, x=None, Wk=None, h=None, Rk=None):
    """Section 5: the products of one accumulator, its bias, and its requantisation."""
    acc = w[f"{name}.b"].astype(np.int64)
    if x is not None:
        acc = acc + (fits(x @ Wk.T.astype(np.int64)) << w[f"{name}.kW"])
    if h is not None:
        acc = acc + (fits(h @ Rk.T.astype(np.int64)) << w[f"{name}.kR"])
    return sat16((fits(acc) * w[f"{name}.m"] + 2 ** (15 + w[f"{name}.SH"])) >> (16 + w[f"{name}.SH"]))


def integer_linear(x, w):
    """A linear layer: x (..., I) int16 -> (..., O) int16."""
    return accumulator(w, "y", x.astype(np.int64), w["W"])


def integer_lstm(x, w, a8, h, c, first=True):
    """Section 8's LSTM.  x (T, B, I) the model's input, or an earlier layer's int16 (first=False); h, c (B, H) -> the same over time."""
    (Wi, Wf, Wg, Wo), (Ri, Rf, Rg, Ro), CF = part(w, "W", 4), part(w, "R", 4), w["CF"]
    h, c, hs, cs = h.astype(np.int64), c.astype(np.int64), [], []
    for x_t in x.astype(np.int64):
        xv = view(x_t) if a8 and not first else x_t
        hv = view(h) if a8 else h
        i = integer_sigmoid(accumulator(w, "i", xv, Wi, hv, Ri))
        f = integer_sigmoid(accumulator(w, "f", xv, Wf, hv, Rf))
        g = integer_tanh(accumulator(w, "g", xv, Wg, hv, Rg))
        o = integer_sigmoid(accumulator(w, "o", xv, Wo, hv, Ro))
        c = sat16(rounded(fits(f * c + ((i * g) >> (15 - CF))), 15))
        h = rounded(o * integer_tanh(narrowed(c, CF - 12)), 15)
        hs.append(h)
        cs.append(c)
    return {"h": np.stack(hs), "c": np.stack(cs)}


def sum_fraction(Fa, a, Fb, b):
    """Section 7's rule for a sum: the largest fraction at which both operands (intervals a, b) and the result fit int32."""
    shifted = lambda v, by: v << by if by >= 0 else v >> -by
    for F in range(max(Fa, Fb), -64, -1):
        low, high = ([shifted(p[k], F - Fp) for p, Fp in ((a, Fa), (b, Fb))] for k in (0, 1))
        if min(*low, sum(low)) >= -(2**31) and max(*high, sum(high)) < 2**31:
            return F
    raise ValueError("no fraction fits")


def integer_gru(x, w, a8, h, reset_after=True, first=True):
    """Section 8's GRU, reset after or before the product.  x (T, B, I), h (B, H) -> h over time."""
    (Wr, Wz, Wn), (Rr, Rz, Rn) = part(w, "W", 3), part(w, "R", 3)
    h, hs = h.astype(np.int64), []
    for x_t in x.astype(np.int64):
        xv = view(x_t) if a8 and not first else x_t
        hv = view(h) if a8 else h
        r = integer_sigmoid(accumulator(w, "r", xv, Wr, hv, Rr))
        z = integer_sigmoid(accumulator(w, "z", xv, Wz, hv, Rz))
        if reset_after:
            of_x, of_h = accumulator(w, "W_n", x=xv, Wk=Wn), accumulator(w, "R_n", h=hv, Rk=Rn)
            Fx, Fh = w["W_n.P"], 15 + w["R_n.P"]
            F = sum_fraction(Fx, (-32768, 32767), Fh, (32757 * -32768, 32757 * 32767))
            aligned = [fits(v << (F - Fv) if F >= Fv else v >> (Fv - F)) for v, Fv in ((of_x, Fx), (r * of_h, Fh))]
            n = integer_tanh(narrowed(fits(aligned[0] + aligned[1]), F - 12))
        else:
            u = rounded(r * h, 15)
            n = integer_tanh(accumulator(w, "n", xv, Wn, view(u) if a8 else u, Rn))
        h = n + rounded(z * (h - n), 15)
        hs.append(h)
    return {"h": np.stack(hs)}
