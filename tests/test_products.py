"""Linear layers and matrix products: one order of sums, whatever the rows around, the memory, the threads.

Not here: values and gradients against torch at many shapes (test_tensor.py), the core's kernels one by one (test_core.py).
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gatecell as gc
from gatecell import nn
from gatecell.tensor import functional as F
from parity import agree

SIZE = st.sampled_from([1, 2, 3, 15, 16, 17, 31, 33, 67])  # around the vector's width, and beyond two partial sums of 32
SEED = st.integers(0, 2**32 - 1)


def apart(x):
    """The same values with other neighbours in memory: gaps, axes in another order, backwards, unaligned, each value twice."""
    gaps = np.full((*x.shape[:-1], x.shape[-1] + 5), np.nan, x.dtype)
    gaps[..., 2:-3] = x
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    return {
        "gaps": gaps[..., 2:-3],
        "first axes turned": np.ascontiguousarray(np.swapaxes(x, 0, 1)).swapaxes(0, 1),
        "columns": np.asfortranarray(x),
        "backwards": np.ascontiguousarray(x[::-1])[::-1],
        "unaligned": shifted,
        "every second": np.repeat(x, 2, axis=-1)[..., ::2],
    }


def case(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s).astype(dtype) for s in shapes]


def gradients(x, w, b, g):
    """Gradients of x, w and b where g is the result's."""
    leaves = [gc.Tensor(a, requires_grad=True) for a in (x, w, b)]
    F.linear(*leaves).backward(gc.Tensor(g))
    return [t.grad.numpy() for t in leaves]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(a=SIZE, b=SIZE, inputs=SIZE, outputs=SIZE, seed=SEED)
def test_a_row_has_the_bits_that_it_has_alone(dtype, a, b, inputs, outputs, seed):
    x, w, bias, g = case(seed, dtype, (a, b, inputs), (outputs, inputs), outputs, (a, b, outputs))
    y = F.linear(gc.Tensor(x), gc.Tensor(w), gc.Tensor(bias)).numpy()
    dx, _, _ = gradients(x, w, bias, g)
    assert y.flags.c_contiguous
    i, j = seed % a, seed % b
    np.testing.assert_array_equal(F.linear(gc.Tensor(x[i, j]), gc.Tensor(w), gc.Tensor(bias)).numpy(), y[i, j])
    np.testing.assert_array_equal(F.linear(gc.Tensor(x[:, j]), gc.Tensor(w), gc.Tensor(bias)).numpy(), y[:, j])
    np.testing.assert_array_equal(gradients(x[i, j], w, bias, g[i, j])[0], dx[i, j])
    np.testing.assert_array_equal(gradients(x[:, j:], w, bias, g[:, j:])[0], dx[:, j:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(a=SIZE, b=SIZE, inputs=SIZE, outputs=SIZE, seed=SEED)
def test_memory_does_not_matter(dtype, a, b, inputs, outputs, seed):
    x, w, bias, g = case(seed, dtype, (a, b, inputs), (outputs, inputs), outputs, (a, b, outputs))
    y, grads = F.linear(gc.Tensor(x), gc.Tensor(w), gc.Tensor(bias)).numpy(), gradients(x, w, bias, g)
    for how, other in apart(x).items():
        np.testing.assert_array_equal(F.linear(gc.Tensor(other), gc.Tensor(w), gc.Tensor(bias)).numpy(), y, err_msg=how)
        for got, want in zip(gradients(other, w, bias, apart(g)[how]), grads, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=how)
    for how, other in apart(w).items():
        for got, want in zip(gradients(x, other, bias, g), grads, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=how)
    deep = gradients(x.reshape(a, 1, b, inputs), w, np.repeat(bias, 2)[::2], g.reshape(a, 1, b, outputs))
    np.testing.assert_array_equal(deep[0].reshape(x.shape), grads[0])
    for got, want in zip(deep[1:], grads[1:], strict=True):
        np.testing.assert_array_equal(got, want)


@given(rows=SIZE, inputs=SIZE, outputs=SIZE, seed=SEED)
def test_a_product_by_a_matrix_is_a_linear_layer(rows, inputs, outputs, seed):
    x, w, g = case(seed, np.float32, (2, rows, inputs), (outputs, inputs), (2, rows, outputs))
    want, grads = F.linear(gc.Tensor(x), gc.Tensor(w)).numpy(), gradients(x, w, np.zeros(outputs, np.float32), g)
    for matrix in (np.ascontiguousarray(w.T), w.T, np.repeat(w.T, 2, axis=1)[:, ::2]):
        a, b = gc.Tensor(x, requires_grad=True), gc.Tensor(matrix, requires_grad=True)
        y = a @ b
        y.backward(gc.Tensor(g))
        np.testing.assert_array_equal(y.numpy(), want)
        np.testing.assert_array_equal(a.grad.numpy(), grads[0])
        np.testing.assert_array_equal((gc.Tensor(x[0]) @ b).numpy(), want[0])
        np.testing.assert_array_equal((gc.Tensor(x[0, 0]) @ b).numpy(), want[0, 0])
        agree(b.grad, grads[1].T)  # a sum over the rows, too, but of x times g
    np.testing.assert_array_equal((gc.Tensor(x) @ gc.Tensor(w[0])).numpy(), want[..., 0])
    np.testing.assert_array_equal((gc.Tensor(x[1, 0]) @ gc.Tensor(w[-1])).numpy(), want[1, 0, -1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_matter(dtype, rng):
    # 21 million products: so many are shared out
    x, w, b, g = (rng.normal(size=s).astype(dtype) for s in ((29, 53, 70), (201, 70), 201, (29, 53, 201)))
    threads, seen = gc.get_num_threads(), []
    try:
        for n in (1, 2, 5):
            gc.set_num_threads(n)
            seen.append([F.linear(*map(gc.Tensor, (x, w, b))).numpy(), *gradients(x, w, b, g)])
    finally:
        gc.set_num_threads(threads)
    for other in seen[1:]:
        for got, want in zip(other, seen[0], strict=True):
            np.testing.assert_array_equal(got, want)


SHAPES = [((0, 3), 2), ((4, 0, 3), 2), ((2, 0), 3), ((0,), 2), ((2, 3), 0), ((0, 0), 0)]


@pytest.mark.parametrize(("shape", "outputs"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_nothing_in_or_out(shape, outputs, bias, rng):
    arrays = [rng.normal(size=s).astype(np.float32) for s in (shape, (outputs, shape[-1]), *[outputs] * bias)]
    ours, theirs = [gc.Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, want = F.linear(*ours), torch.nn.functional.linear(*theirs)
    agree(y, want)
    y.sum().backward(), want.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        agree(a.grad, b.grad)
    agree(gc.Tensor(arrays[0]) @ gc.Tensor(arrays[1].T), torch.tensor(arrays[0]) @ torch.tensor(arrays[1].T))


def test_nan_and_infinity_stay_in_their_rows(rng):
    def two(x, w):
        return F.linear(gc.Tensor(x), gc.Tensor(w)).numpy(), (torch.tensor(x) @ torch.tensor(w).T).numpy()

    x, w = rng.normal(size=(5, 19)).astype(np.float32), rng.normal(size=(18, 19)).astype(np.float32)
    clean = F.linear(gc.Tensor(x), gc.Tensor(w)).numpy()
    x[1, 3], x[2, 18], x[3, :2] = np.nan, np.inf, (np.inf, -np.inf)
    w[4, 0] = 0
    y, want = two(x, w)
    np.testing.assert_array_equal(y[[0, 4]][:, np.arange(18) != 4], clean[[0, 4]][:, np.arange(18) != 4])
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    np.testing.assert_array_equal(y[np.isinf(want)], want[np.isinf(want)])
    w[7, 5] = np.inf
    np.testing.assert_array_equal(*map(np.isnan, two(x, w)))


def test_a_models_head_has_the_same_bits_in_either_layout(rng):
    first, then = nn.GRU(3, 67, batch_first=True), nn.GRU(3, 67)
    then.load_state_dict(first.state_dict())
    x = rng.normal(size=(7, 11, 3)).astype(np.float32)
    for outputs in (1, 17, 64):
        head = nn.Linear(67, outputs)
        rows, steps = head(first(x)[0]).numpy(), head(then(x.swapaxes(0, 1))[0]).numpy()
        np.testing.assert_array_equal(rows, steps.swapaxes(0, 1))
        np.testing.assert_array_equal(head(first(x[2:3])[0]).numpy(), rows[2:3])


def test_many_matrices_and_integers(rng):
    a, b = rng.normal(size=(3, 4, 5)).astype(np.float32), rng.normal(size=(3, 5, 6)).astype(np.float32)
    agree(gc.Tensor(a) @ gc.Tensor(b), torch.tensor(a) @ torch.tensor(b))
    n, m = rng.integers(-9, 9, (3, 4)), rng.integers(-9, 9, (4, 2))
    np.testing.assert_array_equal((gc.tensor(n) @ gc.tensor(m)).numpy(), n @ m)
