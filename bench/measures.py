"""What a row's seconds say: rates, ratios and fractions of the machine's limits, computed from records alone.

MEASURES is the table; a goal names one of its rows.  Not here: which goals there are (rows.py), how they are printed (speed.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

from record import Record, Results
from shapes import Shape


@dataclass(frozen=True)
class Measure:
    """of(record, results, beside) -> a number; KeyError where the row has not what it takes.

    title: its column's head.  form: how a number is printed.  least: whether a goal is a lower bound.
    plain: whether the rivals' own cells show it already, so that it is printed beside a goal only.
    """

    title: str
    of: Callable[[Record, Results, tuple[str, Shape] | None], float]
    form: str
    least: bool = True
    plain: bool = False

    def text(self, value: float) -> str:
        return self.form.format(value)

    def met(self, value: float, bound: float) -> bool:
        """As printed: what reads like the goal meets it."""
        digits = float("".join(c for c in self.text(value) if c in "0123456789.-"))
        return digits >= bound if self.least else digits <= bound


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


MEASURES = {
    "peak": Measure("of peak", lambda r, *_: of_peak(r), "{:.2f}"),
    "torch": Measure("over torch", over("torch"), "{:.2f}x"),
    "onnxruntime": Measure("over onnxruntime", over("onnxruntime"), "{:.2f}x"),
    "float": Measure("over own float32", over("float"), "{:.2f}x"),
    "one thread": Measure("over one thread", over("one thread"), "{:.2f}x"),
    "one layer": Measure("of one layer's", of_other_row, "{:.2f}"),
    "us": Measure("time", lambda r, *_: r.seconds("gatecell") * 1e6, "{:.2f} us", least=False, plain=True),
    "ns": Measure("time", lambda r, *_: r.seconds("gatecell") * 1e9, "{:.0f} ns", least=False, plain=True),
    "cache": Measure("of the cache's bandwidth", lambda r, *_: r.seconds("floor") / r.seconds("gatecell"), "{:.2f}"),
    "call": Measure("of it the call", lambda r, *_: (r.seconds("gatecell") - r.seconds("kernel")) * 1e6, "{:.2f} us", least=False),
    "dense": Measure("of the dense rate", of_dense, "{:.2f}"),
    "floats": Measure("memory", lambda r, *_: r.figures["floats"], "{:.2f}", least=False, plain=True),
    "plain": Measure("time over plain", lambda r, *_: r.seconds("gatecell") / r.seconds("plain"), "{:.2f}x", least=False),
    "ms": Measure("time", lambda r, *_: r.seconds("gatecell") * 1e3, "{:.0f} ms", least=False, plain=True),
    "s": Measure("time to build", lambda r, *_: r.seconds("gatecell"), "{:.0f} s", least=False, plain=True),
    "MB": Measure("size", lambda r, *_: r.figures["bytes"] / 1e6, "{:.1f} MB", least=False, plain=True),
}
