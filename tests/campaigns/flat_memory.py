"""Calls of random shapes, forward and back, every registered cell: the process does not grow.

By hand, so many calls from a seed:  PYTHONPATH=python:tests python tests/campaigns/flat_memory.py 10000 1
Prints what the process holds beside the large arrays that wait for the next call, which are bounded by the most that was in use at once.
"""

import gc
import os
import sys

import numpy as np

import gatecell
from gatecell import _core, nn

PAGE = os.sysconf("SC_PAGE_SIZE")


def held():
    """Bytes of memory that this process has, without arrays that wait."""
    gc.collect()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * PAGE - _core.memory()[2]


def call(rng):
    """One call of a layer that is made for it: any cell, sizes, directions, lengths, way to keep memory, with or without gradients."""
    T, B, I, H = (int(np.exp(rng.uniform(0, np.log(most)))) for most in (200, 40, 40, 150))
    options = {} if rng.random() < 0.5 else {"recompute": True} if rng.random() < 0.5 else {"checkpoint_every": int(rng.integers(1, 40))}
    cell = str(rng.choice(list(gatecell.cells)))
    layer = nn.Recurrent(cell, I, H, num_layers=int(rng.integers(1, 3)), bidirectional=bool(rng.integers(2)), **options)
    x = gatecell.tensor(rng.normal(size=(T, B, I)).astype(np.float32), requires_grad=bool(rng.integers(2)))
    lengths = rng.integers(1, T + 1, B) if rng.random() < 0.3 else None
    if rng.random() < 0.2:
        with gatecell.no_grad():
            layer(x, lengths=lengths)
        return
    y, _ = layer(x, lengths=lengths)
    if rng.random() < 0.9:  # some are dropped before they went back
        (y * y).sum().backward()


def campaign(calls, seed, reports):
    """What was held after each of `reports` equal shares of the calls."""
    rng, after = np.random.default_rng(seed), []
    for k in range(1, calls + 1):
        call(rng)
        if k * reports // calls > len(after):
            after.append(held())
    return after


if __name__ == "__main__":
    sizes = campaign(int(sys.argv[1]), int(sys.argv[2]), 10)
    print("held after each tenth, MB:", " ".join(f"{s / 1e6:.1f}" for s in sizes), "; waiting", _core.memory()[2] / 1e6)
