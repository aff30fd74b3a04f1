"""Mamba (Gu & Dao 2023): its selective scan as a function, and its block with the authors' names and shapes of parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import scans
from ..tensor import functional as F
from ..tensor import random
from ..tensor.tensor import Tensor
from . import init
from .layers import Linear
from .module import Parameter, positive
from .scanned import CausalConv, Scanned, State, named, over_time, part


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y_t = C_t s_t + D x_t with s_t = exp(dt_t A) s_(t-1) + dt_t B_t x_t, each channel with a state of N numbers.

    x, dt (B, T, H); A (H, N), negative; B, C (B, T, N); D (H,); state (B, H, N), zeros when None.  Returns y (B, T, H) and the last state.
    Differentiable in all of them.  TypeError, ValueError: arrays of several types, shapes that do not fit.
    """
    if A.ndim != 2 or x.ndim != 3:
        raise ValueError(f"selective_scan: x (B, T, H) and A (H, N) wanted, got {x.shape} and {A.shape}")
    H, N = A.shape
    params = {"A": A.transpose(0, 1).reshape(-1), "D": Tensor(np.zeros(H, x.dtype)) if D is None else D}
    start = None if state is None else {"s": state.transpose(1, 2).reshape(x.shape[0], -1)}
    y, last = over_time(scans["selective"], {"dt": dt, "B": B, "C": C, "x": x}, params, start, H=H, N=N)
    return y, last["s"].reshape(x.shape[0], N, H).transpose(1, 2)


class Mamba(Scanned):
    """Mamba's block, without the norm and the sum around it: y, state = block(x, state=None), x (B, T, d_model).

    Arguments, parameters and initialisation are mamba_ssm's, whose weights load as they are, and those of transformers' mixers.
    d_state: N; d_conv: steps of the convolution, 2 to 4; expand: H = expand d_model; dt_rank: "auto" is d_model / 16, rounded up.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | str = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        dtype: Any = None,
    ) -> None:
        self.input_size = positive("d_model", d_model)
        self.d_state, self.inner = positive("d_state", d_state), positive("expand", expand) * d_model
        self.dt_rank = -(-d_model // 16) if dt_rank == "auto" else positive("dt_rank", dt_rank)
        self.in_proj = Linear(d_model, 2 * self.inner, bias=bias, dtype=dtype)
        self.conv1d = CausalConv(self.inner, d_conv, conv_bias, dtype)
        self.x_proj = Linear(self.inner, self.dt_rank + 2 * d_state, bias=False, dtype=dtype)
        self.dt_proj = Linear(self.dt_rank, self.inner, dtype=dtype)
        kind = self.in_proj.weight.dtype
        self.A_log = Parameter(np.tile(np.log(np.arange(1, d_state + 1)).astype(kind), (self.inner, 1)))
        self.D = Parameter(np.ones(self.inner, kind))
        self.out_proj = Linear(self.inner, d_model, bias=bias, dtype=dtype)
        bound = self.dt_rank**-0.5
        init.uniform_(self.dt_proj.weight, -bound, bound)
        # softplus(bias) is spread evenly over the logarithm from dt_min to dt_max: its inverse is x + log(1 - e^-x).
        spread = random.uniform(0.0, 1.0, (self.inner,)).astype(np.float64)
        dt = np.maximum(np.exp(spread * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)), dt_init_floor)
        assert self.dt_proj.bias is not None
        self.dt_proj.bias.data[...] = dt + np.log(-np.expm1(-dt))

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        both = self.in_proj(self.given(input))
        x, z = both[..., : self.inner], both[..., self.inner :]
        x, conv = self.conv1d(x, part(state, "conv", self.conv1d.scan))
        x = F.silu(x)
        reads = self.x_proj(x)
        R, N = self.dt_rank, self.d_state
        dt = F.softplus(self.dt_proj(reads[..., :R]))
        of = scans["selective"]
        params = {"A": (-self.A_log.exp()).transpose(0, 1).reshape(-1), "D": self.D}
        given = {"dt": dt, "B": reads[..., R : R + N], "C": reads[..., R + N :], "x": x}
        y, scanned = over_time(of, given, params, part(state, "scan", of), H=self.inner, N=N)
        return self.out_proj(y * F.silu(z)), {**named(conv, "conv"), **named(scanned, "scan")}

    def extra_repr(self) -> str:
        return f"{self.input_size}, d_state={self.d_state}, d_conv={self.conv1d.width}, expand={self.inner // self.input_size}"
