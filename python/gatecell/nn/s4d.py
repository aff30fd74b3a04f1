"""S4D (Gu, Gupta, Goel & Re 2022): a diagonal state space of each channel, a recurrence and a convolution, with the authors' names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import scans
from ..tensor import random
from ..tensor.convolution import causal_convolution
from ..tensor.tensor import Tensor
from .module import Module, Parameter, positive
from .scanned import Scanned, State, over_time


class S4DKernel(Module):
    """A = -exp(log_A_real) + i A_imag, C, and the step log_dt, all (H, N / 2) of conjugate pairs but log_dt (H,); C (H, N / 2, 2).

    They start as S4D-Lin, A = -1/2 + i pi n.  Held by zero-order hold: A' = exp(dt A), B' = (A' - 1) / A, and B = 1 is taken into C.
    """

    def __init__(self, d_model: int, d_state: int, dt_min: float, dt_max: float, dtype: Any) -> None:
        kind, half = np.dtype(dtype or np.float32), d_state // 2
        spread = random.uniform(0.0, 1.0, (d_model,)).astype(np.float64)
        self.log_dt = Parameter((spread * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)).astype(kind))
        self.C = Parameter((random.normal((d_model, half, 2)) * math.sqrt(0.5)).astype(kind))
        self.log_A_real = Parameter(np.full((d_model, half), math.log(0.5), kind))
        self.A_imag = Parameter(np.tile(math.pi * np.arange(half, dtype=kind), (d_model, 1)))

    def held(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """dt A as real and imaginary part, A' = exp(dt A), 2 C B': (H, N / 2) each."""
        re, im = -self.log_A_real.exp(), self.A_imag
        dt = self.log_dt.exp().unsqueeze(1)
        x, y = dt * re, dt * im
        ar, ai = x.exp() * y.cos(), x.exp() * y.sin()
        # (A' - 1) / A, then times 2 C.
        over = re * re + im * im
        br, bi = ((ar - 1) * re + ai * im) / over, (ai * re - (ar - 1) * im) / over
        cr, ci = self.C[:, :, 0] * 2, self.C[:, :, 1] * 2
        return x, y, ar, ai, cr * br - ci * bi, cr * bi + ci * br


class S4D(Scanned):
    """y = k * u + D u, every channel a state space of d_state numbers (d_state / 2 complex ones): y, state = layer(u, state=None).

    u (B, T, d_model).  Called, it is a recurrence, which streams; `convolve` is the same from zeros as a convolution by FFT, which takes
    O(T log T) and no state.  They agree within rounding.  kernel.*, D: the authors' names and shapes.
    """

    def __init__(self, d_model: int, d_state: int = 64, dt_min: float = 0.001, dt_max: float = 0.1, dtype: Any = None) -> None:
        self.input_size, self.d_state = positive("d_model", d_model), positive("d_state", d_state)
        if d_state % 2:
            raise ValueError(f"d_state: an even number wanted, got {d_state}")
        self.D = Parameter(random.normal((d_model,)).astype(dtype or np.float32))
        self.kernel = S4DKernel(d_model, d_state, dt_min, dt_max, dtype)

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        u = self.given(input)
        _, _, ar, ai, cr, ci = self.kernel.held()
        params = {k: t.transpose(0, 1).reshape(-1) for k, t in (("Ar", ar), ("Ai", ai), ("Cr", cr), ("Ci", ci))}
        return over_time(scans["s4d"], {"u": u}, {**params, "D": self.D}, state, H=self.input_size, N=self.d_state // 2)

    def convolve(self, input: Any) -> Tensor:
        """The output alone, from zeros: u (B, T, d_model) -> (B, T, d_model)."""
        u = self.given(input)
        T = u.shape[1]
        x, y, _, _, cr, ci = self.kernel.held()
        steps = Tensor(np.arange(T, dtype=u.dtype).reshape(T, 1, 1))
        size, angle = (x * steps).exp(), y * steps  # (T, H, N / 2)
        k = (size * (cr * angle.cos() - ci * angle.sin())).sum(2)
        return causal_convolution(u, k) + self.D * u

    def extra_repr(self) -> str:
        return f"{self.input_size}, d_state={self.d_state}"
