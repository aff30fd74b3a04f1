"""The independent oracle: each cell as its paper has it, one plain loop over time, NumPy and nothing else.

Not a part of gatecell and not derived from it: nothing here imports the package, so that an error in a page, in the
tracer or in a kernel cannot repeat itself here.  Slow on purpose; read it beside the papers.
The integer layers, written from docs/arithmetic.md in the same way, are in textbook_integers.py.

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


def log_sigmoid(a):
    """log of it, where it is 0 in floating point, too."""
    positive = np.real(a) > 0
    return np.where(positive, 0, a) - np.log(1 + np.exp(np.where(positive, -a, a)))


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


def lstm_1997(x, start, w):
    """Hochreiter & Schmidhuber 1997, section 4, with tanh for both squashing functions: the cell only adds up.  Gates i g o."""
    (Wi, Wg, Wo), (ui, ug, uo) = part(w, "W", 3), part(w, "bW", 3)
    (Ri, Rg, Ro), (vi, vg, vo) = part(w, "R", 3), part(w, "bR", 3)
    h, c, hs, cs = start["h"], start["c"], [], []
    for x_t in x:
        c = c + sigmoid(x_t @ Wi.T + ui + h @ Ri.T + vi) * np.tanh(x_t @ Wg.T + ug + h @ Rg.T + vg)
        h = sigmoid(x_t @ Wo.T + uo + h @ Ro.T + vo) * np.tanh(c)
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


def odyssey(x, start, w, change=""):
    """Greff et al. 2017: the vanilla LSTM of section II, z i f o y as there, with one change of section III.

    Gates i f g o (g: the paper's z), without those that the change takes away; p_i, p_f, p_o.  FGR is full_gate_recurrence.
    """
    have = {"NIG": "fgo", "NFG": "igo", "NOG": "ifg", "CIFG": "igo"}.get(change, "ifgo")
    W, R, u, v = (dict(zip(have, part(w, key, len(have)), strict=True)) for key in ("W", "R", "bW", "bR"))
    squash_in = (lambda a: a) if change == "NIAF" else np.tanh
    squash_out = (lambda a: a) if change == "NOAF" else np.tanh
    y, c, ys, cs = start["h"], start["c"], [], []
    for x_t in x:
        bar = {k: x_t @ W[k].T + u[k] + y @ R[k].T + v[k] for k in have}
        z = squash_in(bar["g"])
        i = 1 if change == "NIG" else sigmoid(bar["i"] + w["p_i"] * c)
        f = 1 if change == "NFG" else 1 - i if change == "CIFG" else sigmoid(bar["f"] + w["p_f"] * c)
        c = z * i + c * f
        o = 1 if change == "NOG" else sigmoid(bar["o"] + w["p_o"] * c)
        y = squash_out(c) * o
        ys.append(y)
        cs.append(c)
    return {"h": np.stack(ys), "c": np.stack(cs)}


def fastgrnn(x, start, w):
    """Kusupati et al. 2018, section 3.2: one product for gate and candidate; zeta and nu are sigmoids of two trained numbers.

    W (H, I), R (H, H), b_z and b_h (H,), zeta and nu (1,).
    """
    h, hs = start["h"], []
    for x_t in x:
        a = x_t @ w["W"].T + h @ w["R"].T
        z, new = sigmoid(a + w["b_z"]), np.tanh(a + w["b_h"])
        h = (sigmoid(w["zeta"]) * (1 - z) + sigmoid(w["nu"])) * new + z * h
        hs.append(h)
    return {"h": np.stack(hs)}


def mingru(x, start, w):
    """Feng et al. 2024, section 3.1: gate and candidate see x alone.  Gates z n."""
    (Wz, Wn), (uz, un) = part(w, "W", 2), part(w, "bW", 2)
    h, hs = start["h"], []
    for x_t in x:
        z = sigmoid(x_t @ Wz.T + uz)
        h = (1 - z) * h + z * (x_t @ Wn.T + un)
        hs.append(h)
    return {"h": np.stack(hs)}


def minlstm(x, start, w):
    """Feng et al. 2024, section 3.2: two gates that add up to 1.  Gates i f n."""
    (Wi, Wf, Wn), (ui, uf, un) = part(w, "W", 3), part(w, "bW", 3)
    h, hs = start["h"], []
    for x_t in x:
        diff = log_sigmoid(x_t @ Wi.T + ui) - log_sigmoid(x_t @ Wf.T + uf)  # appendix B: i / (f + i) without a division of 0 by 0
        h = sigmoid(-diff) * h + sigmoid(diff) * (x_t @ Wn.T + un)
        hs.append(h)
    return {"h": np.stack(hs)}


def slstm(x, start, w):
    """Beck et al. 2024, equations 8 to 17, with a sigmoid forget gate: the state is scaled by e^-m, which cancels in c / n.

    Gates i f z o; R (4H, H/K): each head's units see the K-th part of h that is their own.  m is a number and no function: no
    derivative goes through it.
    """
    (Wi, Wf, Wz, Wo), (ui, uf, uz, uo) = part(w, "W", 4), part(w, "bW", 4)
    (Ri, Rf, Rz, Ro), (vi, vf, vz, vo) = part(w, "R", 4), part(w, "bR", 4)
    size = w["R"].shape[1]

    def heads(h, R):
        return np.concatenate([h[:, k : k + size] @ R[k : k + size].T for k in range(0, h.shape[1], size)], axis=1)

    over = {k: [] for k in ("h", "c", "n", "m")}
    h, c, n, m = (start[k] for k in over)
    for x_t in x:
        i_bar = x_t @ Wi.T + ui + heads(h, Ri) + vi
        f_bar = x_t @ Wf.T + uf + heads(h, Rf) + vf
        z = np.tanh(x_t @ Wz.T + uz + heads(h, Rz) + vz)
        o = sigmoid(x_t @ Wo.T + uo + heads(h, Ro) + vo)
        log_f = log_sigmoid(f_bar) + m
        m = np.maximum(np.real(log_f), np.real(i_bar))
        i, f = np.exp(i_bar - m), np.exp(log_f - m)
        c = f * c + i * z
        n = f * n + i
        h = o * c / n
        for k, v in (("h", h), ("c", c), ("n", n), ("m", m)):
            over[k].append(v)
    return {k: np.stack(v) for k, v in over.items()}
