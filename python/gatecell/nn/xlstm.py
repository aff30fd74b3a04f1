"""xLSTM's matrix memory (Beck et al. 2024): mLSTM over heads, step by step, in parallel or in chunks, and the block around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import scans
from ..tensor import functional as F
from ..tensor.functions import cat, maximum
from ..tensor.tensor import Tensor
from . import init
from .layers import LayerNorm, Linear
from .module import Module, Parameter, positive
from .scanned import CausalConv, Scanned, State, named, over_time, part


def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: Tensor,
    f: Tensor,
    state: Mapping[str, Tensor] | None = None,
    *,
    chunk: int | None = None,
) -> tuple[Tensor, State]:
    """h_t = C_t q_t / max(|n_t q_t|, 1) with C_t = f C + i v k^T and n_t = f n + i k, for every head by itself.

    q, k (B, T, K N), head after head, k divided by sqrt(N) within; v (B, T, K H); i, f (B, T, K) before exp and sigmoid.  state:
    C (B, K N H), n (B, K N), m (B, K), zeros when None; C and n are divided by exp(m).  Returns h (B, T, K H) and the last state.

    chunk: None is the recurrence, whose state is all that it needs; a number is the chunkwise form, so many steps at once, by
    products of matrices: T of them, or more, the parallel form.  It agrees within rounding, 2e-5 of the largest output in float32.
    """
    B, T, K = i.shape
    N, H = q.shape[2] // K, v.shape[2] // K
    of, k = scans["mlstm"], k * N**-0.5
    if chunk is None:
        return over_time(of, {"q": q, "k": k, "v": v, "i": i, "f": f}, {}, state, H=H, N=N, heads=K)
    zeros = {"C": np.zeros((B, K, N, H)), "n": np.zeros((B, K, N, 1)), "m": np.zeros((B, K, 1, 1))}
    C, n, m = (Tensor(a.astype(q.dtype)) if state is None else state[s].reshape(a.shape) for s, a in zeros.items())
    rows = [t.reshape(B, T, K, -1).transpose(1, 2) for t in (q, k, v)] + [i.transpose(1, 2), F.logsigmoid(f).transpose(1, 2)]
    hs = []
    for t in range(0, T, positive("chunk", chunk)):
        h, C, n, m = _chunk(*[r[:, :, t : t + chunk] for r in rows], state=(C, n, m))
        hs.append(h)
    y = cat(hs, 2).transpose(1, 2).reshape(B, T, -1)
    return y, {"C": C.reshape(B, -1), "n": n.reshape(B, -1), "m": m.reshape(B, -1)}


def _chunk(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor, lf: Tensor, *, state: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """L steps at once: q, k (B, K, L, N), v (B, K, L, H), i and log f (B, K, L); C (B, K, N, H), n (B, K, N, 1), m (B, K, 1, 1).

    Step j counts at step t with exp(F_t - F_j + i_j), F the sum of log f up to there, and the start with exp(F_t + m).
    """
    L, (C, n, m) = q.shape[2], state
    ones = np.tril(np.ones((L, L), q.dtype))
    summed = lf @ Tensor(ones.T)  # (B, K, L)
    future = Tensor(ones == 0)
    weights = (summed.unsqueeze(3) - summed.unsqueeze(2) + i.unsqueeze(2)).masked_fill(future, -math.inf)
    start = summed.unsqueeze(3) + m
    top = maximum(weights.max(3, keepdim=True)[0], start).detach()  # it only scales: the result does not depend on it
    near, far = (q @ k.transpose(2, 3)) * (weights - top).exp(), (start - top).exp()
    below = maximum((near.sum(3, keepdim=True) + far * (q @ n)).abs(), (-top).exp())
    h = (near @ v + far * (q @ C)) / below
    last, keep = top[:, :, -1:], (weights[:, :, -1] - top[:, :, -1]).exp().unsqueeze(3) * k  # (B, K, L, N)
    far = far[:, :, -1:]
    ends = keep.transpose(2, 3)
    return h, far * C + ends @ v, far * n + ends.sum(3, keepdim=True), last


class MLSTM(Scanned):
    """The matrix memory of the paper's equations 19 to 27: y, state = layer(x, state=None), x (B, T, input_size), y (B, T, hidden_size).

    q, k, v, i, f, o: linear layers of x; a sigmoid of o is the output gate.  hidden_size: num_heads times N = H.
    chunk: None runs the recurrence, a number the chunkwise form; a state may go from one to the other.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int = 1, bias: bool = True, chunk: int | None = None, dtype: Any = None
    ) -> None:
        self.input_size, self.hidden_size, self.chunk = positive("input_size", input_size), hidden_size, chunk
        self.num_heads = positive("num_heads", num_heads)
        if positive("hidden_size", hidden_size) % num_heads:
            raise ValueError(f"num_heads: a divisor of {hidden_size} wanted, got {num_heads}")
        self.q, self.k, self.v, self.o = (Linear(input_size, hidden_size, bias=bias, dtype=dtype) for _ in range(4))
        self.i, self.f = (Linear(input_size, num_heads, bias=bias, dtype=dtype) for _ in range(2))
        if self.f.bias is not None:
            self.f.bias.data[...] = np.linspace(3, 6, num_heads)  # forgets little at first, every head at another pace

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        x = self.given(input)
        h, last = mlstm(self.q(x), self.k(x), self.v(x), self.i(x), self.f(x), state, chunk=self.chunk)
        return self.o(x).sigmoid() * h, last

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_heads={self.num_heads}"


class _HeadwiseLinear(Module):
    """A linear layer whose matrix is block-diagonal: weight (blocks, out, in), x (..., blocks * in)."""

    def __init__(self, size: int, blocks: int, dtype: Any) -> None:
        self.size, self.blocks, each = size, blocks, size // blocks
        self.weight = Parameter(np.empty((blocks, each, each), dtype or np.float32))
        init.normal_(self.weight, 0.0, math.sqrt(2 / (5 * each)))

    def forward(self, x: Tensor) -> Tensor:
        parts = x.reshape(-1, self.blocks, self.size // self.blocks).transpose(0, 1)
        return (parts @ self.weight.transpose(1, 2)).transpose(0, 1).reshape(x.shape)


class MLSTMCell(Scanned):
    """Gates, heads and norm around the matrix memory: h, state = cell(q, k, v, state=None), each (B, T, size); size is K times N = H.

    igate, fgate: linear layers of q, k and v side by side; outnorm: a norm over each head's features, then one weight per feature.
    chunk: None runs the recurrence, a number the chunkwise form.
    """

    def __init__(self, size: int, heads: int, chunk: int | None = None, dtype: Any = None) -> None:
        self.input_size, self.heads, self.chunk = positive("size", size), positive("heads", heads), chunk
        if size % heads:
            raise ValueError(f"heads: a divisor of {size} wanted, got {heads}")
        self.igate, self.fgate = (Linear(3 * size, heads, dtype=dtype) for _ in range(2))
        self.outnorm = LayerNorm(size, bias=False, dtype=dtype)
        assert self.igate.bias is not None and self.fgate.bias is not None
        for gate in (self.igate, self.fgate):
            init.zeros_(gate.weight)
        init.normal_(self.igate.bias, 0.0, 0.1)
        self.fgate.bias.data[...] = np.linspace(3, 6, heads)  # forgets little at first, every head at another pace

    def forward(self, q: Any, k: Any = None, v: Any = None, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        q, k, v = (self.given(t) for t in (q, k, v))
        B, T, _ = q.shape
        gates = cat([q, k, v], -1)
        h, last = mlstm(q, k, v, self.igate(gates), self.fgate(gates), state, chunk=self.chunk)
        h = h.reshape(B, T, self.heads, -1)
        d = h - h.mean(-1, keepdim=True)
        normed = d / ((d * d).mean(-1, keepdim=True) + self.outnorm.eps).sqrt()
        assert self.outnorm.weight is not None
        return normed.reshape(B, T, -1) * self.outnorm.weight, last


class MLSTMBlock(Scanned):
    """The mLSTM block of xLSTM's figure 11, without the norm and the sum around it: y, state = block(x, state=None).

    Up to twice proj_factor times the width; one half through a short convolution into q and k, and as it is into v; the matrix memory, a
    learnable skip of the convolution, the other half as a gate; down again.  Names of parameters are those of the authors' code.
    x (B, T, embedding_dim); q, k and v are made of blocks of qkv_proj_blocksize features each.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int = 4,
        conv1d_kernel_size: int = 4,
        qkv_proj_blocksize: int = 4,
        proj_factor: float = 2.0,
        bias: bool = False,
        chunk: int | None = None,
        dtype: Any = None,
    ) -> None:
        self.input_size = positive("embedding_dim", embedding_dim)
        self.inner = int(proj_factor * embedding_dim)
        if self.inner % positive("qkv_proj_blocksize", qkv_proj_blocksize):
            raise ValueError(f"qkv_proj_blocksize: a divisor of {self.inner} wanted, got {qkv_proj_blocksize}")
        blocks = self.inner // qkv_proj_blocksize
        self.proj_up = Linear(embedding_dim, 2 * self.inner, bias=bias, dtype=dtype)
        self.q_proj, self.k_proj, self.v_proj = (_HeadwiseLinear(self.inner, blocks, dtype) for _ in range(3))
        self.conv1d = CausalConv(self.inner, conv1d_kernel_size, dtype=dtype)
        self.mlstm_cell = MLSTMCell(self.inner, num_heads, chunk, dtype)
        self.learnable_skip = Parameter(np.ones(self.inner, dtype or np.float32))
        self.proj_down = Linear(self.inner, embedding_dim, bias=bias, dtype=dtype)

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        both = self.proj_up(self.given(input))
        x, z = both[..., : self.inner], both[..., self.inner :]
        c, conv = self.conv1d(x, part(state, "conv", self.conv1d.scan))
        c = F.silu(c)
        own = part(state, "memory", scans["mlstm"])
        h, last = self.mlstm_cell(self.q_proj(c), self.k_proj(c), self.v_proj(x), own)
        return self.proj_down((h + self.learnable_skip * c) * F.silu(z)), {**named(conv, "conv"), **named(last, "memory")}
