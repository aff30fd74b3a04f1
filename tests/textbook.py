"""The independent oracle: each cell as its paper has it, one plain loop over time, NumPy and nothing else.

Not a part of gatecell and not derived from it: nothing here imports the package, so that an error in a page, in the
tracer or in a kernel cannot repeat itself here.  Slow on purpose; read it beside the papers.
At the end the integer layers, written from docs/arithmetic.md in the same way.

Letters: T time, B batch, I input, H hidden units.  Every loop has the same form:

    states_over_time = loop(x, start, w)      x (T, B, I); start {state: (B, N)}; result {state: (T, B, N)}

with weights in a dict of arrays, a row of a matrix per unit, gates stacked in the order that the loop's first line names:

    W (G*H, I), bW (G*H,)    the input's           R (G*H, H), bR (G*H,)    the recurrent ones
    p_i, p_f, p_o (H,)       peepholes             P (M, H)                 projection; then R is (G*H, M)

bW and bR may be missing: no bias.  Every dtype passes through, complex numbers too, so that the derivative in any
direction d is the imaginary part of f(x + 1e-30j d) / 1e-30, exact to the last digits (complex step; Squire & Trapp
1998).  What compares decides on the real part.
"""

import numpy as np

EPS = 1e-5  # layer normalisation's, torch's default; Ba et al. leave it open


def sigmoid(a):
    """1 / (1 + e^-a), by tanh so that no argument overflows; complex in, complex out."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def relu(a):
    return np.where(np.real(a) > 0, a, 0)


def layer_norm(a):
    """Ba, Kiros & Hinton 2016, equation 4, over the last axis, without gain and bias."""
    centred = a - a.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)


def part(w, key, count):
    """The matrices (or biases) of the single gates; a bias that is missing is 0."""
    return np.split(w[key], count) if key in w else [0] * count


def rnn(x, start, w, f=np.tanh):
    """Elman 1990: h_t = f(W x_t + R h_(t-1) + b)."""
    h, hs = start["h"], []
    for x_t in x:
        h = f(x_t @ w["W"].T + w.get("bW", 0) + h @ w["R"].T + w.get("bR", 0))
        hs.append(h)
    return {"h": np.stack(hs)}


def rnn_relu(x, start, w):
    """Elman's network with rectified units (Le, Jaitly & Hinton 2015)."""
    return rnn(x, start, w, relu)


def lstm(x, start, w):
    """Gers, Schmidhuber & Cummins 2000, with tanh for both squashing functions as everywhere since.  Gates i f g o."""
    (Wi, Wf, Wg, Wo), (ui, uf, ug, uo) = part(w, "W", 4), part(w, "bW", 4)
    (Ri, Rf, Rg, Ro), (vi, vf, vg, vo) = part(w, "R", 4), part(w, "bR", 4)
    h, c, hs, cs = start["h"], start["c"], [], []
    for x_t in x:
        i = sigmoid(x_t @ Wi.T + ui + h @ Ri.T + vi)
        f = sigmoid(x_t @ Wf.T + uf + h @ Rf.T + vf)
        g = np.tanh(x_t @ Wg.T + ug + h @ Rg.T + vg)
        o = sigmoid(x_t @ Wo.T + uo + h @ Ro.T + vo)
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
    return {"h": np.stack(hs), "c": np.stack(cs)}


def gru(x, start, w):
    """Cho et al. 2014 in the form of the first version of the paper, of cuDNN and of torch: reset after the product.  Gates r z n.

    z keeps the old state, as in that paper's equation 7; in Chung et al. 2014 it lets the new one in.
    """
    (Wr, Wz, Wn), (ur, uz, un) = part(w, "W", 3), part(w, "bW", 3)
    (Rr, Rz, Rn), (vr, vz, vn) = part(w, "R", 3), part(w, "bR", 3)
    h, hs = start["h"], []
    for x_t in x:
        r = sigmoid(x_t @ Wr.T + ur + h @ Rr.T + vr)
        z = sigmoid(x_t @ Wz.T + uz + h @ Rz.T + vz)
        n = np.tanh(x_t @ Wn.T + un + r * (h @ Rn.T + vn))
        h = z * h + (1 - z) * n
        hs.append(h)
    return {"h": np.stack(hs)}


def gru_before(x, start, w):
    """Cho et al. 2014, third version, equations 5 to 8: the reset gate acts on the state before the product.  Gates r z n."""
    (Wr, Wz, Wn), (ur, uz, un) = part(w, "W", 3), part(w, "bW", 3)
    (Rr, Rz, Rn), (vr, vz, vn) = part(w, "R", 3), part(w, "bR", 3)
    h, hs = start["h"], []
    for x_t in x:
        r = sigmoid(x_t @ Wr.T + ur + h @ Rr.T + vr)
        z = sigmoid(x_t @ Wz.T + uz + h @ Rz.T + vz)
        n = np.tanh(x_t @ Wn.T + un + (r * h) @ Rn.T + vn)
        h = z * h + (1 - z) * n
        hs.append(h)
    return {"h": np.stack(hs)}


def peephole(x, start, w):
    """Gers & Schmidhuber 2000: i and f see the old cell, o sees the new one, each unit its own.  Gates i f g o; p_i, p_f, p_o."""
    (Wi, Wf, Wg, Wo), (ui, uf, ug, uo) = part(w, "W", 4), part(w, "bW", 4)
    (Ri, Rf, Rg, Ro), (vi, vf, vg, vo) = part(w, "R", 4), part(w, "bR", 4)
    h, c, hs, cs = start["h"], start["c"], [], []
    for x_t in x:
        i = sigmoid(x_t @ Wi.T + ui + h @ Ri.T + vi + w["p_i"] * c)
        f = sigmoid(x_t @ Wf.T + uf + h @ Rf.T + vf + w["p_f"] * c)
        g = np.tanh(x_t @ Wg.T + ug + h @ Rg.T + vg)
        c = f * c + i * g
        o = sigmoid(x_t @ Wo.T + uo + h @ Ro.T + vo + w["p_o"] * c)
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
    return {"h": np.stack(hs), "c": np.stack(cs)}


def projected(x, start, w):
    """Sak, Senior & Beaufays 2014, without their peepholes as torch's proj_size: h (B, M) = P (o tanh c).  Gates i f g o."""
    (Wi, Wf, Wg, Wo), (ui, uf, ug, uo) = part(w, "W", 4), part(w, "bW", 4)
    (Ri, Rf, Rg, Ro), (vi, vf, vg, vo) = part(w, "R", 4), part(w, "bR", 4)
    h, c, hs, cs = start["h"], start["c"], [], []
    for x_t in x:
        i = sigmoid(x_t @ Wi.T + ui + h @ Ri.T + vi)
        f = sigmoid(x_t @ Wf.T + uf + h @ Rf.T + vf)
        g = np.tanh(x_t @ Wg.T + ug + h @ Rg.T + vg)
        o = sigmoid(x_t @ Wo.T + uo + h @ Ro.T + vo)
        c = f * c + i * g
        h = (o * np.tanh(c)) @ w["P"].T
        hs.append(h)
        cs.append(c)
    return {"h": np.stack(hs), "c": np.stack(cs)}


def layer_norm_lstm(x, start, w):
    """Ba, Kiros & Hinton 2016, equations 20 to 22, each gate normalised over its own H units.  Gates i f g o.

    Gains a_x, a_h (4H,) of the two normalised products, their common bias b (4H,); gain a_c and bias b_c (H,) of the cell.
    """
    Wi, Wf, Wg, Wo = part(w, "W", 4)
    Ri, Rf, Rg, Ro = part(w, "R", 4)
    (ai, af, ag, ao), (ei, ef, eg, eo) = part(w, "a_x", 4), part(w, "a_h", 4)
    bi, bf, bg, bo = part(w, "b", 4)
    h, c, hs, cs = start["h"], start["c"], [], []
    for x_t in x:
        i = sigmoid(ai * layer_norm(x_t @ Wi.T) + ei * layer_norm(h @ Ri.T) + bi)
        f = sigmoid(af * layer_norm(x_t @ Wf.T) + ef * layer_norm(h @ Rf.T) + bf)
        g = np.tanh(ag * layer_norm(x_t @ Wg.T) + eg * layer_norm(h @ Rg.T) + bg)
        o = sigmoid(ao * layer_norm(x_t @ Wo.T) + eo * layer_norm(h @ Ro.T) + bo)
        c = f * c + i * g
        h = o * np.tanh(w["a_c"] * layer_norm(c) + w["b_c"])
        hs.append(h)
        cs.append(c)
    return {"h": np.stack(hs), "c": np.stack(cs)}


def full_gate_recurrence(x, start, w):
    """Greff et al. 2017, section IV, the FGR variant: the vanilla LSTM with peepholes, whose gates see the last step's gates.

    Gates i f g o; p_i, p_f, p_o; R_ab (H, H) leads from gate a of the last step to gate b, for a, b of i, f, o.
    """
    (Wi, Wf, Wg, Wo), (ui, uf, ug, uo) = part(w, "W", 4), part(w, "bW", 4)
    (Ri, Rf, Rg, Ro), (vi, vf, vg, vo) = part(w, "R", 4), part(w, "bR", 4)
    h, c, i, f, o = (start[k] for k in ("h", "c", "i", "f", "o"))
    over = {k: [] for k in ("h", "c", "i", "f", "o")}
    for x_t in x:
        i_bar = x_t @ Wi.T + ui + h @ Ri.T + vi + w["p_i"] * c + i @ w["R_ii"].T + f @ w["R_fi"].T + o @ w["R_oi"].T
        f_bar = x_t @ Wf.T + uf + h @ Rf.T + vf + w["p_f"] * c + i @ w["R_if"].T + f @ w["R_ff"].T + o @ w["R_of"].T
        g = np.tanh(x_t @ Wg.T + ug + h @ Rg.T + vg)
        o_bar = x_t @ Wo.T + uo + h @ Ro.T + vo + i @ w["R_io"].T + f @ w["R_fo"].T + o @ w["R_oo"].T
        i, f = sigmoid(i_bar), sigmoid(f_bar)
        c = f * c + i * g
        o = sigmoid(o_bar + w["p_o"] * c)
        h = o * np.tanh(c)
        for k, v in (("h", h), ("c", c), ("i", i), ("f", f), ("o", o)):
            over[k].append(v)
    return {k: np.stack(v) for k, v in over.items()}


def mgu(x, start, w):
    """Zhou, Wu, Zhang & Zhou 2016, the minimal gated unit: one gate forgets and updates.  Gates f n."""
    (Wf, Wn), (uf, un) = part(w, "W", 2), part(w, "bW", 2)
    (Rf, Rn), (vf, vn) = part(w, "R", 2), part(w, "bR", 2)
    h, hs = start["h"], []
    for x_t in x:
        f = sigmoid(x_t @ Wf.T + uf + h @ Rf.T + vf)
        n = np.tanh(x_t @ Wn.T + un + (f * h) @ Rn.T + vn)
        h = (1 - f) * h + f * n
        hs.append(h)
    return {"h": np.stack(hs)}


# --- integers by hand, from docs/arithmetic.md alone ------------------------------------------------------------------------
#
# Everything is int64 here, so that nothing can overflow unseen; `fits` holds what the document promises to stay in int32.
# A model's layer is a dict with the integer matrices W, R and, for each accumulator A, A.m and A.b (H,), A.SH, A.kW, A.kR;
# for the GRU also W_n.P and R_n.P, for the LSTM CF.  Names as in section 10 of the document.

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
