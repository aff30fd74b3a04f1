"""onnxruntime in the benches: each kind of work as a Rival, a session for each shape with fixed sizes, all graph optimisations."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from cases import Case
from timing import Arrays, Rival, fastest

# ONNX orders gates otherwise: LSTM i o f c, GRU z r h.  In torch's stack the gates are i f g o and r z n.
ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "GRU before": [1, 0, 2], "RNN": [0]}
OPSET, IR = 14, 8


def model(case: Case, states: Sequence[str] = (), time: int | None = None) -> bytes:
    """A recurrent node a layer; with `states` (one layer only) they are inputs h0, c0 and outputs h, c."""
    s, steps = case.shape, time or case.shape.T
    split = lambda a: np.split(a, s.gates)
    reorder = lambda a: np.concatenate([split(a)[k] for k in ORDER[s.kind]])
    op, options = s.kind.split()[0], {"linear_before_reset": int(s.kind == "GRU")} if s.kind.startswith("GRU") else {}
    nodes, constants, value = [], {"shape": np.array([steps, s.B, s.D * s.H])}, "x"
    for k in range(s.L):
        part = lambda name, k=k: [reorder(case.weights[f"{name}_l{k}{d}"]) for d in ("", "_reverse")[: s.D]]
        constants |= {f"W{k}": np.stack(part("weight_ih")), f"R{k}": np.stack(part("weight_hh"))}
        constants[f"B{k}"] = np.concatenate([np.stack(part("bias_ih")), np.stack(part("bias_hh"))], 1)
        inputs = [value, f"W{k}", f"R{k}", f"B{k}"] + (["", *(f"{name}0" for name in states)] if states else [])
        way = {"direction": "bidirectional" if s.D == 2 else "forward", "hidden_size": s.H}
        nodes.append(helper.make_node(op, inputs, [f"Y{k}", *states], **way, **options))
        value = "y" if k == s.L - 1 else f"s{k}"
        outputs = f"Y{k}"
        if s.D == 2:
            outputs = f"t{k}"
            nodes.append(helper.make_node("Transpose", [f"Y{k}"], [outputs], perm=[0, 2, 1, 3]))  # (T, D, B, H) -> (T, B, D, H)
        nodes.append(helper.make_node("Reshape", [outputs, "shape"], [value]))
    info = lambda name, sizes: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
    graph = helper.make_graph(
        nodes,
        "network",
        [info("x", [steps, s.B, s.I]), *(info(f"{name}0", [1, s.B, s.H]) for name in states)],
        [info("y", [steps, s.B, s.D * s.H]), *(info(name, [1, s.B, s.H]) for name in states)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(found)
    return found.SerializeToString()


def session(made: bytes, count: int) -> onnxruntime.InferenceSession:
    """On `count` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = count, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])


def dynamic(made: bytes) -> bytes:
    """Dynamically quantised: weights int8, activations by the range that they have at every call; DynamicQuantizeLSTM, and no GRU."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "integers.onnx"
        source.write_bytes(made)
        logging.disable()  # it recommends a pass over the graph, which has one node
        quantize_dynamic(source, target)
        logging.disable(logging.NOTSET)
        return target.read_bytes()


def forward(case: Case, count: int, steps: int = 1, quantized: bool = False) -> Rival:
    """Inference of whole sequences.  steps: of a sequence whose seconds a step are wanted."""
    made, x = model(case), {"x": case.x}
    made = dynamic(made) if quantized else made

    def on(n: int) -> Rival:
        ready = session(made, n)
        return Rival(lambda: ready.run(["y"], x), lambda: {"y": ready.run(["y"], x)[0]}, steps=steps)

    return fastest({f"threads: {n}": on(n) for n in {1, count}})


def step(case: Case, count: int, quantized: bool = False) -> Rival:
    """One step a call from Python, the state carried along: arrays in and out, or bound to memory once, whichever is faster."""
    states = ["h", "c"][: 2 if case.shape.kind == "LSTM" else 1]
    made, found = model(case, states, time=1), {}
    made = dynamic(made) if quantized else made
    for n in {1, count}:
        ready = session(made, n)
        found |= {f"arrays, threads: {n}": by_arrays(ready, case, states), f"bound memory, threads: {n}": by_binding(ready, case, states)}
    return fastest(found)


def start(case: Case) -> np.ndarray:
    return np.zeros((1, case.shape.B, case.shape.H), np.float32)


def by_arrays(ready: onnxruntime.InferenceSession, case: Case, states: Sequence[str]) -> Rival:
    """`run` with a dictionary of arrays."""
    carried: list[np.ndarray] = [start(case) for _ in states]
    names = [f"{s}0" for s in states]

    def one(x: np.ndarray) -> np.ndarray:
        y, *carried[:] = ready.run(None, {"x": x, **dict(zip(names, carried, strict=True))})
        return y

    def result() -> Arrays:
        carried[:] = [start(case) for _ in states]
        for x in case.x:
            y = one(x[None])
        return {"y": y[0]}

    first = case.x[:1]
    return Rival(lambda: one(first), result)


def by_binding(ready: onnxruntime.InferenceSession, case: Case, states: Sequence[str]) -> Rival:
    """Two bindings, each reading the state that the other wrote."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    x, y = value(case.x[:1].copy()), value(start(case))  # values share the memory of the arrays that they are made from
    slots = [[value(start(case)) for _ in states] for _ in range(2)]
    bound, turn = [], [0]
    for k in range(2):
        binding = ready.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)
        for name, here, there in zip(states, slots[k], slots[1 - k], strict=True):
            binding.bind_ortvalue_input(f"{name}0", here)
            binding.bind_ortvalue_output(name, there)
        bound.append(binding)

    def call() -> None:
        ready.run_with_iobinding(bound[turn[0]])
        turn[0] ^= 1

    def result() -> Arrays:
        for value in (v for slot in slots for v in slot):
            value.update_inplace(start(case))
        turn[0] = 0
        for frame in case.x:
            x.update_inplace(frame[None])
            call()
        return {"y": y.numpy()[0].copy()}

    return Rival(call, result)
