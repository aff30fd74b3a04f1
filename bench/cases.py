"""A network with numbers in it: weights by torch's names, an input, gradients and lengths, the same for every library.

NumPy alone; the libraries get these arrays through their public doors (own.py, peer_torch.py, peer_onnx.py).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shapes import Shape
from timing import Arrays


@dataclass(frozen=True)
class Case:
    """Everything drawn from fixed seeds: a case is the same in every run."""

    shape: Shape

    @cached_property
    def weights(self) -> Arrays:
        """weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, H), bias_ih_l0, bias_hh_l0 (G*H,), ..., uniform over +-1/sqrt(H)."""
        rng, s = np.random.default_rng(0), self.shape
        draw = lambda *size: rng.uniform(-(s.H**-0.5), s.H**-0.5, size).astype(np.float32)
        found = {}
        for layer in range(s.L):
            into, rows = s.I if layer == 0 else s.D * s.H, s.gates * s.H
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: s.D]:
                found |= {f"weight_ih{suffix}": draw(rows, into), f"weight_hh{suffix}": draw(rows, s.H)}
                found |= {f"bias_ih{suffix}": draw(rows), f"bias_hh{suffix}": draw(rows)}
        return found

    @cached_property
    def x(self) -> np.ndarray:
        """(T, B, I) of unit variance."""
        s = self.shape
        return np.random.default_rng(1).normal(size=(s.T, s.B, s.I)).astype(np.float32)

    @cached_property
    def dy(self) -> np.ndarray:
        """(T, B, D*H): the gradient that arrives at every output."""
        s = self.shape
        return np.random.default_rng(2).normal(size=(s.T, s.B, s.D * s.H)).astype(np.float32)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(B,) uniform over 1 to T; one sequence is T long, as in a padded batch."""
        s = self.shape
        found = np.random.default_rng(3).integers(1, s.T + 1, s.B)
        found[0] = s.T
        return found
