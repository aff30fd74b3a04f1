"""What tests against torch share: the same leaves on both sides, and the comparison of values, dtypes, shapes, gradients and refusals."""

import numpy as np
import torch

import budgets
import gatecell as gc

WRITTEN_OVER = "one of the variables needed for gradient computation has been modified by an inplace operation"
"""How torch begins, and we: backward() found something written over that it needs."""


def both(seed, *shapes, dtype=np.float32, positive=False):
    """The same random numbers as leaves of ours and of torch's, away from 0 so that no kink decides."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in shapes]
    arrays = [
        np.asarray((np.abs(a) if positive else a) + np.where(a < 0, -0.1, 0.1) * (not positive) + 0.2 * positive, dtype) for a in arrays
    ]
    return [gc.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def agree(ours, theirs, budget=budgets.ARRAY):
    """Same dtype, shape and, to the budget, values."""
    ours, theirs = np.asarray(ours), np.asarray(theirs.detach() if isinstance(theirs, torch.Tensor) else theirs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    scale = max(1.0, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0))) if theirs.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=budget * scale)


def close(mine, want, budget=budgets.LAYER):
    """Same shape and, to the budget relative to the largest entry, values; dtypes may differ."""
    want = want.detach().numpy()
    assert tuple(mine.shape) == want.shape
    np.testing.assert_allclose(mine.data, want, rtol=0, atol=budget * np.abs(want).max(initial=1e-30))


def check(f, g, ours, theirs, seed=0):
    """f on our leaves equals g on torch's, and so do the gradients of a random combination of the results."""
    y, z = f(*ours), g(*theirs)
    agree(y, z)
    weight = np.random.default_rng(seed).normal(size=z.shape).astype(np.asarray(y).dtype)
    (y * gc.tensor(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        if b.grad is not None:
            agree(a.grad, b.grad)


def outcome(program, m):
    """The gradients of the leaves that a program returns, with m ours or torch; None where backward() found something written over."""
    try:
        return [t.grad for t in program(m)]
    except RuntimeError as e:
        if WRITTEN_OVER not in str(e):
            raise
        return None


def same(ours, theirs):
    """Two outcomes' gradients agree."""
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            agree(a, b)


def values(m, *shape):
    """Numbers between 0.5 and 1.5, the same in both, none twice."""
    n = int(np.prod(shape))
    return m.tensor(((np.arange(n) * 7 % n + 0.25) / n + 0.5).astype(np.float32).reshape(shape))
