"""The driver's options as their papers have them, over the loops of textbook.py: masks are given, nothing is drawn here.  NumPy alone.

Where an option acts outside the equations (zoneout; a mask on what recurrent products read) any paper's loop serves, taken a step, or a
row, at a time; where it acts inside them (the candidate, the bound on a cell that its output reads) the loop is written out.
Letters as there.
"""

import numpy as np

from textbook import part, sigmoid


def zoneout(loop, x, start, w, keeps):
    """Krueger et al. 2017, equation 5 for every state: s_t = d_t s_(t-1) + (1 - d_t) new; `keeps` {state: d (T, B, N)}.

    The other states' new values read the new one, not the mixture: each step is the loop's own.
    """
    states, over = dict(start), {s: [] for s in start}
    for t, x_t in enumerate(x):
        new = {s: v[0] for s, v in loop(x_t[None], states, w).items()}
        states = {s: keeps[s][t] * states[s] + (1 - keeps[s][t]) * v if s in keeps else v for s, v in new.items()}
        for s, v in states.items():
            over[s].append(v)
    return {s: np.stack(v) for s, v in over.items()}


def recurrent_dropout(loop, x, start, w, masks, recurrent):
    """Gal & Ghahramani 2016, equation 7: every recurrent product reads z * h, z (B, N) the same at all steps.

    R (z * h) is (R diag(z)) h: each row of the batch has matrices of its own.  `recurrent`: their names, each (out, N).
    """
    rows = []
    for b, z in enumerate(masks):
        own = {k: v * columns(z, v) if k in recurrent else v for k, v in w.items()}
        rows.append(loop(x[:, b : b + 1], {s: v[b : b + 1] for s, v in start.items()}, own))
    return {s: np.concatenate([row[s] for row in rows], 1) for s in start}


def columns(z, matrix):
    """The diagonal that stands beside each row: z itself, or of a matrix in diagonal blocks, (G N, N / K), the row's own block of it."""
    each = matrix.shape[1]
    return z if each == len(z) else z.reshape(-1, each)[np.arange(len(matrix)) % len(z) // each]


def lstm(x, start, w, candidate=1.0, bound=np.inf):
    """Semeniuta, Severyn & Barth 2016, equation 10: c = f c + i (m g), m (T, B, H); and a cell within `bound`, which its output reads."""
    (Wi, Wf, Wg, Wo), (ui, uf, ug, uo) = part(w, "W", 4), part(w, "bW", 4)
    (Ri, Rf, Rg, Ro), (vi, vf, vg, vo) = part(w, "R", 4), part(w, "bR", 4)
    h, c, hs, cs = start["h"], start["c"], [], []
    for x_t, m in zip(x, np.broadcast_to(candidate, (*x.shape[:2], h.shape[1])), strict=True):
        i = sigmoid(x_t @ Wi.T + ui + h @ Ri.T + vi)
        f = sigmoid(x_t @ Wf.T + uf + h @ Rf.T + vf)
        g = np.tanh(x_t @ Wg.T + ug + h @ Rg.T + vg)
        o = sigmoid(x_t @ Wo.T + uo + h @ Ro.T + vo)
        c = f * c + i * (m * g)
        c = np.where(np.real(c) > bound, bound, np.where(np.real(c) < -bound, -bound, c))
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
    return {"h": np.stack(hs), "c": np.stack(cs)}


def gru(x, start, w, candidate):
    """The same paper's equation 15, in the form of textbook.gru: h = z h + (1 - z) (m n)."""
    (Wr, Wz, Wn), (ur, uz, un) = part(w, "W", 3), part(w, "bW", 3)
    (Rr, Rz, Rn), (vr, vz, vn) = part(w, "R", 3), part(w, "bR", 3)
    h, hs = start["h"], []
    for x_t, m in zip(x, candidate, strict=True):
        r = sigmoid(x_t @ Wr.T + ur + h @ Rr.T + vr)
        z = sigmoid(x_t @ Wz.T + uz + h @ Rz.T + vz)
        n = np.tanh(x_t @ Wn.T + un + r * (h @ Rn.T + vn))
        h = z * h + (1 - z) * (m * n)
        hs.append(h)
    return {"h": np.stack(hs)}
