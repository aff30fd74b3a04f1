"""The table of everything that the benches measure, with the goals that the project has set itself.  Data, nothing else.

A row is a kind of work (work.MODES), a network, and goals by name (measures.MEASURES).  Goals in microseconds and fractions of a peak
are those of one core of the machine in README.md; ratios to peers hold on one thread and on several.
"""

from dataclasses import dataclass, field, replace

from shapes import Shape

SHARED = 0.5e6
"""FLOPs of a layer's step from which two threads have to be worth their while; four times so many in integers, which are faster."""
FASTER, NOT_SLOWER = 1.85, 0.97
"""Goals over one thread: where there is so much to share, and where there is not ("never slower", to what a turn's noise lets one see)."""
ONE_CORE = {"peak", "time", "cache", "call", "one layer"}
"""Measures whose goals are set for one thread; several have "one thread" instead."""


@dataclass(frozen=True)
class Row:
    """mode and shape; goals: measure -> bound; beside: the row whose fraction of the peak is compared; quick: also in short runs."""

    mode: str
    shape: Shape | None
    goals: dict[str, float] = field(default_factory=dict)
    beside: tuple[str, Shape] | None = None
    quick: bool = False
    threads: tuple[int, ...] = (1, 2)

    def goals_on(self, threads: int) -> dict[str, float]:
        if threads == 1 or self.shape is None:
            return self.goals
        shared = self.mode in SEQUENCES and self.shape.step_flops() >= SHARED * (4 if self.mode.startswith("int8") else 1)
        kept = {name: bound for name, bound in self.goals.items() if name not in ONE_CORE}
        return kept | {"one thread": FASTER if shared else NOT_SLOWER}

    def __str__(self) -> str:
        return f"{self.mode}: {self.shape}" if self.shape else self.mode


def beside(mode: str, shape: Shape, one: Shape, quick: bool = False) -> Row:
    """A stack, both directions, or odd sizes, beside the one layer that it is made of."""
    return Row(mode, shape, {"one layer": 0.92}, (mode, one), quick)


def network(kind: str, I: int, H: int, B: int, T: int, L: int = 1, D: int = 1) -> Shape:
    return Shape(kind, I, H, L, B, T, D)


LSTM_256, GRU_256, BEFORE_256, RNN_256 = (network(kind, 64, 256, 64, 100) for kind in ("LSTM", "GRU", "GRU before", "RNN"))
LSTM_512 = network("LSTM", 256, 512, 64, 50)
LSTM_128, GRU_128, RNN_128 = (network(kind, 1, 128, 32, 100) for kind in ("LSTM", "GRU", "RNN"))
LSTM_64, GRU_64, RNN_64 = (network(kind, 10, 64, 32, 50) for kind in ("LSTM", "GRU", "RNN"))
LSTM_100, GRU_100, RNN_100 = (network(kind, 7, 100, 20, 50) for kind in ("LSTM", "GRU", "RNN"))
LSTM_ONE, GRU_ONE, LSTM_STACK = network("LSTM", 1, 64, 1, 100), network("GRU", 40, 128, 1, 100), network("LSTM", 64, 256, 1, 100, L=2)
LSTM_STEP, GRU_STEP = network("LSTM", 40, 128, 1, 1), network("GRU", 40, 128, 1, 1)

SEQUENCES = ("forward", "training", "training with dx", "lengths, forward", "lengths, training", "int8, forward")

FORWARD = [
    Row("forward", LSTM_256, {"peak": 0.92, "torch": 1.05}, quick=True),
    Row("forward", LSTM_512, {"peak": 0.92, "torch": 1.05}),
    Row("forward", LSTM_128, {"peak": 0.90, "torch": 1.1}),
    Row("forward", LSTM_64, {"peak": 0.77, "torch": 1.45}, quick=True),
    Row("forward", GRU_256, {"peak": 0.91, "torch": 2.8, "onnxruntime": 1.4}, quick=True),
    Row("forward", GRU_128, {"torch": 3.5}),
    Row("forward", BEFORE_256),
    Row("forward", RNN_256, {"peak": 0.90}),
    Row("forward", RNN_128, {"peak": 0.90}),
    Row("forward", RNN_64, {"torch": 7.0}),
]
TRAINING = [
    Row("training", LSTM_256, {"peak": 0.85, "torch": 1.6}, quick=True),
    Row("training with dx", LSTM_256),
    Row("training", LSTM_512, {"peak": 0.85, "torch": 1.6}),
    Row("training", LSTM_128, {"torch": 1.2}),
    Row("training", LSTM_64, {"peak": 0.77, "torch": 1.6}),
    Row("training", GRU_256, {"peak": 0.82, "torch": 2.7}, quick=True),
    Row("training", GRU_128, {"torch": 4.5}),
    Row("training", BEFORE_256),
    Row("training", RNN_256, {"peak": 0.80}),
    Row("training", RNN_128, {"peak": 0.80}),
    Row("training", RNN_64, {"torch": 5.0}),
]
# The one layer of a stack's later layers is H -> H, of an odd network the nearest whole vectors.
STACKS = [
    beside(mode, shape, one, quick and mode == "forward")
    for mode in ("forward", "training")
    for shape, one, quick in (
        (replace(LSTM_256, L=2), LSTM_256, False),
        (replace(LSTM_256, L=3), LSTM_256, False),
        (replace(LSTM_256, D=2), LSTM_256, False),
        (replace(GRU_256, L=2), GRU_256, False),
        (replace(GRU_256, D=2), GRU_256, False),
        (replace(RNN_256, L=2), RNN_256, False),
        (replace(LSTM_128, L=2), LSTM_128, False),
        (replace(GRU_128, L=2), GRU_128, False),
        (LSTM_100, LSTM_128, True),
        (GRU_100, GRU_128, False),
        (RNN_100, RNN_128, False),
    )
]
SINGLES = [
    Row("forward", LSTM_ONE, {"time": 32e-6}, quick=True),
    Row("forward", GRU_ONE, {"time": 115e-6}),
    Row("forward", LSTM_STACK, {"cache": 0.85}),
    Row("training", LSTM_ONE),
    Row("training", GRU_ONE),
    Row("training", LSTM_STACK),
]
LENGTHS = [
    Row("lengths, forward", LSTM_256, {"dense": 0.9}, quick=True),
    Row("lengths, forward", GRU_256, {"dense": 0.9}),
    Row("lengths, forward", LSTM_128, {"dense": 0.9}),
    Row("lengths, training", LSTM_256, {"dense": 0.9}),
    Row("lengths, training", GRU_256, {"dense": 0.9}),
]
STEPS = [
    Row("step from Python", LSTM_STEP, {"time": 2.2e-6, "call": 0.2e-6, "torch": 30, "onnxruntime": 4}, quick=True),
    Row("step from Python", GRU_STEP),
    *(
        Row("steps in compiled code", network(kind, 1, H, 1, 1), {"time": bound}, quick=H == 16 and kind == "LSTM", threads=(1,))
        for kind, bounds in (("LSTM", (48e-9, 70e-9, 290e-9)), ("GRU", (45e-9, 65e-9, 155e-9)))
        for H, bound in zip((16, 32, 64), bounds, strict=True)
    ),
    Row("steps in compiled code", LSTM_STEP, threads=(1,)),
    Row("steps in compiled code", GRU_STEP, threads=(1,)),
]
INTEGERS = [
    Row("int8, forward", LSTM_256, {"float": 3.1, "torch": 3.0}),
    Row("int8, forward", GRU_256, {"float": 3.1, "torch": 3.0}),
    Row("int8, forward", LSTM_STACK, {"float": 3.2}),
    Row("int8, step from Python", replace(LSTM_STACK, T=1), {"float": 5.5}, threads=(1,)),
    Row("int8, step from Python", LSTM_STEP, {"time": 0.8e-6}, threads=(1,)),
    Row("int8, steps in compiled code", network("LSTM", 1, 64, 1, 1), {"time": 95e-9}, threads=(1,)),
    Row("int8, steps in compiled code", GRU_STEP, {"time": 0.45e-6}, threads=(1,)),
    Row("int8, steps in compiled code", network("GRU", 384, 384, 1, 1), {"time": 5.5e-6}, threads=(1,)),
    Row("int8, block-sparse steps in compiled code", network("GRU", 384, 384, 1, 1), {"time": 2.2e-6}, threads=(1,)),
]
SCANS = [
    Row("selective scan, forward", network("Mamba", 16, 1536, 1, 256), {"torch": 20}, quick=True),
    Row("selective scan, forward", network("Mamba", 16, 256, 1, 256), {"torch": 20}),
    Row("selective scan, training", network("Mamba", 16, 1536, 1, 256), {"torch": 20}),
    Row("selective scan, training", network("Mamba", 16, 256, 1, 256), {"torch": 20}),
    Row("matrix memory, step from Python", network("mLSTM", 256, 256, 1, 1), {"torch": 8}, quick=True),
    Row("matrix memory, step from Python", network("mLSTM", 64, 128, 1, 1), {"torch": 8}),
]
MEMORY_SHAPE = network("LSTM", 64, 256, 64, 400)
MEMORY = [
    Row("memory", MEMORY_SHAPE, {"floats": 6.0}, quick=True, threads=(1,)),
    Row("memory", replace(MEMORY_SHAPE, kind="GRU"), threads=(1,)),
    Row("memory, recompute", MEMORY_SHAPE, {"floats": 2.2, "plain": 1.35}, threads=(1,)),
    Row("memory, checkpoints", MEMORY_SHAPE, threads=(1,)),
]
PACKAGE = [
    Row("import", None, {"time": 60e-3}, quick=True, threads=(1,)),
    Row("wheel", None, {"bytes": 3.0e6, "time": 180}, threads=(1,)),
]
# For the plot: rates over H in batches and one at a time, and over B; as many steps as make a few milliseconds of work.
WIDTHS, BATCHES = (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024), (1, 2, 4, 8, 16, 32, 64, 128)
PLOT_H, PLOT_B = 256, 64
ROOF = [
    Row("roof", network(kind, H, H, B, min(100, max(40, 1_000_000_000 // (8 * H * H * B)))), threads=(1,))
    for kind in ("LSTM", "GRU")
    for H, B in dict.fromkeys([*((H, PLOT_B) for H in WIDTHS), *((H, 1) for H in WIDTHS), *((PLOT_H, B) for B in BATCHES)])
]

QUOTED = {
    ("steps in compiled code", network("LSTM", 1, 16, 1, 1)): {"RTNeural": 47e-9},
    ("steps in compiled code", network("LSTM", 1, 32, 1, 1)): {"RTNeural": 115e-9},
    ("steps in compiled code", network("LSTM", 1, 64, 1, 1)): {"RTNeural": 415e-9},
    ("steps in compiled code", LSTM_STEP): {"RTNeural": 2839e-9},
    ("steps in compiled code", network("GRU", 1, 16, 1, 1)): {"RTNeural": 41e-9},
    ("steps in compiled code", network("GRU", 1, 32, 1, 1)): {"RTNeural": 74e-9},
    ("steps in compiled code", network("GRU", 1, 64, 1, 1)): {"RTNeural": 262e-9},
    ("steps in compiled code", GRU_STEP): {"RTNeural": 2082e-9},
    ("int8, steps in compiled code", GRU_STEP): {"RNNoise": 0.64e-6},
    ("int8, steps in compiled code", network("GRU", 384, 384, 1, 1)): {"RNNoise": 7.2e-6},
    ("int8, block-sparse steps in compiled code", network("GRU", 384, 384, 1, 1)): {"RNNoise": 2.8e-6},
}
"""Seconds of peers that no package registry has, so that no run measures them: RTNeural (head of its repository, C++ with xsimd, sizes
fixed at compile time) and RNNoise's int8 GRU (C, its AVX2 build, its fastest), timed once by hand on one core of a Zen 5 with AVX-512."""


@dataclass(frozen=True)
class Group:
    """A table: rows, and the measures that are its columns."""

    title: str
    rows: list[Row]
    measures: tuple[str, ...] = ()


RATIOS = ("peak", "torch", "onnxruntime", "one thread")
GROUPS = (
    Group("Forward", FORWARD, RATIOS),
    Group("Training, forward and backward", TRAINING, ("peak", "torch", "one thread")),
    Group("Stacks, both directions, odd sizes", STACKS, ("peak", "one layer", "torch", "onnxruntime", "one thread")),
    Group("One sequence at a time", SINGLES, ("time", "cache", "torch", "onnxruntime", "one thread")),
    Group("Sequences of different lengths, uniform over 1 to T", LENGTHS, ("peak", "dense", "torch", "one thread")),
    Group("One step, the state carried along", STEPS, ("time", "call", "cache", "torch", "onnxruntime", "one thread")),
    Group("In integers, 8 bits", INTEGERS, ("time", "float", "torch", "onnxruntime", "one thread")),
    Group("Scans: diagonal and matrix states", SCANS, ("torch", "one thread")),
    Group("Memory of training", MEMORY, ("floats", "plain")),
    Group("The package", PACKAGE, ("time", "bytes")),
    Group("For the plot", ROOF),
)
"""Every row, in the order of the tables."""
