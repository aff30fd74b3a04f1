"""Training: samplers cut data into batches, fit() trains on them.  Not here: layers (nn), optimisers (optim)."""

from .callbacks import Callback, Progress, Run
from .fit import evaluate, fit
from .history import History
from .sampling import Batch, Chunks, Sampler, Samples, Streams, Windows

__all__ = ["Batch", "Callback", "Chunks", "History", "Progress", "Run", "Sampler", "Samples", "Streams", "Windows", "evaluate", "fit"]
