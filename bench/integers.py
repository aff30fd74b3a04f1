"""Rows in integers of 8 bits: weights, the model's input and what enters its products.

MODES maps a row's mode to a function (shape, threads) -> Work.  "float" is gatecell's float32, which judges everybody; torch and
onnxruntime quantise dynamically, onnxruntime the LSTM alone.  gatecell's own result must be its Python definition's, every bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import gatecell
import own
import peer_onnx
import peer_torch
from cases import Case
from gatecell.deploy.integer import Runner
from shapes import Shape
from timing import Arrays, Rival
from work import CHECKED, SEQUENCE, Work, alone

DENSITY, BLOCK = 0.3, (8, 4)
"""Of the sparse row: the share of blocks that are not zero, units by inputs of one."""
BUDGET = 0.06
"""Largest distance from float32, relative to its largest entry: activations of 8 bits are wrong by up to 1/254 of their range in every
product of a step, and states carry it on."""


def quantized(case: Case) -> Any:
    """The case's network in integers, calibrated on its own input."""
    return gatecell.quantize(own.model(case), case.x, "w8a8", input_bits=8)


def defined(rival: Rival, q: Any, x: np.ndarray, step: int | None = None) -> Rival:
    """The rival, whose result (of one step) must be that of the Python definition; RuntimeError where it is not."""

    def result() -> Arrays:
        got = rival.result()
        want = q.dequantize_output(Runner(q.model, x.shape[1]).run(q.quantize_input(x)))
        if not np.array_equal(got["y"], want if step is None else want[step]):
            raise RuntimeError("gatecell's integers are not those of its Python definition")
        return got

    return replace(rival, result=result)


def with_onnxruntime(rivals: dict[str, Rival], shape: Shape, make: Callable[[], Rival]) -> dict[str, Rival]:
    return rivals | ({"onnxruntime": make()} if shape.kind == "LSTM" else {})


def forward(shape: Shape, threads: int) -> Work:
    """Whole sequences, from float32 to float32."""
    case = Case(shape)
    q = quantized(case)
    call = lambda: q(case.x)
    rivals = {
        "gatecell": defined(Rival(call, lambda: {"y": call()}, lambda: own.threads(threads)), q, case.x),
        "float": own.forward(case, threads),
        "torch": peer_torch.forward_in_integers(case, threads),
    }
    rivals = with_onnxruntime(rivals, shape, lambda: peer_onnx.forward(case, threads, quantized=True))
    return Work(alone(rivals, threads), judge="float", budget=BUDGET, flops=shape.forward_flops())


def step(shape: Shape, threads: int) -> Work:
    """One step a call from Python, the state carried along; "kernel" is the same step in compiled code."""
    long, case = Case(replace(shape, T=SEQUENCE)), Case(replace(shape, T=CHECKED))  # whose frames are the first of the long one
    q = quantized(long)
    rivals = {
        "gatecell": defined(own.step(case, threads, q), q, case.x, -1),
        "float": own.step(case, threads),
        "torch": peer_torch.step_in_integers(case, threads),
        "kernel": own.steps_without_python(long, CHECKED - 1, q),
    }
    if shape.L == 1:
        rivals = with_onnxruntime(rivals, shape, lambda: peer_onnx.step(case, threads, quantized=True))
    return Work(alone(rivals, threads), judge="float", budget=BUDGET, flops=shape.forward_flops())


def steps(shape: Shape, threads: int) -> Work:
    """Steps in sequence without Python between them; torch and onnxruntime are given the whole sequence at once."""
    return steps_of(Case(replace(shape, T=SEQUENCE)), threads)


def sparse(shape: Shape, threads: int) -> Work:
    """The same with 30 % of the blocks of every matrix, at random places, the others zeros; peers multiply by them."""
    case, rng = Case(replace(shape, T=SEQUENCE)), np.random.default_rng(3)
    for w in (w for w in case.weights.values() if w.ndim == 2):
        kept = rng.random([-(-n // m) for n, m in zip(w.shape, BLOCK, strict=True)]) < DENSITY
        w *= np.kron(kept, np.ones(BLOCK, np.float32))[: w.shape[0], : w.shape[1]]
    return steps_of(case, threads)


def steps_of(case: Case, threads: int) -> Work:
    shape, q = case.shape, quantized(case)
    last = lambda rival: replace(rival, result=lambda: {"y": rival.result()["y"][-1]})
    rivals = {
        "gatecell": defined(own.steps_without_python(case, -1, q), q, case.x, -1),
        "float": own.steps_without_python(case),
        "torch": last(peer_torch.forward_in_integers(case, threads, SEQUENCE)),
    }
    rivals = with_onnxruntime(rivals, shape, lambda: last(peer_onnx.forward(case, threads, SEQUENCE, quantized=True)))
    return Work(rivals, judge="float", budget=BUDGET, flops=replace(shape, T=1).forward_flops())


MODES: Mapping[str, Callable[..., Work]] = {
    "int8, forward": forward,
    "int8, step from Python": step,
    "int8, steps in compiled code": steps,
    "int8, block-sparse steps in compiled code": sparse,
}
