"""Where formulas leave a choice: NaN, infinities, both zeros, ties.  Values and gradients are torch's there, too.

Not here: ordinary numbers (test_tensor.py), NaN inside products (test_products.py).
"""

import numpy as np
import pytest
import torch

import gatecell as gc
from parity import agree

VALUES = np.array([np.nan, -np.inf, -1, -0.5, -0.0, 0.0, 0.5, 1, np.inf], np.float32)
A, B = (m.reshape(-1) for m in np.meshgrid(VALUES, VALUES))  # every pair of them
NUMBERS = np.array([[0.5, 2, 2, -1], [2, 0.5, 0.5, -1], [-0.0, 0, -1, -1]], np.float32)
WITH_NAN = np.array([[0.5, np.nan, 2], [np.nan, -np.inf, np.inf], [1, 1, 1]], np.float32)

ONE = {
    "relu": lambda m, a: a.relu(),
    "abs": lambda m, a: abs(a),
    "sign": lambda m, a: a.sign() * a,
    "clamp": lambda m, a: a.clamp(-0.5, 0.5),
    "clamp from below": lambda m, a: a.clamp(min=0),
    "clamp from above": lambda m, a: a.clamp(max=0.5),
    "clamp to nothing": lambda m, a: a.clamp(0.5, -0.5),
    "clamp by NaN": lambda m, a: a.clamp(max=float("nan")),
    "where": lambda m, a: m.where(a > 0, a, a.clone()),
    "masked_fill": lambda m, a: a.masked_fill(a > 0, 1.0),
    "softplus": lambda m, a: m.nn.functional.softplus(a),
    "logsigmoid": lambda m, a: m.nn.functional.logsigmoid(a),
    "sqrt": lambda m, a: a.sqrt(),
    "log": lambda m, a: a.log(),
    "exp": lambda m, a: a.exp(),
    "tanh": lambda m, a: a.tanh(),
    "sigmoid": lambda m, a: a.sigmoid(),
    "square": lambda m, a: a.square(),
    "maximum with 0": lambda m, a: m.maximum(a, m.tensor(0.0)),
    "minimum with itself": lambda m, a: m.minimum(a, a),
}
TWO = {
    "maximum": lambda m, a, b: m.maximum(a, b),
    "minimum": lambda m, a, b: m.minimum(a, b),
    "div": lambda m, a, b: a / b,
    "mul": lambda m, a, b: a * b,
    "pow": lambda m, a, b: a**b,
    "remainder": lambda m, a, b: a % b,
}
WHOLE = {
    "max": lambda m, a: a.max(),
    "min": lambda m, a: a.min(),
    "max along 0": lambda m, a: a.max(0).values,
    "max along 1": lambda m, a: a.max(1).values,
    "min along 0": lambda m, a: a.min(0, keepdim=True).values,
    "min along 1": lambda m, a: a.min(1).values,
}
CASES = (
    [(n, f, (VALUES,)) for n, f in ONE.items()]
    + [(n, f, (A, B)) for n, f in TWO.items()]
    + [(f"{n}, {k}", f, (a,)) for n, f in WHOLE.items() for k, a in (("ties", NUMBERS), ("NaN", WITH_NAN))]
)


def run(m, f, arrays, g):
    leaves = [m.tensor(a).requires_grad_() for a in arrays]
    y = f(m, *leaves)
    y.backward(m.tensor(np.full(tuple(y.shape), g, np.float32)))
    return [y, *(t.grad for t in leaves)]


@pytest.mark.parametrize("g", [1.5, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("f", "arrays"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own
def test_values_and_gradients_at_the_edges(f, arrays, g):
    for ours, theirs in zip(run(gc, f, arrays, g), run(torch, f, arrays, g), strict=True):
        agree(ours, theirs)


@pytest.mark.parametrize("slope", [0.01, 0.25])
def test_leaky_relu(slope):
    """Beside NaN, whose gradient torch scales and we do not: there is nothing to descend."""
    def leaky(m, a):
        return m.nn.functional.leaky_relu(a, slope)

    for g in (1.5, np.inf):
        for ours, theirs in zip(*(run(m, leaky, (VALUES[1:],), g) for m in (gc, torch)), strict=True):
            agree(ours, theirs)
