"""The shapes that the benches run: what people build, from a sensor's one channel to a language model's layers.  Data, nothing else.

kind LSTM, GRU, RNN (tanh); I input, H hidden units, L layers, B batch, T steps.
"""

from typing import NamedTuple


class Shape(NamedTuple):
    """One network.  `goal`: the least ratio of gatecell's rate to torch's that the project stands for, forward and in training."""

    kind: str
    I: int
    H: int
    L: int
    B: int
    T: int
    goal: tuple[float, float] | None = None

    def __str__(self) -> str:
        return f"{self.kind} I{self.I} H{self.H} L{self.L} B{self.B} T{self.T}"

    @property
    def gates(self) -> int:
        return {"LSTM": 4, "GRU": 3, "RNN": 1}[self.kind]

    def flops(self, training: bool) -> float:
        """Multiplications and additions of the products of one call; pointwise work is not counted, for nobody.

        Training adds, for every layer, dW and dR (as many as the forward), R^T times the gates' gradients, and, but for the
        first layer, whose input wants no gradient, W^T times them.
        """
        total = 0
        for layer in range(self.L):
            into = self.I if layer == 0 else self.H
            product = 2 * self.gates * self.H * self.B * self.T
            total += product * (into + self.H)
            if training:
                total += product * (into + self.H) + product * (self.H + (into if layer else 0))
        return total


BATCHES = [
    Shape("LSTM", 64, 256, 1, 64, 100, (1.0, 1.0)),
    Shape("GRU", 64, 256, 1, 64, 100, (1.5, 1.5)),
    Shape("RNN", 64, 256, 1, 64, 100),
    Shape("LSTM", 64, 256, 2, 64, 100),
    Shape("GRU", 64, 256, 2, 64, 100),
    Shape("LSTM", 256, 512, 1, 64, 50),
    Shape("LSTM", 1, 128, 2, 32, 100),
    Shape("GRU", 1, 128, 2, 32, 100),
    Shape("LSTM", 10, 64, 1, 32, 50),
    Shape("RNN", 10, 64, 1, 32, 50),
    Shape("LSTM", 7, 100, 1, 20, 50),
]
"""Whole sequences in batches: counted in GFLOP/s."""

SINGLES = [
    Shape("LSTM", 1, 64, 1, 1, 100),
    Shape("GRU", 40, 128, 1, 1, 100),
    Shape("LSTM", 64, 256, 2, 1, 100),
]
"""One sequence at a time: counted in microseconds."""

STEPS = [
    Shape("LSTM", 40, 128, 1, 1, 1),
    Shape("GRU", 40, 128, 1, 1, 1),
]
"""One step with the state carried from call to call: counted in microseconds."""

QUICK = {BATCHES[0], BATCHES[1], BATCHES[8], SINGLES[0], STEPS[0]}
"""What `--quick` keeps."""
