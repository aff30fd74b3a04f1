"""Processes that share the work, one per core, with one progress bar.  Not here: the work."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

from ...tensor.engine import set_num_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[float], bool]
"""What work is given to tell how much of it is done, 0 to 1; False: it shall stop."""

# Libraries read the number of their threads from the environment, once.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Workers:
    """A pool for `with`: each process runs one thread, so that no result depends on how many there are."""

    def __init__(self, processes: int) -> None:
        context = get_context("spawn")
        self._queue, self._stop = context.SimpleQueue(), context.Event()
        self._pool = ProcessPoolExecutor(processes, context, _begin, (self._queue, self._stop))

    def map(self, title: str, work: Callable[[Item, Progress], Result], items: Sequence[Item], costs: Sequence[float]) -> list[Result]:
        """work(item, progress) for each, the costliest first; results in the order of items. Costs are relative, for the bar.

        An exception of the work is raised here. KeyboardInterrupt: the work that runs is told to stop, and waited for.
        """
        total, done, results = sum(costs), [0.0] * len(items), {}
        with _inherited():  # processes begin when work is submitted
            order = sorted(range(len(items)), key=lambda i: -costs[i])
            running: dict[Future[Result], int] = {self._pool.submit(_call, work, i, items[i]): i for i in order}
        with tqdm(total=100, desc=title, bar_format="{l_bar}{bar}| {elapsed} < {remaining}{postfix}", leave=False) as bar:
            while running:
                finished, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                while not self._queue.empty():
                    index, share = self._queue.get()
                    done[index] = share
                for future in finished:
                    index = running.pop(future)
                    results[index], done[index] = future.result(), 1.0
                bar.set_postfix_str(f"{len(results)} of {len(items)}", refresh=False)
                bar.update(100 * sum(d * c for d, c in zip(done, costs, strict=True)) / total - bar.n)
            bar.refresh()
        return [results[i] for i in range(len(items))]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is not None:
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """What processes that begin within this are given: one thread, no Ctrl-C: a terminal sends it to all, the parent passes it on."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# -- in the processes -----------------------------------------------------------------------------------------------------------------

_queue: Any = None
_stop: Any = None


def _begin(queue: Any, stop: Any) -> None:
    global _queue, _stop
    _queue, _stop = queue, stop
    set_num_threads(1)


def _call(work: Callable[[Item, Progress], Result], index: int, item: Item) -> Result:
    def progress(share: float) -> bool:
        _queue.put((index, share))
        return not _stop.is_set()

    return work(item, progress)
