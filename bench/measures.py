"""What a row's seconds say: rates, ratios and fractions of the machine's limits, computed from records alone.

MEASURES is the table; a goal names one of its rows.  Not here: which goals there are (rows.py), how they are printed (speed.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from record import Record, Results
from shapes import Shape


def digits(value: float) -> str:
    """Three of them."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def seconds(value: float) -> str:
    """With the unit that leaves one to three digits before the point."""
    unit, factor = next((u, f) for u, f in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)) if abs(value) * f >= 1 or u == "ns")
    return f"{digits(value * factor)} {unit}"


@dataclass(frozen=True)
class Measure:
    """of(record, results, beside) -> a number; KeyError where the row has not what it takes.

    title: its column's head.  text: how a number is printed.  least: whether a goal is a lower bound.
    plain: whether the rivals' own cells show it already, so that it is printed beside a goal only.
    """

    title: str
    of: Callable[[Record, Results, tuple[str, Shape] | None], float]
    text: Callable[[float], str] = digits
    least: bool = True
    plain: bool = False

    def met(self, value: float, bound: float) -> bool:
        """To the three digits that are printed."""
        value = float(f"{value:.3g}")
        return value >= bound if self.least else value <= bound


def rate(record: Record, rival: str = "gatecell") -> float:
    """FLOP/s."""
    return record.flops / record.seconds(rival)


def of_peak(record: Record) -> float:
    """Of the multiply-adds in registers, on as many threads, timed in the same turns."""
    return rate(record) / (record.figures["fma flops"] / record.seconds("fma"))


def of_other_row(record: Record, results: Results, beside: tuple[str, Shape] | None) -> float:
    """The fraction of the peak over that of another row of the same run."""
    other = results.find(*beside, record.threads) if beside else None
    if other is None or other.missing:
        raise KeyError("the row beside")
    return of_peak(record) / of_peak(other)


def over(rival: str) -> Callable[[Record, Results, tuple[str, Shape] | None], float]:
    return lambda record, results, beside: record.seconds(rival) / record.seconds("gatecell")


def of_dense(record: Record, results: Results, beside: tuple[str, Shape] | None) -> float:
    """The rate over valid steps beside the rate over the whole array, in the same turns."""
    return rate(record) / (record.figures["dense flops"] / record.seconds("dense"))


def times(value: float) -> str:
    return f"{digits(value)}x"


def megabytes(value: float) -> str:
    return f"{digits(value / 1e6)} MB"


MEASURES = {
    "peak": Measure("of peak", lambda r, *_: of_peak(r)),
    "torch": Measure("over torch", over("torch"), times),
    "onnxruntime": Measure("over onnxruntime", over("onnxruntime"), times),
    "float": Measure("over own float32", over("float"), times),
    "one thread": Measure("over one thread", over("one thread"), times),
    "one layer": Measure("of one layer's", of_other_row),
    "time": Measure("time", lambda r, *_: r.seconds("gatecell"), seconds, least=False, plain=True),
    "cache": Measure("of the cache's bandwidth", lambda r, *_: r.seconds("floor") / r.seconds("gatecell")),
    "call": Measure("of it the call", lambda r, *_: r.seconds("gatecell") - r.seconds("kernel"), seconds, least=False),
    "dense": Measure("of the dense rate", of_dense),
    "floats": Measure("memory", lambda r, *_: round(r.figures["floats"], 1), "{:.1f} floats".format, least=False, plain=True),
    "plain": Measure("time over plain", lambda r, *_: r.seconds("gatecell") / r.seconds("plain"), times, least=False),
    "bytes": Measure("size", lambda r, *_: r.figures["bytes"], megabytes, least=False, plain=True),
}
