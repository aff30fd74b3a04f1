"""Scans as their papers write them: one loop over time, NumPy only.  The independent oracle of gatecell.scans: it imports none of it.

Not here: gated cells (textbook.py), gradients.  Letters: T time, B batch, H channels, N entries; arrays as gatecell.scans takes them, a
matrix state (B, N, H).  Everything is written for one row of the batch, entry by entry where the paper has a matrix product.
"""

import numpy as np


def selective(dt, B, C, x, A, D, s):
    """Mamba's algorithm 2 with the authors' own discretisation: each channel h has a state of N numbers.  Returns y (T, B, H) and s."""
    y, s = np.zeros(x.shape, np.result_type(x, s)), s.astype(np.result_type(x, s))
    for t in range(len(x)):
        for b in range(x.shape[1]):
            for h in range(x.shape[2]):
                decay = np.exp(dt[t, b, h] * A[:, h])
                s[b, :, h] = decay * s[b, :, h] + dt[t, b, h] * B[t, b] * x[t, b, h]
                y[t, b, h] = C[t, b] @ s[b, :, h] + D[h] * x[t, b, h]
    return y, s


def mlstm_without_stabiliser(q, k, v, i, f, C, n):
    """Equations 19 to 27 of xLSTM before they are stabilised: C (B, N, H), n (B, N), gates (T, B) before exp and sigmoid."""
    T, B, H = v.shape
    y, C, n = np.zeros((T, B, H), v.dtype), C.copy(), n.copy()
    for t in range(T):
        for b in range(B):
            forget, let_in = 1 / (1 + np.exp(-f[t, b])), np.exp(i[t, b])
            C[b] = forget * C[b] + let_in * np.outer(k[t, b], v[t, b])
            n[b] = forget * n[b] + let_in * k[t, b]
            y[t, b] = (C[b].T @ q[t, b]) / max(abs(n[b] @ q[t, b]), 1.0)
    return y, C, n


def mlstm_parallel(q, k, v, i, f):
    """The same from zero states without a recurrence: xLSTM's appendix on the parallel form.  Returns y (T, B, H)."""
    T, B, H = v.shape
    y = np.zeros((T, B, H))
    for b in range(B):
        log_forget = np.cumsum(-np.log1p(np.exp(-f[:, b])))
        D = np.full((T, T), -np.inf)
        for t in range(T):
            for j in range(t + 1):
                D[t, j] = log_forget[t] - log_forget[j] + i[j, b]
        m = D.max(1, keepdims=True)
        S = (q[:, b] @ k[:, b].T) * np.exp(D - m)
        y[:, b] = (S @ v[:, b]) / np.maximum(abs(S.sum(1, keepdims=True)), np.exp(-m))
    return y


def diagonal(u, A, C, D, s):
    """y = 2 Re(C s) + D u with s' = A s + u: complex A, C (N, H), s (B, N, H)."""
    y = np.zeros(u.shape)
    for t in range(len(u)):
        s = A * s + u[t][:, None, :]
        y[t] = 2 * (C * s).sum(1).real + D * u[t]
    return y, s


def wkv(k, v, w, u):
    """Equation 16 of RWKV-4 as a sum over the past, from nothing: w is the log of the decay a step (negative), u the present's bonus."""
    y = np.zeros(k.shape)
    for t in range(len(k)):
        above, below = np.exp(u + k[t]) * v[t], np.exp(u + k[t])
        for j in range(t):
            weight = np.exp((t - 1 - j) * w + k[j])
            above, below = above + weight * v[j], below + weight
        y[t] = above / below
    return y


def mlstm_block(w, x, heads, blocks):
    """xLSTM's figure 11 for one row x (T, D) by the authors' names of parameters, from zeros.  Returns (T, D)."""

    def headwise(m, a):
        return np.concatenate([m[b] @ part for b, part in enumerate(np.split(a, blocks))])

    def silu(a):
        return a / (1 + np.exp(-a))

    both = x @ w["proj_up.weight"].T
    inner, gate = np.split(both, 2, axis=1)
    width, T, size = w["conv1d.weight"].shape[2], len(x), inner.shape[1]
    before = np.concatenate([np.zeros((width - 1, size)), inner])
    conv = np.array([sum(w["conv1d.weight"][:, 0, j] * before[t + j] for j in range(width)) + w["conv1d.bias"] for t in range(T)])
    act = silu(conv)
    q, k, v = (np.array([headwise(w[n + "_proj.weight"], a) for a in of]) for n, of in (("q", act), ("k", act), ("v", inner)))
    gates = np.concatenate([q, k, v], axis=1)
    i, f = (gates @ w[f"mlstm_cell.{g}gate.weight"].T + w[f"mlstm_cell.{g}gate.bias"] for g in "if")
    each, hs = size // heads, []
    for head in range(heads):
        s = slice(head * each, (head + 1) * each)
        one = [a[:, None, s] for a in (q, k / np.sqrt(each), v)]
        C, n = np.zeros((1, each, each)), np.zeros((1, each))
        h, _, _ = mlstm_without_stabiliser(*one, i[:, head : head + 1], f[:, head : head + 1], C, n)
        h = h[:, 0]
        hs.append((h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5))
    h = np.concatenate(hs, axis=1) * w["mlstm_cell.outnorm.weight"]
    return ((h + w["learnable_skip"] * act) * silu(gate)) @ w["proj_down.weight"].T


def s4d_kernel(log_dt, C, log_A_real, A_imag, T):
    """The convolution's kernel k (T, H), 2 Re sum of C (exp(dt A) - 1) / A exp(dt A t), with complex numbers."""
    A, dt, C = -np.exp(log_A_real) + 1j * A_imag, np.exp(log_dt)[:, None], C[..., 0] + 1j * C[..., 1]
    C = C * (np.exp(dt * A) - 1) / A
    return np.array([2 * (C * np.exp(dt * A * t)).sum(1).real for t in range(T)])
