"""How the benches take time: rivals in turns within one process, so that what disturbs one disturbs all; medians, with their spread.

Not here: what is timed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Time:
    """Seconds per call: the median of the turns, and half the distance between their quartiles, relative to it."""

    seconds: float
    spread: float

    def __str__(self) -> str:
        return f"{self.seconds * 1e6:.1f} us +-{self.spread * 100:.0f} %"


def calls_for(call: Callable[[], object], seconds: float) -> int:
    """How many calls take about `seconds`."""
    call()
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        took = time.perf_counter() - start
        if took > seconds / 2:
            return max(1, round(count * seconds / took))
        count *= 2


def in_turns(rivals: dict[str, Callable[[], object]], turns: int, seconds: float, seed: int = 0) -> dict[str, Time]:
    """Time each rival `turns` times for about `seconds`, in an order shuffled every turn."""
    counts = {name: calls_for(call, seconds) for name, call in rivals.items()}
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    order, names = np.random.default_rng(seed), list(rivals)
    for _ in range(turns):
        for k in order.permutation(len(names)):
            name = names[k]
            call, count = rivals[name], counts[name]
            start = time.perf_counter()
            for _ in range(count):
                call()
            taken[name].append((time.perf_counter() - start) / count)
    found = {}
    for name, values in taken.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        found[name] = Time(float(middle), float((high - low) / 2 / middle))
    return found
