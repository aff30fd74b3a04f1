"""torch in the benches: each kind of work as a Rival, at the fastest of the settings that its users have.

Fused layers where it has them, inference mode, oneDNN on or off, LSTMCell and GRUCell for single steps.  torch.compile leaves recurrent
layers as they are (a break in its graph, at the price of a check a call), so it is not among the settings.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.ao.quantization import quantize_dynamic
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cases import Case
from shapes import Shape
from timing import Arrays, Rival, fastest


class ResetBefore(torch.nn.Module):
    """The GRU whose reset gate acts before the product, which torch has not: what its users write, input products of all steps at once."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.weight_ih_l0, self.weight_hh_l0 = (torch.nn.Parameter(torch.empty(3 * units, n)) for n in (inputs, units))
        self.bias_ih_l0, self.bias_hh_l0 = (torch.nn.Parameter(torch.empty(3 * units)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        units = self.weight_hh_l0.shape[1]
        recurrent, bias = self.weight_hh_l0.split((2 * units, units)), self.bias_hh_l0.split((2 * units, units))
        h, outputs = x.new_zeros(x.shape[1], units), []
        for gates, candidate in zip(*linear(x, self.weight_ih_l0, self.bias_ih_l0).split((2 * units, units), -1), strict=True):
            r, z = torch.sigmoid(gates + linear(h, recurrent[0], bias[0])).chunk(2, -1)
            n = torch.tanh(candidate + linear(r * h, recurrent[1], bias[1]))
            h = torch.lerp(n, h, z)
            outputs.append(h)
        return (torch.stack(outputs),)


def model(case: Case) -> torch.nn.Module:
    """The layers with the case's weights."""
    s = case.shape
    made = ResetBefore(s.I, s.H) if s.kind == "GRU before" else getattr(torch.nn, s.kind)(s.I, s.H, s.L, bidirectional=s.D == 2)
    made.load_state_dict({name: torch.from_numpy(a) for name, a in case.weights.items()})
    return made


def within(count: int, onednn: bool = True, inference: bool = True, engine: str = "") -> Callable[[], object]:
    """A context of `count` threads, with or without oneDNN and the tape; engine: of integers."""

    @contextmanager
    def entered() -> Iterator[None]:
        before = torch.backends.quantized.engine
        torch.set_num_threads(count)
        torch.backends.mkldnn.enabled = onednn
        torch.backends.quantized.engine = engine or before
        try:
            with torch.inference_mode(inference):
                yield
        finally:
            torch.backends.mkldnn.enabled = True
            torch.backends.quantized.engine = before

    return entered


def settings(call: Callable[[], object], result: Callable[[], Arrays], count: int, inference: bool, steps: int = 1) -> dict[str, Rival]:
    """The same work with oneDNN and without, on `count` threads and, since little work is faster so, on one."""
    return {
        f"{'oneDNN' if onednn else 'without oneDNN'}, threads: {n}": Rival(call, result, within(n, onednn, inference), steps=steps)
        for onednn in (True, False)
        for n in {1, count}
    }


def forward(case: Case, count: int, steps: int = 1) -> Rival:
    """Inference of whole sequences.  steps: of a sequence whose seconds a step are wanted."""
    net, x = model(case), torch.from_numpy(case.x)
    call = lambda: net(x)[0]
    return fastest(settings(call, lambda: {"y": call().numpy()}, count, True, steps))


def training(case: Case, count: int, dx: bool = False, packed: bool = False) -> Rival:
    """Forward and backward from a gradient for every output to every weight, and to the input with `dx`; "dense ..." are the same without
    regard to lengths, where these count."""
    net, x, dy = model(case), torch.from_numpy(case.x).requires_grad_(dx), torch.from_numpy(case.dy)

    def call(packed: bool = packed) -> None:
        net.zero_grad()
        x.grad = None
        (of_packed(net, x, case) if packed else net(x)[0]).backward(dy)

    def gradients(packed: bool) -> Arrays:
        call(packed)
        found = {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
        return found | ({"x": x.grad.numpy()} if dx else {})

    def result() -> Arrays:
        return gradients(packed) | ({f"dense {name}": g for name, g in gradients(False).items()} if packed else {})

    return fastest(settings(call, result, count, False))


def of_packed(net: torch.nn.Module, x: torch.Tensor, case: Case) -> torch.Tensor:
    """The outputs (T, B, H) of sequences of different lengths, 0 beyond them."""
    y = net(pack_padded_sequence(x, torch.from_numpy(case.lengths), enforce_sorted=False))[0]
    return pad_packed_sequence(y, total_length=case.shape.T)[0]


def packed_forward(case: Case, count: int) -> Rival:
    """Inference of sequences of different lengths, from a padded array to a padded array; "dense y" is without regard to lengths."""
    net, x = model(case), torch.from_numpy(case.x)
    call = lambda: of_packed(net, x, case)
    return fastest(settings(call, lambda: {"y": call().numpy(), "dense y": net(x)[0].numpy()}, count, True))


def cell(case: Case) -> torch.nn.Module:
    """The single layer as a step of its own."""
    s: Shape = case.shape
    made = getattr(torch.nn, f"{s.kind}Cell")(s.I, s.H)
    made.load_state_dict({name.removesuffix("_l0"): torch.from_numpy(a) for name, a in case.weights.items()})
    return made


def stepping(net: torch.nn.Module, case: Case, layer: bool) -> tuple[Callable[[], object], Callable[[], Arrays]]:
    """(call, result): a step a call with the state carried along, by a layer over sequences of one step or by a cell."""
    frames = torch.from_numpy(case.x)
    carried: list[object] = [None]

    def one(x: torch.Tensor) -> torch.Tensor:
        if layer:
            y, carried[0] = net(x[None], carried[0])
            return y[0]
        carried[0] = net(x, carried[0])
        return carried[0][0] if isinstance(carried[0], tuple) else carried[0]

    def result() -> Arrays:
        carried[0] = None
        for x in frames:
            y = one(x)
        return {"y": y.numpy().copy()}

    first = frames[0]
    return lambda: one(first), result


def step(case: Case, count: int) -> Rival:
    """One step a call from Python."""
    found = settings(*stepping(model(case), case, True), count, True)
    call, result = stepping(cell(case), case, False)
    return fastest(found | {f"{case.shape.kind}Cell, threads: {n}": Rival(call, result, within(n)) for n in {1, count}})


ENGINES = [name for name in ("x86", "onednn") if name in torch.backends.quantized.supported_engines] or [torch.backends.quantized.engine]


def dynamic(net: torch.nn.Module) -> torch.nn.Module:
    """Dynamically quantised: weights int8, activations by the range that they have at every call.  The engine packs them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to give it up some day
        return quantize_dynamic(torch.nn.Sequential(net), {type(net)}, dtype=torch.qint8)[0]


def in_integers(makes: Mapping[str, Callable[[], tuple[Callable[[], object], Callable[[], Arrays]]]], count: int, steps: int = 1) -> Rival:
    """The fastest of its engines and of what `makes` make by each, a call and its result."""
    found = {}
    for engine in ENGINES:
        for name, make in makes.items():
            with within(1, engine=engine)():
                call, result = make()
            settings = {n: within(n, engine=engine) for n in {1, count}}
            found |= {f"{engine}, {name}, threads: {n}": Rival(call, result, inside, steps=steps) for n, inside in settings.items()}
    return fastest(found)


def forward_in_integers(case: Case, count: int, steps: int = 1) -> Rival:
    """`forward` in dynamic quantisation."""

    def make() -> tuple[Callable[[], object], Callable[[], Arrays]]:
        net, x = dynamic(model(case)), torch.from_numpy(case.x)
        return lambda: net(x)[0], lambda: {"y": net(x)[0].numpy()}

    return in_integers({"layer": make}, count, steps)


def step_in_integers(case: Case, count: int) -> Rival:
    """`step` in dynamic quantisation."""
    makes = {"layer": lambda: stepping(dynamic(model(case)), case, True)}
    if case.shape.L == 1:
        makes["cell"] = lambda: stepping(dynamic(cell(case)), case, False)
    return in_integers(makes, count)
