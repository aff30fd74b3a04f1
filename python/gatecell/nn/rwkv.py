"""RWKV-4's block (Peng et al. 2023) with the names and shapes of parameters that transformers gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cells import scans
from ..tensor.tensor import Tensor
from .layers import LayerNorm, Linear
from .module import Parameter, positive
from .scanned import Scanned, State, named, over_time, part

NOTHING = -1e38
"""The exponent of an empty sum; the authors'.  exp of it less anything is 0, and it stays finite."""


class _Mixed(Scanned):
    """A layer that reads each input mixed with the one before: names of `time_mix_*`, one for every reading."""

    def __init__(self, size: int, readings: tuple[str, ...], dtype: Any) -> None:
        self.input_size = positive("hidden_size", size)
        rising = np.arange(size, dtype=dtype or np.float32) / size  # early features read the step before, late ones the present
        for name in readings:
            self.register_parameter(f"time_mix_{name}", Parameter(rising.reshape(1, 1, -1) ** 0.5))

    def mixed(self, x: Tensor, before: Tensor, name: str) -> Tensor:
        mix: Tensor = getattr(self, f"time_mix_{name}")
        return before + mix.reshape(-1) * (x - before)

    def before(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, State]:
        of = scans["token_shift"]
        shifted, last = over_time(of, {"x": x}, {}, part(state, "shift", of), H=self.input_size)
        return shifted, named(last, "shift")


class RWKVAttention(_Mixed):
    """Time mixing: the WKV of keys and values, behind a gate.  y, state = layer(x, state=None), x (B, T, hidden_size).

    time_decay: the logarithm of the decay a step, negated; time_first: what is added to the exponent of the present step.
    """

    def __init__(self, hidden_size: int, attention_hidden_size: int | None = None, dtype: Any = None) -> None:
        super().__init__(hidden_size, ("key", "value", "receptance"), dtype)
        self.inner = positive("attention_hidden_size", attention_hidden_size or hidden_size)
        kind = np.dtype(dtype or np.float32)
        self.time_decay = Parameter(np.linspace(-5, 3, self.inner).astype(kind))
        self.time_first = Parameter(np.full(self.inner, math.log(0.3), kind))
        self.key, self.value, self.receptance = (Linear(hidden_size, self.inner, bias=False, dtype=dtype) for _ in range(3))
        self.output = Linear(self.inner, hidden_size, bias=False, dtype=dtype)

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        x = self.given(input)
        before, shifted = self.before(x, state)
        layers = {"key": self.key, "value": self.value, "receptance": self.receptance}
        k, v, r = (layer(self.mixed(x, before, name)) for name, layer in layers.items())
        of, params = scans["wkv"], {"w": -self.time_decay.exp(), "u": self.time_first}
        y, mean = over_time(of, {"k": k, "v": v}, params, part(state, "mean", of), H=self.inner, start={"p": NOTHING})
        return self.output(r.sigmoid() * y), {**shifted, **named(mean, "mean")}


class RWKVFeedForward(_Mixed):
    """Channel mixing: a squared relu behind a gate.  y, state = layer(x, state=None), x (B, T, hidden_size)."""

    def __init__(self, hidden_size: int, intermediate_size: int | None = None, dtype: Any = None) -> None:
        super().__init__(hidden_size, ("key", "receptance"), dtype)
        inner = positive("intermediate_size", intermediate_size or 4 * hidden_size)
        self.key = Linear(hidden_size, inner, bias=False, dtype=dtype)
        self.receptance = Linear(hidden_size, hidden_size, bias=False, dtype=dtype)
        self.value = Linear(inner, hidden_size, bias=False, dtype=dtype)

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        x = self.given(input)
        before, shifted = self.before(x, state)
        k = self.key(self.mixed(x, before, "key")).relu()
        return self.receptance(self.mixed(x, before, "receptance")).sigmoid() * self.value(k * k), shifted


class RWKVBlock(Scanned):
    """Norm, time mixing, norm, channel mixing, each added to what came in.  y, state = block(x, state=None), x (B, T, hidden_size).

    first: whether it is a model's first, which has a norm before all else (`pre_ln`).
    """

    def __init__(
        self,
        hidden_size: int,
        attention_hidden_size: int | None = None,
        intermediate_size: int | None = None,
        layer_norm_epsilon: float = 1e-5,
        first: bool = False,
        dtype: Any = None,
    ) -> None:
        self.input_size = positive("hidden_size", hidden_size)
        self.pre_ln = LayerNorm(hidden_size, layer_norm_epsilon, dtype=dtype) if first else None
        self.ln1, self.ln2 = (LayerNorm(hidden_size, layer_norm_epsilon, dtype=dtype) for _ in range(2))
        self.attention = RWKVAttention(hidden_size, attention_hidden_size, dtype)
        self.feed_forward = RWKVFeedForward(hidden_size, intermediate_size, dtype)

    def forward(self, input: Any, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, State]:
        x = self.given(input)
        x = x if self.pre_ln is None else self.pre_ln(x)

        def own(name: str) -> State | None:
            return None if state is None else {k.removeprefix(name): t for k, t in state.items() if k.startswith(name)}

        y, time = self.attention(self.ln1(x), own("time."))
        x = x + y
        y, channel = self.feed_forward(self.ln2(x), own("channel."))
        return x + y, {**named(time, "time"), **named(channel, "channel")}
