"""Kinds of work of scans: recurrences whose state is a matrix or diagonal.  MODES maps a row's mode to a function (shape, threads) -> Work.

torch has no such layers: a loop over time of its operations stands for them, which is what its users write.  A shape's I is N, the entries
of a channel, of selective scans; of matrix memories it is the input, and H the features of HEADS heads together.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.functional import linear, logsigmoid

import gatecell
import own
import peer_torch
from gatecell import nn
from shapes import Shape
from timing import Arrays, Rival
from work import CHECKED, GRADIENT, OUTPUT, Work, alone

HEADS = 4


def selective_arrays(s: Shape) -> Arrays:
    """What nn.selective_scan takes, batch first: steps of 0.1 to 1, decays of the first integers, as Mamba begins with."""
    rng = np.random.default_rng(0)
    draw = lambda *size: rng.normal(size=size).astype(np.float32)
    dt, A = rng.uniform(0.001, 0.1, (s.B, s.T, s.H)), -np.tile(np.arange(1, s.I + 1), (s.H, 1))
    rest = {"B": draw(s.B, s.T, s.I), "C": draw(s.B, s.T, s.I), "D": draw(s.H)}
    return {"x": draw(s.B, s.T, s.H), "dt": dt.astype(np.float32), "A": A.astype(np.float32), **rest}


def selective_by_torch(x, dt, A, B, C, D):  # type: ignore[no-untyped-def]
    """The authors' own reference: decays and inputs of all steps at once, then a loop. Unbound, its gradient is faster."""
    decay = torch.exp(torch.einsum("bth,hn->bthn", dt, A))
    given = torch.einsum("bth,btn,bth->bthn", dt, B, x)
    s, ys = x.new_zeros(x.shape[0], *A.shape), []
    for a, b, c in zip(decay.unbind(1), given.unbind(1), C.unbind(1), strict=True):
        s = a * s + b
        ys.append(torch.einsum("bhn,bn->bh", s, c))
    return torch.stack(ys, 1) + x * D


@contextmanager
def quietly(count: int) -> Iterator[None]:
    with own.threads(count), gatecell.no_grad():
        yield


def selective(shape: Shape, threads: int) -> Work:
    """Inference from zeros."""
    arrays = selective_arrays(shape)
    given, theirs = ({k: of(a) for k, a in arrays.items()} for of in (gatecell.from_numpy, torch.from_numpy))
    ours, loop = lambda: nn.selective_scan(**given)[0], lambda: selective_by_torch(**theirs)
    rivals = {
        "gatecell": Rival(ours, lambda: {"y": ours().numpy()}, lambda: quietly(threads)),
        "torch": Rival(loop, lambda: {"y": loop().numpy()}, peer_torch.within(threads)),
    }
    return Work(alone_quietly(rivals, threads), budget=OUTPUT)


def alone_quietly(rivals: dict[str, Rival], threads: int) -> dict[str, Rival]:
    """`work.alone`, without the tape."""
    found = alone(rivals, threads)
    if "one thread" in found:
        found["one thread"] = Rival(found["one thread"].call, found["one thread"].result, lambda: quietly(1))
    return found


def selective_training(shape: Shape, threads: int) -> Work:
    """Forward, and backward to everything that it was given."""
    arrays = selective_arrays(shape)
    seed = np.random.default_rng(1).normal(size=(shape.B, shape.T, shape.H)).astype(np.float32)

    def rival(tensor: Callable, scan: Callable, within: Callable) -> Rival:
        given = {k: tensor(a).requires_grad_() for k, a in arrays.items()}
        dy = tensor(seed)

        def call() -> None:
            for t in given.values():
                t.grad = None
            scan(given).backward(dy)

        def result() -> Arrays:
            call()
            return {k: np.asarray(t.grad) for k, t in given.items()}

        return Rival(call, result, within)

    rivals = {
        "gatecell": rival(gatecell.from_numpy, lambda given: nn.selective_scan(**given)[0], lambda: own.threads(threads)),
        "torch": rival(torch.from_numpy, lambda given: selective_by_torch(**given), peer_torch.within(threads, inference=False)),
    }
    return Work(alone(rivals, threads), budget=GRADIENT)


def memory_by_torch(w: dict[str, torch.Tensor], state: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """One step of the paper's equations 19 to 27, stabilised; the state is replaced.  x (B, I) -> (B, H)."""
    q, k, v, o, i, f = (linear(x, w[name + ".weight"], w[name + ".bias"]) for name in "qkvoif")
    q, k, v = (a.unflatten(1, (HEADS, -1)) for a in (q, k, v))
    k = k * k.shape[2] ** -0.5
    C, n, m = state
    held = logsigmoid(f) + m
    m = torch.maximum(held, i)
    f, i = torch.exp(held - m), torch.exp(i - m)
    C = f[..., None, None] * C + (i[..., None] * k)[..., None] * v[..., None, :]
    n = f[..., None] * n + i[..., None] * k
    below = torch.maximum((n * q).sum(-1).abs(), torch.exp(-m))
    h = (q[..., None, :] @ C).squeeze(-2) / below[..., None]
    state[:] = C, n, m
    return torch.sigmoid(o) * h.flatten(1)


def memory_step(shape: Shape, threads: int) -> Work:
    """One step a call from Python, the state carried along: a layer of nn.MLSTM, its products among it."""
    s = shape
    gatecell.manual_seed(0)
    layer = nn.MLSTM(s.I, s.H, HEADS)
    xs = np.random.default_rng(1).normal(size=(CHECKED, s.B, s.I)).astype(np.float32)
    stream, out, frame = gatecell.Stream(layer, batch=s.B), np.empty((s.B, s.H), np.float32), xs[0].copy()
    w, each = {name: torch.from_numpy(np.asarray(p).copy()) for name, p in layer.state_dict().items()}, s.H // HEADS
    start = lambda: [torch.zeros(s.B, HEADS, *rest) for rest in ((each, each), (each,), ())]
    state, tensor = start(), torch.from_numpy(frame)

    def ours() -> Arrays:
        stream.reset()
        for x in xs:
            stream.step(x, out=out)
        return {"y": out.copy()}

    def theirs() -> Arrays:
        state[:] = start()
        return {"y": [memory_by_torch(w, state, torch.from_numpy(x)).numpy() for x in xs][-1]}

    rivals = {
        "gatecell": Rival(lambda: stream.step(frame, out=out), ours, lambda: own.threads(threads)),
        "torch": Rival(lambda: memory_by_torch(w, state, tensor), theirs, peer_torch.within(threads)),
    }
    return Work(alone(rivals, threads), budget=OUTPUT)


MODES: Mapping[str, Callable[..., Work]] = {
    "selective scan, forward": selective,
    "selective scan, training": selective_training,
    "matrix memory, step from Python": memory_step,
}
