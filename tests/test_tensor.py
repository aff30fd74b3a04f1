"""Array operations, activations and losses against torch: values, dtypes, shapes, gradients.

Not here: the tape's behaviour, promotion of types, errors (test_tape.py); recurrences, layers, optimisers.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gatecell as gc
from gatecell.tensor import functional as F
from parity import agree, both, check

TF = torch.nn.functional
SIDE = st.integers(1, 5)
SHAPE = st.lists(SIDE, min_size=0, max_size=4).map(tuple)
SEED = st.integers(0, 2**32 - 1)


def broadcastable(draw):
    """Two shapes that broadcast: axes dropped from the front or set to 1."""
    full = draw(st.lists(SIDE, min_size=1, max_size=4))
    return [tuple(1 if draw(st.booleans()) else n for n in full[draw(st.integers(0, len(full))) :]) for _ in range(2)]


PAIRS = st.composite(broadcastable)()

BINARY = {
    "add": lambda m, a, b: a + b,
    "sub": lambda m, a, b: a - b,
    "mul": lambda m, a, b: a * b,
    "div": lambda m, a, b: a / b,
    "maximum": lambda m, a, b: m.maximum(a, b),
    "minimum": lambda m, a, b: m.minimum(a, b),
    "where": lambda m, a, b: m.where(a > b, a * 2, b),
    "remainder": lambda m, a, b: a % b,
}


@pytest.mark.parametrize("name", BINARY)
@given(shapes=PAIRS, seed=SEED)
def test_binary(name, shapes, seed):
    ours, theirs = both(seed, *shapes)
    check(lambda a, b: BINARY[name](gc, a, b), lambda a, b: BINARY[name](torch, a, b), ours, theirs, seed)


@given(shapes=PAIRS, seed=SEED)
def test_pow(shapes, seed):
    ours, theirs = both(seed, *shapes, positive=True)
    check(lambda a, b: a**b, lambda a, b: a**b, ours, theirs, seed)


UNARY = {
    **{name: lambda m, a, name=name: getattr(m, name)(a) for name in ["abs", "exp", "sin", "cos", "tanh", "sigmoid", "relu"]},
    "neg": lambda m, a: -a,
    "clamp": lambda m, a: m.clamp(a, -0.5, 0.7),
    "cube": lambda m, a: a**3,
    "inverse square": lambda m, a: a**-2,
    "numbers": lambda m, a: (2 - a) * 3 / 4 + 1 / (a * a + 1),
    "masked_fill": lambda m, a: a.masked_fill(a > 0, 3.0),
    "square": lambda m, a: a.square(),
    "clone": lambda m, a: a.clone(),
    "double": lambda m, a: a.double() * 2,
}


@pytest.mark.parametrize("name", UNARY)
@given(shape=SHAPE, seed=SEED)
def test_unary(name, shape, seed):
    check(lambda a: UNARY[name](gc, a), lambda a: UNARY[name](torch, a), *both(seed, shape), seed)


@pytest.mark.parametrize("name", ["log", "sqrt"])
@given(shape=SHAPE, seed=SEED)
def test_unary_of_positive(name, shape, seed):
    check(lambda a: getattr(a, name)(), lambda a: getattr(a, name)(), *both(seed, shape, positive=True), seed)


@st.composite
def reduced(draw):
    """A shape, and what of it is reduced: nothing said, one axis, several."""
    shape = draw(st.lists(SIDE, min_size=1, max_size=4).map(tuple))
    axis = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple)
    return shape, draw(st.none() | axis | several), draw(st.booleans())


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std"])
@given(case=reduced(), seed=SEED)
def test_reductions(name, case, seed):
    shape, dim, keepdim = case
    counted = np.prod(shape) if dim is None else np.prod([shape[d] for d in np.atleast_1d(dim)])
    if name in ("var", "std") and counted < 3:
        shape = tuple(n + 2 for n in shape)  # torch warns of one element; the root of a variance near 0 has no gradient to compare

    def reduce(a):
        return getattr(a, name)() if dim is None else getattr(a, name)(dim=dim, keepdim=keepdim)

    check(reduce, reduce, *both(seed, shape), seed)


@pytest.mark.parametrize("name", ["max", "min"])
@given(case=reduced(), seed=SEED)
def test_extremes(name, case, seed):
    shape, dim, keepdim = case
    if not isinstance(dim, int):
        check(lambda a: getattr(a, name)(), lambda a: getattr(a, name)(), *both(seed, shape), seed)
        return
    ours, theirs = both(seed, shape)
    agree(getattr(ours[0], name)(dim, keepdim).indices, getattr(theirs[0], name)(dim, keepdim).indices)
    agree(getattr(gc, "arg" + name)(ours[0], dim, keepdim), getattr(torch, "arg" + name)(theirs[0], dim, keepdim))
    check(lambda a: getattr(a, name)(dim, keepdim).values, lambda a: getattr(a, name)(dim, keepdim).values, ours, theirs, seed)


def test_ties_share_the_gradient_as_in_torch():
    for f in (lambda m, a: a.max(), lambda m, a: a.min(), lambda m, a: m.maximum(a, a * 1).sum(), lambda m, a: a.max(0).values.sum()):
        a, b = gc.ones(4, requires_grad=True), torch.ones(4, requires_grad=True)
        f(gc, a).backward(), f(torch, b).backward()
        agree(a.grad, b.grad)


@given(case=reduced(), seed=SEED)
def test_softmax(case, seed):
    shape, dim, _ = case
    dim = dim if isinstance(dim, int) else -1
    check(lambda a: gc.softmax(50 * a, dim), lambda a: torch.softmax(50 * a, dim), *both(seed, shape), seed)
    check(lambda a: gc.log_softmax(50 * a, dim), lambda a: torch.log_softmax(50 * a, dim), *both(seed, shape), seed)


@given(lead=st.lists(st.integers(0, 3), max_size=2), n=SIDE, m=SIDE, k=SIDE, seed=SEED, flat=st.sampled_from(["", "a", "b", "ab", "right"]))
def test_matmul(lead, n, m, k, seed, flat):
    a = (m,) if "a" in flat else (*lead, n, m)
    b = (m,) if flat in ("b", "ab") else (m, k) if flat == "right" else (*lead, m, k)
    check(lambda a, b: a @ b, lambda a, b: a @ b, *both(seed, a, b), seed)


@given(lead=st.lists(st.integers(0, 3), max_size=3), n=SIDE, m=SIDE, bias=st.booleans(), seed=SEED)
def test_linear(lead, n, m, bias, seed):
    check(F.linear, TF.linear, *both(seed, (*lead, n), (m, n), *[(m,)] * bias), seed)


KEYS = {
    "last step": np.s_[:, -1, :], "one": np.s_[1], "negative": np.s_[-1, ..., 0], "step": np.s_[::2, 1:], "new axis": np.s_[:, None, 0],
    "list": np.s_[[0, 2, 2]], "lists": np.s_[[0, 1, 1], [1, 0, 0]], "mask": np.s_[np.array([True, False, True])], "all": np.s_[...],
    "empty": np.s_[1:1], "mixed": np.s_[:, [0, 0], 1:],
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_indexing(name, rng):
    key = KEYS[name]
    check(lambda a: a[key], lambda a: a[key], *both(int(rng.integers(2**32)), (3, 2, 4)))
    a, b = gc.zeros(3, 2, 4), torch.zeros(3, 2, 4)
    a[key], b[key] = 5, 5
    agree(a, b)


def test_indexing_by_tensors_and_writing_through_views():
    a, b = gc.arange(12).reshape(3, 4), torch.arange(12).reshape(3, 4)
    agree(a[gc.tensor([2, 0])], b[torch.tensor([2, 0])])
    agree(a[a > 5], b[b > 5])
    agree(a[gc.tensor(1)], b[torch.tensor(1)])
    a[0][1], b[0][1] = 99, 99
    a.T[3] = gc.tensor([7, 8, 9])
    b.T[3] = torch.tensor([7, 8, 9])
    agree(a, b)
    assert [int(v) for v in a[0]] == b[0].tolist()
    assert len(a) == 3
    assert 99 in a


SHAPES = {
    "reshape": lambda m, a: a.reshape(4, -1), "view": lambda m, a: a.view(-1, 3, 2), "flatten": lambda m, a: a.flatten(1),
    "flatten all": lambda m, a: m.flatten(a), "transpose": lambda m, a: a.transpose(0, -1), "permute": lambda m, a: a.permute(2, 0, 1),
    "permute list": lambda m, a: m.permute(a, (1, 2, 0)), "t": lambda m, a: a[0].t(), "T": lambda m, a: a[0].T,
    "unsqueeze": lambda m, a: a.unsqueeze(-1) * a.unsqueeze(2), "squeeze": lambda m, a: a[:1, :, :1].squeeze(),
    "squeeze one": lambda m, a: a[:1].squeeze(0).squeeze(0), "expand": lambda m, a: a[:, :1].expand(-1, 7, -1),
    "expand front": lambda m, a: a.expand(2, 2, 3, 4), "repeat": lambda m, a: a.repeat(2, 1, 1, 3), "flip": lambda m, a: m.flip(a, [1, 2]),
    "cat": lambda m, a: m.cat([a, a * 2, a[:, :1]], 1), "cat last": lambda m, a: m.cat((a, a), -1),
    "stack": lambda m, a: m.stack([a, a * 3], -1), "chunk": lambda m, a: m.cat(a.chunk(3, 2)[::-1], 1),
    "split": lambda m, a: a.split([1, 3], 2)[1], "split even": lambda m, a: a.split(2, 1)[1],
    "unbind": lambda m, a: a.unbind(1)[2] * a.unbind(1)[0], "contiguous": lambda m, a: a.transpose(0, 1).contiguous().view(-1),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, rng):
    check(lambda a: SHAPES[name](gc, a), lambda a: SHAPES[name](torch, a), *both(int(rng.integers(2**32)), (2, 3, 4)))


LOSSES = {
    "mse_loss": {}, "l1_loss": {}, "huber_loss": {"delta": 0.6}, "smooth_l1_loss": {"beta": 0.4}, "binary_cross_entropy_with_logits": {},
}  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
@given(shape=SHAPE, seed=SEED)
def test_losses(name, reduction, shape, seed):
    def loss(f):
        return lambda a, b: getattr(f, name)(a, b, reduction=reduction, **LOSSES[name])

    check(loss(F), loss(TF), *both(seed, shape, shape), seed)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("option", ["plain", "weight", "label_smoothing"])
@given(rest=st.lists(SIDE, max_size=3), classes=SIDE, ignore=st.booleans(), seed=SEED)
def test_cross_entropy(reduction, option, rest, classes, ignore, seed):
    shape = (*rest[:1], classes, *rest[1:])
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, rest)
    if target.ndim and target.size > 1:
        target.flat[0] = -100 if ignore else target.flat[0]
    weight = (rng.random(classes) + 0.5).astype(np.float32)

    def loss(f, tensor):
        more = {} if option == "plain" else {"weight": tensor(weight)} if option == "weight" else {"label_smoothing": 0.3}
        return lambda a: f.cross_entropy(a, tensor(target), reduction=reduction, **more)

    check(loss(F, gc.tensor), loss(TF, torch.tensor), *both(seed, shape), seed)
    if option != "label_smoothing":

        def logs(f, tensor):
            return lambda a: f.nll_loss(f.log_softmax(a, 1 if rest else 0), tensor(target), reduction=reduction)

        check(logs(F, gc.tensor), logs(TF, torch.tensor), *both(seed, shape), seed)


def test_logits_far_out_stay_finite():
    x = gc.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, gc.eye(2)) + F.cross_entropy(x, gc.tensor([0, 0]))
    loss.backward()
    assert np.isfinite(loss.item())
    assert np.isfinite(x.grad.numpy()).all()


ACTIVATIONS = ["relu", "sigmoid", "tanh", "logsigmoid", "softplus", "silu", "leaky_relu"]


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(shape=SHAPE, seed=SEED)
def test_activations(name, shape, seed):
    check(lambda a: getattr(F, name)(3 * a), lambda a: getattr(TF, name)(3 * a), *both(seed, shape), seed)


@given(shape=SHAPE, v=SIDE, d=SIDE, seed=SEED, pad=st.booleans())
def test_embedding(shape, v, d, seed, pad):
    tokens = np.random.default_rng(seed).integers(0, v, shape)
    pad = v - 1 if pad else None
    check(lambda w: F.embedding(gc.tensor(tokens), w, pad), lambda w: TF.embedding(torch.tensor(tokens), w, pad), *both(seed, (v, d)), seed)
    agree(F.one_hot(gc.tensor(tokens), v), TF.one_hot(torch.tensor(tokens), v))


def test_dropout_keeps_the_mean_and_is_nothing_in_evaluation():
    gc.manual_seed(1)
    x = gc.ones(200, 100, requires_grad=True)
    y = F.dropout(x, 0.3)
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.7) < 0.02
    assert np.allclose(y.numpy()[kept], 1 / 0.7)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert F.dropout(x, 0.3, training=False) is x
    assert not F.dropout(x, 1.0).numpy().any()
