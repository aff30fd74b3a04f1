"""History: what a run of fit() did, epoch by epoch, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """One entry per finished epoch.

    loss      mean loss over the scored values of the training batches, as they were met
    val_loss  the same over the validation part with the weights at the epoch's end; empty without one
    lr        learning rate of the first parameter group at the epoch's end
    seconds   time the epoch took, validation included
    best_epoch  index of the epoch whose weights the model has now; None: its initial ones
    stopped   "epochs": all were done; "patience": no better validation for so long; "interrupted": Ctrl-C; "diverged": a loss that is
              not finite; or what a callback gave to stop()
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: str = "epochs"

    def add(self, loss: float, val_loss: float | None, lr: float, seconds: float) -> None:
        """A finished epoch."""
        self.loss.append(loss)
        if val_loss is not None:
            self.val_loss.append(val_loss)
        self.lr.append(lr)
        self.seconds.append(seconds)

    def __len__(self) -> int:
        return len(self.loss)
