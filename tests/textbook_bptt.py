"""Back-propagation through time by hand (Werbos 1990), for the three cells that everybody knows; NumPy and textbook.py alone.

    gradients = loop_bptt(x, start, w, dh)      dh (T, B, H): the loss's gradient to every h_t

Each repeats the forward loop for the values it needs, walks back, and returns the gradient of x, of every array in w and
of every state in start, under their names.
"""

import numpy as np

from textbook import gru, lstm, rnn, sigmoid


def rnn_bptt(x, start, w, dh):
    """Back through `rnn` with tanh."""
    hs = np.concatenate([start["h"][None], rnn(x, start, w)["h"]])
    dx, dW, dR, db, carry = np.zeros_like(x), np.zeros_like(w["W"]), np.zeros_like(w["R"]), np.zeros(len(w["W"])), 0
    for t in reversed(range(len(x))):
        da = (dh[t] + carry) * (1 - hs[t + 1] ** 2)
        dx[t] = da @ w["W"]
        carry = da @ w["R"]
        dW += da.T @ x[t]
        dR += da.T @ hs[t]
        db += da.sum(0)
    return {"x": dx, "W": dW, "R": dR, "bW": db, "bR": db, "h": carry}


def lstm_bptt(x, start, w, dh):
    """Back through `lstm`."""
    over = lstm(x, start, w)
    hs = np.concatenate([start["h"][None], over["h"]])
    cs = np.concatenate([start["c"][None], over["c"]])
    dx, dW, dR, db = np.zeros_like(x), np.zeros_like(w["W"]), np.zeros_like(w["R"]), np.zeros(len(w["W"]))
    to_h, to_c = 0, 0
    for t in reversed(range(len(x))):
        a_i, a_f, a_g, a_o = np.split(x[t] @ w["W"].T + w.get("bW", 0) + hs[t] @ w["R"].T + w.get("bR", 0), 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        squashed = np.tanh(cs[t + 1])
        d_h = dh[t] + to_h
        d_c = to_c + d_h * o * (1 - squashed**2)
        d_i, d_f = d_c * g * i * (1 - i), d_c * cs[t] * f * (1 - f)
        d_g, d_o = d_c * i * (1 - g**2), d_h * squashed * o * (1 - o)
        da = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
        dx[t] = da @ w["W"]
        to_h, to_c = da @ w["R"], d_c * f
        dW += da.T @ x[t]
        dR += da.T @ hs[t]
        db += da.sum(0)
    return {"x": dx, "W": dW, "R": dR, "bW": db, "bR": db, "h": to_h, "c": to_c}


def gru_bptt(x, start, w, dh):
    """Back through `gru`; the two biases of n differ, since only one of them is behind the reset gate."""
    hs = np.concatenate([start["h"][None], gru(x, start, w)["h"]])
    dx, dW, dR, dbW, dbR = np.zeros_like(x), np.zeros_like(w["W"]), np.zeros_like(w["R"]), np.zeros(len(w["W"])), np.zeros(len(w["W"]))
    carry = 0
    for t in reversed(range(len(x))):
        x_r, x_z, x_n = np.split(x[t] @ w["W"].T + w.get("bW", 0), 3, axis=1)
        h_r, h_z, h_n = np.split(hs[t] @ w["R"].T + w.get("bR", 0), 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        d_h = dh[t] + carry
        d_z = d_h * (hs[t] - n) * z * (1 - z)
        d_n = d_h * (1 - z) * (1 - n**2)
        d_r = d_n * h_n * r * (1 - r)
        da_x = np.concatenate([d_r, d_z, d_n], axis=1)
        da_h = np.concatenate([d_r, d_z, d_n * r], axis=1)
        dx[t] = da_x @ w["W"]
        carry = d_h * z + da_h @ w["R"]
        dW += da_x.T @ x[t]
        dR += da_h.T @ hs[t]
        dbW += da_x.sum(0)
        dbR += da_h.sum(0)
    return {"x": dx, "W": dW, "R": dR, "bW": dbW, "bR": dbR, "h": carry}
