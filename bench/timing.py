"""How the benches take time: rivals in turns within one process, so that what disturbs one disturbs all; medians, with their quartiles.

Not here: what is timed.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

Arrays = dict[str, np.ndarray]
PAUSE = 0.005
"""Seconds between rivals that use several threads: some libraries' threads go on spinning for a while after their work."""


def nothing() -> Arrays:
    """The result of what computes nothing to be compared."""
    return {}


@dataclass(frozen=True)
class Rival:
    """`call` does the work once; `result` does it once more and returns its arrays by name, for the comparison that precedes every timing.

    within: makes the context in which both run (threads, inference mode), entered once a turn.  how: the setting, where there was a choice.
    steps: how often a call does what is to be timed.
    """

    call: Callable[[], object]
    result: Callable[[], Arrays] = nothing
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    how: str = ""
    steps: int = 1

    def arrays(self) -> Arrays:
        with self.within():
            return self.result()


@dataclass(frozen=True)
class Time:
    """Seconds of the work: quartiles of the turns."""

    low: float
    median: float
    high: float
    turns: int

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median: a large one says that something else was running."""
        return (self.high - self.low) / 2 / self.median


def seconds_of(call: Callable[[], object], count: int) -> float:
    """Seconds per call, over `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def calls_for(call: Callable[[], object], seconds: float) -> int:
    """How many calls take about `seconds`."""
    call()
    count = 1
    while (each := seconds_of(call, count)) * count < seconds / 2:
        count *= 2
    return max(1, round(seconds / each))


def in_turns(rivals: Mapping[str, Rival], turns: int, seconds: float, pause: float = 0.0, seed: int = 0) -> dict[str, Time]:
    """Time each rival `turns` times for about `seconds`, in an order shuffled every turn."""
    counts = {}
    for name, rival in rivals.items():
        with rival.within():
            counts[name] = calls_for(rival.call, seconds)
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    order, names = np.random.default_rng(seed), list(rivals)
    for _ in range(turns):
        for k in order.permutation(len(names)):
            rival = rivals[names[k]]
            time.sleep(pause)
            with rival.within():
                taken[names[k]].append(seconds_of(rival.call, counts[names[k]]) / rival.steps)
    return {name: Time(*map(float, np.percentile(values, [25, 50, 75])), turns) for name, values in taken.items()}


def fastest(settings: Mapping[str, Rival]) -> Rival:
    """A peer at its best: the setting with the smallest median, which is then in its `how`.  Hopeless ones leave after one turn."""
    left = dict(settings)
    for turns, seconds in ((1, 0.0), (3, 0.01)):
        if len(left) > 1:
            times = in_turns(left, turns, seconds)
            best = min(t.median for t in times.values())
            left = {name: left[name] for name, t in times.items() if t.median < 1.5 * best}
    name = min(left, key=lambda n: times[n].median) if len(settings) > 1 else next(iter(left))
    return replace(settings[name], how=name)
