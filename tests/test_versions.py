"""What backward() needs and finds written over, operation by operation: a RuntimeError where torch has one, right gradients elsewhere.

Each program runs on both: torch says what is right.  Not here: every way of writing, and whole programs (test_writes.py).
"""

import numpy as np
import pytest
import torch

import gatecell as gc
from gatecell.tensor import ops
from parity import outcome, same, values

OPERATIONS = {
    "add": lambda m, w, x: w + x,
    "sub": lambda m, w, x: x - w,
    "mul": lambda m, w, x: w * x,
    "mul by a number": lambda m, w, x: w * 3,
    "div": lambda m, w, x: w / x,
    "div of": lambda m, w, x: x / w,
    "div of a number": lambda m, w, x: 2 / w,
    "pow": lambda m, w, x: w**x,
    "pow of": lambda m, w, x: x**w,
    "cube": lambda m, w, x: w**3,
    "square": lambda m, w, x: w.square(),
    "maximum": lambda m, w, x: m.maximum(w, x * 1.1),
    "minimum": lambda m, w, x: m.minimum(w, x * 1.1),
    "remainder": lambda m, w, x: w % x,
    "neg": lambda m, w, x: -w,
    "abs": lambda m, w, x: w.abs(),
    "exp": lambda m, w, x: w.exp(),
    "log": lambda m, w, x: w.log(),
    "sqrt": lambda m, w, x: w.sqrt(),
    "sin": lambda m, w, x: w.sin(),
    "cos": lambda m, w, x: w.cos(),
    "tanh": lambda m, w, x: w.tanh(),
    "sigmoid": lambda m, w, x: w.sigmoid(),
    "logsigmoid": lambda m, w, x: m.nn.functional.logsigmoid(w),
    "relu": lambda m, w, x: w.relu(),
    "clamp": lambda m, w, x: w.clamp(0.7, 1.2),
    "clone": lambda m, w, x: w.clone(),
    "double": lambda m, w, x: w.double(),
    "masked_fill": lambda m, w, x: w.masked_fill(x > 1, 2.0),
    "where": lambda m, w, x: m.where(x > 1, w, x),
    "sum": lambda m, w, x: w.sum(0),
    "mean": lambda m, w, x: w.mean(1, keepdim=True),
    "var": lambda m, w, x: w.var(1),
    "max of all": lambda m, w, x: w.max(),
    "max": lambda m, w, x: w.max(1).values,
    "softmax": lambda m, w, x: w.softmax(1),
    "log_softmax": lambda m, w, x: w.log_softmax(1),
    "reshape": lambda m, w, x: w.reshape(-1),
    "transpose": lambda m, w, x: w.transpose(0, 1),
    "transpose and reshape": lambda m, w, x: w.transpose(0, 1).reshape(-1) * 2,
    "expand": lambda m, w, x: w[:1].expand(5, 3) * 2,
    "slice": lambda m, w, x: w[1:, ::2],
    "element": lambda m, w, x: w[1, 2],
    "flip": lambda m, w, x: m.flip(w, (0,)),
    "cat": lambda m, w, x: m.cat([w, x]),
    "stack": lambda m, w, x: m.stack([w, x]),
    "matmul": lambda m, w, x: w @ x.transpose(0, 1),
    "matmul of": lambda m, w, x: x @ w.T,
    "batched": lambda m, w, x: w.reshape(1, 2, 3) @ x.reshape(1, 3, 2),
    "linear": lambda m, w, x: m.nn.functional.linear(x, w),
    "linear of": lambda m, w, x: m.nn.functional.linear(w, x),
    "mse_loss": lambda m, w, x: m.nn.functional.mse_loss(w, x),
    "deeper": lambda m, w, x: (w.exp() * x).tanh() + w,
}


BY_US_ALONE = {"div of a number w": "torch computes 2 / w as 2 times 1 / w, and keeps that"}
BY_TORCH_ALONE = {
    "pow y": "torch keeps the result, which only the exponent's gradient reads",
    "var w": "several operations here, which keep the distances from the mean",
    "mse_loss w": "several operations here, which keep the difference",
    "mse_loss x": "as before",
}


@pytest.mark.parametrize("leaves", [1, 2])
@pytest.mark.parametrize("changed", ["w", "x", "y"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation(name, changed, leaves):
    def program(m, early):
        w, x = values(m, 2, 3).requires_grad_(), values(m, 2, 3).requires_grad_(leaves == 2)
        y = OPERATIONS[name](m, w, x)

        def change():
            with m.no_grad():
                {"w": w, "x": x, "y": y}[changed].add_(1)

        for act in (change, y.sum().backward) if early else (y.sum().backward, change):
            act()
        return w, x

    before, after = (outcome(lambda m, early=early: program(m, early), torch) for early in (True, False))
    ours = outcome(lambda m: program(m, True), gc)
    same(outcome(lambda m: program(m, False), gc), after)
    if ours is not None:  # what is not noticed did no harm
        same(ours, after)
    case = f"{name} {changed}"
    if (ours is None) != (before is None):
        assert case in (BY_US_ALONE if ours is None else BY_TORCH_ALONE)


# The table's own promise: a pullback reads no values but those it names.


def arguments(name, rng):
    """Arrays and settings that an operation of the table takes."""
    a, b = (rng.uniform(0.5, 1.5, (3, 3)).astype(np.float32) for _ in range(2))
    mask, index = rng.random((3, 3)) > 0.5, np.array([[0, 2, 1]])
    return {
        "masked_fill": ([a, mask], {"value": 2.0}),
        "where": ([mask, a, b], {}),
        "clamp": ([a], {"low": 0.7, "high": 1.2}),
        "cast": ([a], {"dtype": np.dtype("f8")}),
        "pick": ([a], {"index": index, "dim": 0}),
        "reshape": ([a], {"shape": (9,)}),
        "permute": ([a], {"axes": (1, 0)}),
        "expand": ([a], {"shape": (2, 3, 3)}),
        "getitem": ([a], {"key": (slice(1), 2)}),
        "gather": ([a], {"key": (np.array([2, 0]), np.array([1, 1]))}),
        "spread": ([a], {"key": np.array([3, 0, 1]), "shape": (4, 3), "value": 7.0}),
        "flip": ([a], {"axis": (0,)}),
        "cat": ([a, b], {"dim": 0}),
        "stack": ([a, b], {"dim": 0}),
        "linear": ([a, b, b[0].copy()], {}),
        "embedding": ([a, index], {}),
        **{k: ([a], {"dim": 1, "keepdim": False}) for k in ("sum", "mean")},
        **{k: ([a], {"dim": 1}) for k in ("softmax", "log_softmax")},
        **{k: ([a, b], {}) for k in ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "remainder", "floor_divide", "matmul")},
    }.get(name, ([a], {}))


@pytest.mark.parametrize("name", [n for n, op in ops.OPS.items() if op.pull is not None])
def test_pullbacks_read_what_the_table_says(name, rng):
    op = ops.OPS[name]
    arrays, settings = arguments(name, rng)
    y = np.asarray(op.of(*arrays, **settings))
    g = rng.normal(size=y.shape).astype(y.dtype)
    for i, a in enumerate(arrays):
        if a.dtype.kind != "f":
            continue
        wanted = tuple(k == i for k in range(len(arrays)))
        read = ops.kept(op.reads, wanted)
        spoilt = [v if k in read else np.zeros_like(v) if v.dtype.kind != "f" else np.full_like(v, np.nan) for k, v in enumerate(arrays)]
        want = op.gradients(g, wanted, y, tuple(arrays), settings)
        got = op.gradients(g, wanted, y if -1 in read else np.full_like(y, np.nan), tuple(spoilt), settings)
        np.testing.assert_array_equal(got[i], want[i])
        assert not np.isnan(got[i]).any()
        assert all(v is None for k, v in enumerate(got) if k != i)
