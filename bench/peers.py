"""The rivals, each running the same network: gatecell, torch, onnxruntime.  Same weights, same input, one interface.

A rival is a pair (call, result): `call()` is what is timed, `result()` gives arrays for the comparison that precedes every
timing.  Weights are torch's; the others get them through their public doors.  Not here: time, shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from shapes import Shape

import gatecell

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Rival:
    """`call` does the work once; `result` does it once more and returns its arrays by name."""

    call: Callable[[], object]
    result: Callable[[], Arrays]


def use_threads(count: int) -> None:
    """Threads of gatecell and of torch; onnxruntime's are set per session."""
    torch.set_num_threads(count)
    gatecell.set_num_threads(count)


def networks(shape: Shape):
    """torch's layer, gatecell's with its weights, and an input (T, B, I) of unit variance."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, shape.kind)(shape.I, shape.H, shape.L)
    ours = getattr(gatecell.nn, shape.kind)(shape.I, shape.H, shape.L)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(shape.T, shape.B, shape.I)).astype(np.float32)
    return theirs, ours, x


def forward(shape: Shape, threads: int) -> dict[str, Rival]:
    """Inference of whole sequences: the output of every step."""
    theirs, ours, x = networks(shape)
    tx, gx = torch.from_numpy(x), gatecell.from_numpy(x)
    session = onnx_session(shape, theirs, threads)

    def torch_call():
        with torch.inference_mode():
            return theirs(tx)[0]

    def gatecell_call():
        with gatecell.no_grad():
            return ours(gx)[0]

    onnx_call = lambda: session.run(["y"], {"x": x})[0]
    return {
        "gatecell": Rival(gatecell_call, lambda: {"y": gatecell_call().numpy()}),
        "torch": Rival(torch_call, lambda: {"y": torch_call().numpy()}),
        "onnxruntime": Rival(onnx_call, lambda: {"y": onnx_call()}),
    }


def training(shape: Shape) -> dict[str, Rival]:
    """Forward and backward from a gradient for every step's output to every weight, as an epoch does it; the input wants none."""
    theirs, ours, x = networks(shape)
    dy = np.random.default_rng(1).normal(size=(shape.T, shape.B, shape.H)).astype(np.float32)
    tx, tdy, gx, gdy = torch.from_numpy(x), torch.from_numpy(dy), gatecell.from_numpy(x), gatecell.from_numpy(dy)

    def step(model, x, dy):
        model.zero_grad()
        model(x)[0].backward(dy)

    def gradients(model, x, dy):
        step(model, x, dy)
        return {name: np.asarray(p.grad) for name, p in model.named_parameters()}

    return {
        "gatecell": Rival(lambda: step(ours, gx, gdy), lambda: gradients(ours, gx, gdy)),
        "torch": Rival(lambda: step(theirs, tx, tdy), lambda: gradients(theirs, tx, tdy)),
    }


def streaming(shape: Shape, threads: int) -> dict[str, Rival]:
    """One step per call, the state carried along."""
    theirs, ours, x = networks(shape)
    tx = torch.from_numpy(x)
    states = ["h", "c"][: 2 if shape.kind == "LSTM" else 1]
    session = onnx_session(shape, theirs, threads, states)
    stream, frame, out = gatecell.Stream(ours, batch=shape.B), x[0].copy(), np.empty((shape.B, shape.H), np.float32)
    carried: dict[str, object] = {}

    def torch_call():
        with torch.inference_mode():
            y, carried["torch"] = theirs(tx, carried.get("torch"))
        return y

    def onnx_call():
        start = carried.get("onnx") or [np.zeros((1, shape.B, shape.H), np.float32)] * len(states)
        y, *carried["onnx"] = session.run(None, {"x": x} | {f"{s}0": v for s, v in zip(states, start, strict=True)})
        return y

    def after_five(call, reset):
        reset()
        for _ in range(4):
            call()
        return {"y": np.asarray(call()).reshape(shape.B, shape.H).copy()}

    gatecell_call = lambda: stream.step(frame, out=out)
    return {
        "gatecell": Rival(gatecell_call, lambda: after_five(gatecell_call, stream.reset)),
        "torch": Rival(torch_call, lambda: after_five(torch_call, carried.clear)),
        "onnxruntime": Rival(onnx_call, lambda: after_five(onnx_call, carried.clear)),
    }


# ONNX orders gates otherwise: LSTM i o f c, GRU z r h.  In torch's stack the gates are i f g o and r z n.
ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}


def onnx_session(shape: Shape, module: torch.nn.Module, threads: int, states: list[str] | None = None) -> onnxruntime.InferenceSession:
    """A session with one recurrent node a layer; with `states` (one layer only) they are inputs h0, c0 and outputs h, c."""
    weights = {k: v.numpy() for k, v in module.state_dict().items()}
    reorder = lambda a: np.concatenate([np.split(a, shape.gates)[k] for k in ORDER[shape.kind]])
    nodes, constants, value = [], {"axes": np.array([1])}, "x"
    for layer in range(shape.L):
        last = layer == shape.L - 1
        part = lambda name, k=layer: reorder(weights[f"{name}_l{k}"])
        constants |= {f"W{layer}": part("weight_ih")[None], f"R{layer}": part("weight_hh")[None]}
        constants[f"B{layer}"] = np.concatenate([part("bias_ih"), part("bias_hh")])[None]
        inputs = [value, f"W{layer}", f"R{layer}", f"B{layer}"] + (["", *(f"{s}0" for s in states)] if states else [])
        options = {"linear_before_reset": 1} if shape.kind == "GRU" else {}
        nodes.append(helper.make_node(shape.kind, inputs, [f"Y{layer}", *(states or [])], hidden_size=shape.H, **options))
        value = "y" if last else f"s{layer}"
        nodes.append(helper.make_node("Squeeze", [f"Y{layer}", "axes"], [value]))
    info = lambda name, sizes: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
    state_size = [1, shape.B, shape.H]
    graph = helper.make_graph(
        nodes,
        "network",
        [info("x", [shape.T, shape.B, shape.I]), *(info(f"{s}0", state_size) for s in states or [])],
        [info("y", [shape.T, shape.B, shape.H]), *(info(s, state_size) for s in states or [])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
