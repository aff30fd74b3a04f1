"""A user's file, outside the package: a cell of one's own on a page, its equations once more in NumPy, and all that it is used for.

Run by test_own_cells.py in a process of its own: `python own_cell.py FOLDER`.  Nothing of the package knows it.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import gatecell
from gatecell import nn, optim
from gatecell.algebra.ops import lerp, sigmoid, tanh

I, H = 3, 24


@gatecell.cell(title="Leaky memory", source="made up", keeps="-a", candidate="n")
def leaky(W, R, p, x, h, c):
    r, o = (sigmoid(W[k](x) + R[k](h)) for k in "ro")
    a = sigmoid(W.a(x) + R.a(h) + p.a * c)
    n = tanh(W.n(x) + R.n(r * h))
    c = lerp(a, c, n)
    return o * tanh(c), c


def by_hand(x, w, h, c):
    """The equations as loops over time; gates r o a n; complex numbers pass through."""
    (Wr, Wo, Wa, Wn), (ur, uo, ua, un) = np.split(w["W"], 4), np.split(w["W+"], 4)
    (Rr, Ro, Ra, Rn), (vr, vo, va, vn) = np.split(w["R"], 4), np.split(w["R+"], 4)
    squash, out = lambda v: 0.5 + 0.5 * np.tanh(0.5 * v), []
    for x_t in x:
        r = squash(x_t @ Wr.T + ur + h @ Rr.T + vr)
        o = squash(x_t @ Wo.T + uo + h @ Ro.T + vo)
        a = squash(x_t @ Wa.T + ua + h @ Ra.T + va + w["p.a"] * c)
        n = np.tanh(x_t @ Wn.T + un + (r * h) @ Rn.T + vn)
        c = (1 - a) * c + a * n
        h = o * np.tanh(c)
        out.append(h)
    return np.stack(out)


class Net(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.units = nn.Standardize([0.5] * I, [2.0] * I)
        self.rnn, self.head = nn.Recurrent("leaky", I, H, 2, **options), nn.Linear(H, 1)

    def forward(self, x):
        return self.head(self.rnn(self.units(x))[0])


def gradient_error():
    """Of the core in float64 against complex step, relative, over a sample of all weights; and the output's, absolute."""
    rng = np.random.default_rng(0)
    m = nn.Recurrent("leaky", I, 5, dtype=np.float64)
    x, zero = rng.normal(size=(6, 2, I)), np.zeros((2, 5))
    dy = rng.normal(size=(6, 2, 5))
    y = m(x)[0]
    (y * gatecell.tensor(dy)).sum().backward()
    w = {k: t.data for k, t in m.parts()[0].items()}
    worst = 0.0
    for k, t in m.parts()[0].items():
        for i in [tuple(rng.integers(0, t.shape)) for _ in range(6)]:
            q = {name: a.astype(complex) for name, a in w.items()}
            q[k][i] += 1e-30j
            want = (dy * by_hand(x, q, zero, zero)).sum().imag / 1e-30
            worst = max(worst, abs(want - t.grad.data[i]) / max(1, abs(t.grad.data).max()))
    return worst, abs(by_hand(x, w, zero, zero) - y.data).max()


def trained():
    """A net that has learnt the mean of the last inputs; and what its loss fell to, in parts of the first."""
    net, rng = Net(zoneout=0.02), np.random.default_rng(1)
    nn.init.forget_bias_(nn.init.orthogonal_gates_(net.rnn))
    adam, losses = optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(120):
        x = rng.normal(0.5, 2, (20, 16, I)).astype(np.float32)
        want = np.cumsum(x[..., :1] * 0.8 ** -np.arange(20)[:, None, None], 0) * 0.8 ** np.arange(20)[:, None, None] * 0.2
        loss = nn.functional.mse_loss(net(x), gatecell.tensor(want.astype(np.float32)))
        net.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        losses.append(loss.item())
    return net.eval(), np.mean(losses[-10:]) / np.mean(losses[:3])


def ratios():
    """Time of training, and of inference, over that of the built-in cell with as many gates: the least of turns of each."""
    gatecell.set_num_threads(1)
    out = []
    for sizes, B, T in (((10, 64), 32, 50), ((40, 128), 1, 50)):
        layers, x = [nn.Recurrent(cell, *sizes) for cell in ("leaky", "lstm")], gatecell.randn(T, B, sizes[0])
        for train in (True, False):
            times = [[], []]
            for _ in range(15):
                for layer, taken in zip(layers, times, strict=True):
                    began = time.perf_counter()
                    if train:
                        layer(x)[0].sum().backward()
                    else:
                        with gatecell.no_grad():
                            layer(x)
                    taken.append(time.perf_counter() - began)
            out.append(min(times[0]) / min(times[1]))
    return out


def main(folder):
    net, fell = trained()
    x = np.random.default_rng(2).normal(0.5, 2, (60, 1, I)).astype(np.float32)
    y = net(x).data
    stream = gatecell.Stream(net)
    streamed = np.stack([stream.step(row) for row in x])
    gatecell.save(net, folder / "net")
    loaded = gatecell.load(folder / "net")
    found = {"fell": fell, "gradient": gradient_error(), "streams": bool((streamed == y).all()), "loads": bool((loaded(x).data == y).all())}
    found["float C"] = float(abs(gatecell.export_c(net, folder, name="floats").run(x) - y).max())
    for scheme in ("w8a8", "w8a16"):
        q = gatecell.quantize(net, np.random.default_rng(3).normal(0.5, 2, (500, 1, I)).astype(np.float32), scheme)
        gatecell.save(q, folder / scheme)
        found[scheme] = {
            "error": float(np.sqrt(np.mean((q(x) - y) ** 2)) / y.std()),
            "c": bool((gatecell.export_c(q, folder, name=f"q_{scheme}").run(x) == q(x)).all()),
            "loads": bool((gatecell.load(folder / scheme)(x) == q(x)).all()),
        }
    found["sees"] = list(gatecell.inspect(net, x)["rnn.l1"])
    found["times"] = ratios()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
