"""What layers around scans share: batch-first layout, states by name, short convolutions, norms.  No scan is named here.

Letters: B batch, T time, D features of a model, K heads, H channels and N entries of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ..cells import Scan, scans
from ..tensor.scan import scan
from ..tensor.tensor import Tensor
from . import init
from .module import Module, Parameter, positive, to_tensor

State: TypeAlias = "dict[str, Tensor]"


def over_time(
    of: Scan,
    inputs: Mapping[str, Tensor],
    params: Mapping[str, Tensor],
    state: Mapping[str, Tensor] | None,
    *,
    H: int,
    N: int = 1,
    heads: int = 1,
    start: Mapping[str, float] | None = None,
) -> tuple[Tensor, State]:
    """A scan over inputs (B, T, K u) from `state`, rows flat (B, K u); without one from zeros, or from what `start` says.

    Returns the output (B, T, K H) and the state after the last step.
    """
    first = next(iter(inputs.values()))
    B, dtype = first.shape[0], first.dtype
    if state is None:
        units = {"1": 1, "H": H, "N": N, "NH": N * H}
        state = {s: Tensor(np.full((B, heads * units[axis]), (start or {}).get(s, 0.0), dtype)) for s, axis in of.states.items()}
    over = {k: t.transpose(0, 1) for k, t in inputs.items()}
    output, last = scan(of, over, params, {s: state[s] for s in of.states}, H=H, N=N, heads=heads)
    return output.transpose(0, 1), last


def part(state: Mapping[str, Tensor] | None, name: str, of: Scan) -> State | None:
    """The states of one scan among those of a layer, which bear its place's name: "conv.x1"."""
    return None if state is None else {s: state[f"{name}.{s}"] for s in of.states}


def named(state: Mapping[str, Tensor], name: str) -> State:
    return {f"{name}.{s}": t for s, t in state.items()}


class Scanned(Module):
    """A layer (B, T, D) -> (B, T, D) with a state of constant size: y, state = layer(x, state=None); y, state = layer.step(x, state).

    A sequence may be cut anywhere, if the state is handed on: the outputs are the same bits.  state: {name: (B, n)}; None: the beginning.
    """

    input_size: int

    def step(self, x: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        """One step: x (B, D) -> y (B, D)."""
        x = to_tensor(x, self.dtype)
        if x.ndim != 2:
            raise ValueError(f"step: an input (B, {self.input_size}) wanted, got shape {tuple(x.shape)}")
        y, last = self(x.unsqueeze(1), state)
        return y.squeeze(1), last

    def given(self, input: Any) -> Tensor:
        """(B, T, D), checked."""
        x = to_tensor(input, self.dtype)
        if x.ndim != 3 or x.shape[2] != self.input_size or 0 in x.shape:
            raise ValueError(f"input: wanted (B, T, {self.input_size}), none empty, got shape {tuple(x.shape)}")
        return x


class CausalConv(Module):
    """A convolution of each channel by itself over its last `width` steps, 2 to 4; weight (channels, 1, width), bias (channels,)."""

    def __init__(self, channels: int, width: int, bias: bool = True, dtype: Any = None) -> None:
        self.channels, self.width = positive("channels", channels), positive("width", width)
        if not 2 <= width <= 4:
            raise ValueError(f"width: 2 to 4 steps wanted, got {width}")
        self.weight = Parameter(np.empty((channels, 1, width), dtype or np.float32))
        self.bias = Parameter(np.empty(channels, dtype or np.float32)) if bias else None
        for p in self.parameters():
            init.uniform_(p, -(width**-0.5), width**-0.5)

    @property
    def scan(self) -> Scan:
        return scans[f"causal_conv{self.width}"]

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        params = {f"w{k}": self.weight[:, 0, k] for k in range(self.width)}
        params["b"] = Tensor(np.zeros(self.channels, x.dtype)) if self.bias is None else self.bias
        return over_time(self.scan, {"x": x}, params, state, H=self.channels)
