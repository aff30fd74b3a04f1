"""The kinds of work that rows are made of: who takes part, who judges, how much there is to compute.

MODES maps a row's mode to a function (shape, threads) -> Work.  Not here: work in integers (integers.py), the rows and their goals
(rows.py), the timing (timing.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import memory
import own
import package
import peak
import peer_onnx
import peer_torch
from cases import Case
from shapes import Shape
from timing import Rival, Time

OUTPUT = 1e-5
"""Largest distance from the judge's result, relative to its largest entry; float32 over up to 100 steps and three layers."""
GRADIENT = 2e-5
"""The same for gradients, sums over T * B rows that each library adds up in its own order."""
SEQUENCE = 1000
"""Steps in one call where a step without Python is timed."""
CHECKED = 5
"""Steps whose last output is compared where a step from Python is timed."""


class Missing(Exception):
    """What a row needs is not there; the reason."""


@dataclass
class Work:
    """One row, ready to be timed.

    rivals: by name; "gatecell" is what the row is about.  judge: whose arrays all others must have, to `budget`, relative.
    flops: of the products of one call; floor: bytes and how often each step or sequence must read them, for single sequences.
    times: what was measured in another process, instead of rivals; figures: what is no time.
    """

    rivals: dict[str, Rival] = field(default_factory=dict)
    judge: str = "torch"
    budget: float = OUTPUT
    flops: float = 0.0
    floor: list[tuple[int, int]] = field(default_factory=list)
    times: dict[str, Time] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def distances(self) -> dict[str, float]:
        """Each rival's largest relative distance from the judge's arrays; RuntimeError beyond the budget, or where an array of the judge's
        has nobody to be compared with: nobody is timed who computes something else."""
        if not self.rivals:
            return {}
        want = self.rivals[self.judge].arrays()
        found, left = {self.judge: 0.0}, set(want)
        for name, rival in self.rivals.items():
            got = rival.arrays() if name != self.judge else {}
            for key, value in got.items():
                if key not in want or value.shape != want[key].shape:
                    raise RuntimeError(f"{name} and {self.judge} disagree on the shape of {key}: {value.shape}")
                distance = float(abs(value - want[key]).max() / abs(want[key]).max())
                found[name] = max(found.get(name, 0.0), distance)
                if not distance <= self.budget:
                    raise RuntimeError(f"{name} and {self.judge} disagree on {key} by {distance:.1e} of its largest entry")
            left -= set(got)
            if not got and name != self.judge:
                raise RuntimeError(f"{name} has nothing to be compared")
        if left and len(self.rivals) > 1:
            raise RuntimeError(f"nobody is compared with {self.judge} on {', '.join(sorted(left))}")
        return found

    def metered(self, threads: int) -> dict[str, Rival]:
        """The rivals and, in the same turns, the machine's limits."""
        if not self.rivals:
            return {}
        meter = peak.Meter(threads)
        self.figures["fma flops"] = meter.flops
        limits = {"fma": Rival(meter)} | ({"floor": floor_under(self.floor)} if self.floor else {})
        return self.rivals | limits


def everybody(kind: str, case: Case, threads: int) -> dict[str, Rival]:
    """The libraries' functions of one name."""
    sides = {"gatecell": own, "torch": peer_torch, "onnxruntime": peer_onnx}
    return {name: getattr(side, kind)(case, threads) for name, side in sides.items()}


def alone(rivals: dict[str, Rival], threads: int) -> dict[str, Rival]:
    """Where several threads run, gatecell on one of them takes part, too."""
    return rivals | ({"one thread": replace(rivals["gatecell"], within=lambda: own.threads(1))} if threads > 1 else {})


def floor_under(reads: list[tuple[int, int]]) -> Rival:
    """Reading so much, often enough that the call's own cost does not count."""
    times = max(1, 10_000_000 // sum(size * rounds for size, rounds in reads))
    return Rival(peak.Reader(reads, times), steps=times)


def floor(shape: Shape) -> list[tuple[int, int]]:
    """What a single sequence must read at least: W once, R at every step."""
    if shape.B > 1:
        return []
    return [(size, 1) for size in shape.read_once()] + [(size, shape.T) for size in shape.read_each_step()]


def forward(shape: Shape, threads: int) -> Work:
    """Inference of whole sequences.  torch has no GRU whose reset gate acts before the product: a loop stands for it."""
    case = Case(shape)
    return Work(alone(everybody("forward", case, threads), threads), flops=shape.forward_flops(), floor=floor(shape))


def training(shape: Shape, threads: int, dx: bool = False) -> Work:
    """Forward and backward to every weight; with `dx` to the input, too."""
    case = Case(shape)
    rivals = {"gatecell": own.training(case, threads, dx), "torch": peer_torch.training(case, threads, dx)}
    return Work(alone(rivals, threads), budget=GRADIENT, flops=shape.training_flops(dx))


def dense(rival: Rival) -> dict[str, Rival]:
    """gatecell on the whole array, without regard to lengths."""
    return {"dense": replace(rival, result=lambda: {f"dense {name}": a for name, a in rival.result().items()})}


def lengths_forward(shape: Shape, threads: int) -> Work:
    """Inference of sequences of different lengths, beside the whole array without them ("dense") and torch's packed sequences."""
    case = Case(shape)
    rivals = {"gatecell": own.forward(case, threads, lengths=True), "torch": peer_torch.packed_forward(case, threads)}
    rivals = alone(rivals, threads) | dense(own.forward(case, threads))
    return Work(rivals, flops=shape.forward_flops(int(case.lengths.sum())), figures={"dense flops": shape.forward_flops()})


def lengths_training(shape: Shape, threads: int) -> Work:
    """The same, forward and backward to every weight."""
    case = Case(shape)
    rivals = {"gatecell": own.training(case, threads, lengths=True), "torch": peer_torch.training(case, threads, packed=True)}
    rivals = alone(rivals, threads) | dense(own.training(case, threads))
    flops = shape.training_flops(False, int(case.lengths.sum()))
    return Work(rivals, budget=GRADIENT, flops=flops, figures={"dense flops": shape.training_flops(False)})


def step(shape: Shape, threads: int) -> Work:
    """One step a call from Python, the state carried along; "kernel" is the same step in compiled code."""
    case = Case(replace(shape, T=CHECKED))
    kernel = own.steps_without_python(Case(replace(shape, T=SEQUENCE)), CHECKED - 1)  # its first frames are the same
    rivals = alone(everybody("step", case, threads), threads) | {"kernel": kernel}
    return Work(rivals, flops=shape.forward_flops(), floor=floor(shape))


def steps(shape: Shape, threads: int) -> Work:
    """Steps in sequence without Python between them; torch and onnxruntime are given the whole sequence at once."""
    case = Case(replace(shape, T=SEQUENCE))
    last = lambda rival: replace(rival, result=lambda: {"y": rival.result()["y"][-1]})
    rivals = {
        "gatecell": own.steps_without_python(case),
        "torch": last(peer_torch.forward(case, threads, SEQUENCE)),
        "onnxruntime": last(peer_onnx.forward(case, threads, SEQUENCE)),
    }
    return Work(rivals, flops=shape.forward_flops(), floor=floor(shape))


def memory_of_training(shape: Shape, threads: int, **options: object) -> Work:
    """What one pass forward and backward holds at its peak, measured in another process; with `options`, its time beside that without."""
    rivals = {}
    if options:
        case = Case(shape)
        try:
            rivals = {"gatecell": own.training(case, threads, **options), "plain": own.training(case, threads)}
        except TypeError as e:
            raise Missing(str(e)) from e
    figures = {"floats": memory.peak_floats("gatecell", shape, options)}
    if not options:
        figures["torch floats"] = memory.peak_floats("torch", shape, {})
    return Work(rivals, judge="plain", budget=0.0, flops=shape.training_flops(False), figures=figures)


def importing(shape: None, threads: int) -> Work:
    """`import gatecell` where NumPy is there already, beside the peers'."""
    return Work(times=package.imports())


def building(shape: None, threads: int) -> Work:
    """The wheel: its size, and how long it took to build from source."""
    seconds, size = package.wheel()
    return Work(times={"gatecell": Time(seconds, seconds, seconds, 1)}, figures={"bytes": float(size)})


MODES: Mapping[str, Callable[..., Work]] = {
    "forward": forward,
    "training": training,
    "training with dx": lambda shape, threads: training(shape, threads, dx=True),
    "lengths, forward": lengths_forward,
    "lengths, training": lengths_training,
    "step from Python": step,
    "steps in compiled code": steps,
    "memory": memory_of_training,
    "memory, recompute": lambda shape, threads: memory_of_training(shape, threads, recompute=True),
    "memory, checkpoints": lambda shape, threads: memory_of_training(shape, threads, checkpoint_every=round(shape.T**0.5)),
    "import": importing,
    "wheel": building,
    "roof": forward,
}
