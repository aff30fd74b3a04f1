"""Callbacks: what is called while fit() runs, what it may see and stop, and the progress bar, which is one of them."""

from __future__ import annotations

from typing import IO, Any

from tqdm import tqdm

from ..nn import Module
from ..optim import Optimizer
from .history import History


class Run:
    """A run of fit() as callbacks see it.

    model, optimizer, history   as they are now
    epochs, updates             how many there will be at most
    epoch, update               how many are finished
    loss                        the last batch's; NaN before the first
    """

    def __init__(self, model: Module, optimizer: Optimizer, epochs: int, updates: int) -> None:
        self.model, self.optimizer, self.epochs, self.updates = model, optimizer, epochs, updates
        self.history = History()
        self.epoch = self.update = 0
        self.loss = float("nan")
        self.stopping = False

    def stop(self, reason: str) -> None:
        """End the run after what is being done now; `reason` goes to history.stopped."""
        self.history.stopped, self.stopping = reason, True


class Callback:
    """Base of callbacks: define what you need of these. They run in the order given; an exception ends the run."""

    def on_begin(self, run: Run) -> None: ...

    def on_update(self, run: Run) -> None: ...

    def on_epoch(self, run: Run) -> None: ...

    def on_end(self, run: Run) -> None: ...


class Progress(Callback):
    """A bar with the losses, updates per second and the time left, on stderr or `file`."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self.file = file
        self.bar: Any = None

    def on_begin(self, run: Run) -> None:
        self.bar = tqdm(total=run.updates, unit="update", file=self.file, dynamic_ncols=True, mininterval=0.2)

    def on_update(self, run: Run) -> None:
        self.bar.set_postfix_str(self._losses(run), refresh=False)
        self.bar.update()

    def on_end(self, run: Run) -> None:
        self.bar.set_postfix_str(self._losses(run))
        self.bar.close()

    def _losses(self, run: Run) -> str:
        seen = [f"epoch {min(run.epoch + 1, run.epochs)}/{run.epochs}, loss {run.loss:.4g}"]
        if run.history.val_loss:
            seen.append(f"validation {run.history.val_loss[-1]:.4g} (best {min(run.history.val_loss):.4g})")
        return ", ".join(seen)
