"""What a network's sizes mean for a bench: its floating-point operations and its weights.  Not here: which networks (rows.py).

kind LSTM, GRU, RNN (tanh), or "GRU before" (the reset gate before the product); I input, H hidden units, L layers, D directions,
B batch, T steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

GATES = {"LSTM": 4, "GRU": 3, "GRU before": 3, "RNN": 1}


@dataclass(frozen=True)
class Shape:
    """One network and what it is given."""

    kind: str
    I: int
    H: int
    L: int
    B: int
    T: int
    D: int = 1

    def __str__(self) -> str:
        return f"{self.kind}{' both ways' * (self.D == 2)} I{self.I} H{self.H} L{self.L} B{self.B} T{self.T}"

    @property
    def gates(self) -> int:
        return GATES[self.kind]

    def layers(self) -> Iterator[tuple[int, int]]:
        """(inputs, multiply-adds of W and R in one step of one row) of each layer and direction."""
        for layer in range(self.L):
            into = self.I if layer == 0 else self.D * self.H
            yield from [(into, self.gates * self.H * (into + self.H))] * self.D

    def forward_flops(self, steps: int | None = None) -> float:
        """Multiplications and additions of the products; pointwise work is not counted, for nobody.  steps: of all rows together."""
        return 2.0 * sum(products for _, products in self.layers()) * (self.B * self.T if steps is None else steps)

    def training_flops(self, dx: bool, steps: int | None = None) -> float:
        """Forward, and as much again for dW and dR, and again for the gradients of states and inputs; without `dx` the first layer's
        W^T times its gates' gradients is not computed and not counted."""
        rows = self.B * self.T if steps is None else steps
        first = 2.0 * self.D * self.gates * self.H * self.I * rows
        return 3 * self.forward_flops(rows) - (0 if dx else first)

    def step_flops(self) -> float:
        """Of the smallest layer in one step of the batch: what there is to share out among threads."""
        return 2.0 * self.B * min(products for _, products in self.layers())

    def read_once(self) -> list[int]:
        """Bytes of W of each layer and direction: they may serve many steps at a time."""
        return [4 * self.gates * self.H * into for into, _ in self.layers()]

    def read_each_step(self) -> list[int]:
        """Bytes of R of each layer and direction: no step can begin before the one before it, so every step reads them again."""
        return [4 * self.gates * self.H * self.H for _ in self.layers()]
