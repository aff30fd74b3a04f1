"""The array layer against torch: values, dtypes, shapes, gradients, errors.  Not here: recurrences, layers, optimisers."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import budgets
import gatecell as gc
from gatecell.tensor import functional as F

TF = torch.nn.functional
SIDE = st.integers(1, 5)
SHAPE = st.lists(SIDE, min_size=0, max_size=4).map(tuple)
SEED = st.integers(0, 2**32 - 1)


def both(seed, *shapes, dtype=np.float32, positive=False):
    """The same random numbers as leaves of ours and of torch's, away from 0 so that no kink decides."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in shapes]
    arrays = [np.asarray((np.abs(a) if positive else a) + np.where(a < 0, -0.1, 0.1) * (not positive) + 0.2 * positive, dtype) for a in arrays]
    return [gc.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def agree(ours, theirs, budget=budgets.ARRAY):
    """Same dtype, shape and, to the budget, values."""
    ours, theirs = np.asarray(ours), np.asarray(theirs.detach() if isinstance(theirs, torch.Tensor) else theirs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    scale = max(1.0, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0))) if theirs.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=budget * scale)


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
    **{name: lambda m, a, name=name: getattr(m, name)(a) for name in "abs exp sin cos tanh sigmoid relu".split()},
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
    check(lambda a: getattr(a, name)(dim=dim, keepdim=keepdim) if dim is not None else getattr(a, name)(),
          lambda a: getattr(a, name)(dim=dim, keepdim=keepdim) if dim is not None else getattr(a, name)(), *both(seed, shape), seed)  # fmt: skip


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
    assert len(a) == 3 and 99 in a


SHAPES = {
    "reshape": lambda m, a: a.reshape(4, -1), "view": lambda m, a: a.view(-1, 3, 2), "flatten": lambda m, a: a.flatten(1),
    "flatten all": lambda m, a: m.flatten(a), "transpose": lambda m, a: a.transpose(0, -1), "permute": lambda m, a: a.permute(2, 0, 1),
    "permute list": lambda m, a: m.permute(a, (1, 2, 0)), "t": lambda m, a: a[0].t(), "T": lambda m, a: a[0].T,
    "unsqueeze": lambda m, a: a.unsqueeze(-1) * a.unsqueeze(2), "squeeze": lambda m, a: a[:1, :, :1].squeeze(),
    "squeeze one": lambda m, a: a[:1].squeeze(0).squeeze(0), "expand": lambda m, a: a[:, :1].expand(-1, 7, -1),
    "expand front": lambda m, a: a.expand(2, 2, 3, 4), "repeat": lambda m, a: a.repeat(2, 1, 1, 3), "flip": lambda m, a: m.flip(a, [1, 2]),
    "cat": lambda m, a: m.cat([a, a * 2, a[:, :1]], 1), "cat last": lambda m, a: m.cat((a, a), -1), "stack": lambda m, a: m.stack([a, a * 3], -1),
    "chunk": lambda m, a: m.cat(a.chunk(3, 2)[::-1], 1), "split": lambda m, a: a.split([1, 3], 2)[1], "split even": lambda m, a: a.split(2, 1)[1],
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
        check(lambda a: F.nll_loss(F.log_softmax(a, 1 if rest else 0), gc.tensor(target), reduction=reduction),
              lambda a: TF.nll_loss(TF.log_softmax(a, 1 if rest else 0), torch.tensor(target), reduction=reduction), *both(seed, shape), seed)  # fmt: skip


def test_logits_far_out_stay_finite():
    x = gc.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, gc.eye(2)) + F.cross_entropy(x, gc.tensor([0, 0]))
    loss.backward()
    assert np.isfinite(loss.item()) and np.isfinite(x.grad.numpy()).all()


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
    assert abs(kept.mean() - 0.7) < 0.02 and np.allclose(y.numpy()[kept], 1 / 0.7)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert F.dropout(x, 0.3, training=False) is x and not F.dropout(x, 1.0).numpy().any()


# Types.

DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", [*DTYPES, "number 2", "number 2.5", "number True"])
def test_promotion(a, b):
    def pair(m, flat):
        x = getattr(m, "ones")(() if "a" in flat else (2,), dtype=getattr(m, a))
        if b.startswith("number"):
            return x, {"2": 2, "2.5": 2.5, "True": True}[b.split()[1]]
        return x, m.ones(() if "b" in flat else (2,), dtype=getattr(m, b))

    for flat in ("", "a", "b", "ab"):
        for f in (lambda x, y: x + y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x == y):
            agree(f(*pair(gc, flat)), f(*pair(torch, flat)))


@pytest.mark.parametrize("data", [1, 1.5, True, [1, 2], [1, 2.5], [[True]], [], np.ones(3), np.float32(2), np.arange(3), [np.float64(1)]], ids=repr)
def test_dtype_of_data(data):
    agree(gc.tensor(data), torch.tensor(data))


def test_integers_become_floats_where_torch_says_so():
    for f in ("exp", "sqrt", "sin", "sigmoid", "tanh", "log"):
        agree(getattr(gc.arange(1, 4), f)(), getattr(torch.arange(1, 4), f)())
    agree(gc.ones(3, dtype=gc.int8).sum(), torch.ones(3, dtype=torch.int8).sum())
    agree((gc.arange(5) > 1).sum(), (torch.arange(5) > 1).sum())
    agree(gc.arange(0, 1, 0.25), torch.arange(0, 1, 0.25))
    agree(gc.arange(5, 2, -1), torch.arange(5, 2, -1))
    agree(gc.linspace(0, 1, 5), torch.linspace(0, 1, 5))
    agree(gc.full((2,), 3), torch.full((2,), 3))
    agree(gc.full((2,), 3.0), torch.full((2,), 3.0))


def test_numpy_in_and_out():
    a = np.arange(6.0).reshape(2, 3)
    t = gc.from_numpy(a)
    a[0, 0] = 9
    assert t[0, 0].item() == 9 and t.numpy() is a and np.asarray(t) is a
    assert np.array(t, copy=True) is not a and np.asarray(t, np.float32).dtype == np.float32
    assert isinstance(np.float64(2) * t, gc.Tensor) and isinstance(np.exp(t), np.ndarray)
    assert gc.tensor(t).numpy() is not a
    assert f"{gc.tensor(1.23456):.2f}" == "1.23" and float(gc.tensor(2)) == 2.0 and [0, 1, 2][gc.tensor(1)] == 1


def test_devices_are_the_cpu():
    x = gc.ones(2)
    assert x.to("cpu") is x and x.to(gc.device("cpu" if not gc.cuda.is_available() else "cuda")) is x and x.cpu() is x
    assert x.device == "cpu" and x.device.type == "cpu" and x.to("cpu", gc.float64).dtype == gc.float64
    with pytest.raises(ValueError, match="cpu"):
        x.to("cuda")


# The tape.


def test_gradients_accumulate_and_do_not_share_memory():
    a, b = gc.ones(3, requires_grad=True), gc.ones(3, requires_grad=True)
    (a + b).sum().backward()
    a.grad.data *= 5
    assert a.grad.tolist() == [5, 5, 5] and b.grad.tolist() == [1, 1, 1]
    (a * a).sum().backward()
    assert a.grad.tolist() == [7, 7, 7]


def test_a_value_used_many_times():
    (a,), (b,) = both(3, (4,))
    y, z = a, b
    for _ in range(5):
        y, z = y * a + y.sum(), z * b + z.sum()
    y.sum().backward(), z.sum().backward()
    agree(a.grad, b.grad)


def test_backward_twice():
    x = gc.ones(2, requires_grad=True)
    shared = x * 3
    y = (shared * 2).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [12, 12]
    other = (shared + x).sum()
    for again in (y, other):
        with pytest.raises(RuntimeError, match="second time"):
            again.backward()
    assert x.grad.tolist() == [12, 12], "a refused backward changes nothing"


def test_backward_of_what_has_no_gradient_or_no_single_number():
    with pytest.raises(RuntimeError, match="requires no gradient"):
        gc.ones(1).backward()
    with pytest.raises(ValueError, match="one element"):
        (gc.ones(2, requires_grad=True) * 2).backward()
    x = gc.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="shape"):
        (x * 2).backward(gc.ones(3))
    (x * 2).backward(gc.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]


def test_no_grad_as_context_and_decorator_and_per_thread():
    x = gc.ones(2, requires_grad=True)

    @gc.no_grad()
    def f():
        return x * 2

    @gc.no_grad
    def g():
        return x * 2

    with gc.no_grad():
        assert not (x * 2).requires_grad and not gc.is_grad_enabled()
        with gc.enable_grad():
            assert (x * 2).requires_grad
        seen = []
        thread = threading.Thread(target=lambda: seen.append(gc.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True] and not f().requires_grad and not g().requires_grad and gc.is_grad_enabled()
    with pytest.raises(KeyError), gc.no_grad():
        raise KeyError
    assert gc.is_grad_enabled()
    with gc.set_grad_enabled(False):
        assert not (x * 2).requires_grad


def test_detach_cuts_and_shares():
    x = gc.ones(2, requires_grad=True)
    d = (x * 2).detach()
    assert not d.requires_grad and d.node is None and np.shares_memory(x.detach().numpy(), x.numpy())


def test_updates_in_place_outside_the_tape_only():
    p = gc.ones(3, requires_grad=True)
    alias = p
    (p * p).sum().backward()
    with gc.no_grad():
        p -= 0.5 * p.grad
        p[0] = 7
    assert alias is p and p.tolist() == [7, 0, 0] and p.requires_grad
    for change in (lambda: p.__iadd__(1), lambda: p.__setitem__(0, 1), p.zero_, lambda: p.copy_(gc.ones(3)), lambda: p.fill_(2)):
        with pytest.raises(RuntimeError):
            change()
    fixed = gc.zeros(3)
    with pytest.raises(RuntimeError):
        fixed[0] = p[0]
    assert p.tolist() == [7, 0, 0] and not fixed.numpy().any()
    total = gc.zeros(())
    for _ in range(3):
        total += (p * 2).sum()  # torch's idiom: the name moves on along the tape
    p.grad = None
    total.backward()
    assert p.grad.tolist() == [6, 6, 6]
    counts = gc.zeros(2, dtype=gc.int64)
    with pytest.raises(TypeError):
        counts += 0.5


def test_long_chains_neither_overflow_the_stack_nor_slow_down():
    x = gc.ones(1, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 50_001
    for _ in range(50_000):
        y = y + x
    del y  # freeing a chain is a recursion too


def test_gradients_of_an_unused_branch_are_none_and_of_float64_are_float64():
    a, b = gc.ones(2, dtype=gc.float64, requires_grad=True), gc.ones(2, requires_grad=True)
    (a * 2).sum().backward()
    assert b.grad is None and a.grad.dtype == gc.float64
    a.grad = None
    (a * b).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (gc.float64, gc.float32)


# The random stream.


def test_seeds_repeat_and_bounds_hold():
    def draw():
        return [gc.randn(3), gc.rand(2, 2), gc.randint(0, 9, (4,)), gc.randperm(5), F.dropout(gc.ones(9), 0.5), gc.multinomial(gc.ones(5), 3)]

    gc.manual_seed(5)
    state = gc.get_rng_state()
    first, second = draw(), draw()
    gc.manual_seed(5)
    again = draw()
    gc.set_rng_state(state)
    for a, b, c in zip(first, again, draw(), strict=True):
        assert gc.equal(a, b) and gc.equal(a, c)
    assert not gc.equal(first[0], second[0])
    x = gc.randint(-3, 4, (2000,)).numpy()
    assert x.min() == -3 and x.max() == 3 and x.dtype == np.int64
    assert abs(gc.randn(20_000).numpy().std() - 1) < 0.02 and sorted(gc.randperm(6).tolist()) == list(range(6))
    picked = gc.multinomial(gc.tensor([[0.0, 1.0, 3.0]]), 4000, replacement=True).numpy()
    assert picked.shape == (1, 4000) and abs((picked == 2).mean() - 0.75) < 0.03 and not (picked == 0).any()


# Bad input: a typed error that says what was wanted.

X, N = gc.ones(2, 3), gc.ones(2, 3, dtype=gc.int64)
BAD = {
    "ragged": (lambda: gc.tensor([[1], [1, 2]]), ValueError), "text": (lambda: gc.tensor("abc"), TypeError),
    "complex": (lambda: gc.tensor(1j), TypeError), "objects": (lambda: gc.tensor([None]), TypeError),
    "dtype": (lambda: gc.ones(2, dtype="complex64"), TypeError), "unsupported array": (lambda: gc.from_numpy(np.ones(2, np.float16)), TypeError),
    "not an array": (lambda: gc.from_numpy([1]), TypeError), "negative size": (lambda: gc.zeros(2, -1), ValueError),
    "integer gradient": (lambda: gc.ones(2, dtype=gc.int64, requires_grad=True), TypeError), "broadcast": (lambda: X + gc.ones(4), ValueError),
    "array operand": (lambda: X + np.ones(3), TypeError), "array on the left": (lambda: np.ones(3) * X, TypeError),
    "text operand": (lambda: X * "a", TypeError), "matmul shapes": (lambda: X @ X, ValueError), "matmul dtypes": (lambda: X @ X.T.double(), TypeError),
    "matmul array": (lambda: X @ np.ones((3, 2)), TypeError), "matmul scalar": (lambda: X @ gc.tensor(1.0), ValueError),
    "reshape": (lambda: X.reshape(4), ValueError), "axis": (lambda: X.sum(2), IndexError), "permute": (lambda: X.permute(0, 0), ValueError),
    "expand": (lambda: X.expand(4, 3), ValueError), "index": (lambda: X[5], IndexError), "too many": (lambda: X[0, 0, 0], IndexError),
    "mean of integers": (lambda: N.mean(), TypeError), "item": (lambda: X.item(), ValueError), "truth": (lambda: bool(X), ValueError),
    "len": (lambda: len(gc.tensor(1)), TypeError), "max of nothing": (lambda: gc.zeros(0).max(), ValueError),
    "cat nothing": (lambda: gc.cat([]), TypeError), "cat a tensor": (lambda: gc.cat(X), TypeError), "cat shapes": (lambda: gc.cat([X, gc.ones(2, 2)]), ValueError),
    "stack shapes": (lambda: gc.stack([X, gc.ones(2, 2)]), ValueError), "where": (lambda: gc.where(X, X, X), TypeError),
    "mse shapes": (lambda: F.mse_loss(gc.ones(3, 1), gc.ones(3)), ValueError), "mse integers": (lambda: F.mse_loss(N, N), TypeError),
    "mse array": (lambda: F.mse_loss(X, np.ones((2, 3))), TypeError), "reduction": (lambda: F.mse_loss(X, X, reduction="avg"), ValueError),
    "class beyond": (lambda: F.cross_entropy(X, gc.tensor([0, 3])), ValueError), "class negative": (lambda: F.cross_entropy(X, gc.tensor([0, -1])), ValueError),
    "class shape": (lambda: F.cross_entropy(X, gc.tensor([0, 1, 2])), ValueError), "class dtype": (lambda: F.cross_entropy(X, gc.ones(2)), TypeError),
    "class weight": (lambda: F.cross_entropy(X, gc.tensor([0, 1]), weight=gc.ones(2)), ValueError), "linear": (lambda: F.linear(X, gc.ones(4, 2)), ValueError),
    "linear dtype": (lambda: F.linear(X.double(), gc.ones(4, 3)), TypeError), "linear bias": (lambda: F.linear(X, gc.ones(4, 3), gc.ones(3)), ValueError),
    "token beyond": (lambda: F.embedding(gc.tensor([4]), gc.ones(4, 2)), IndexError), "token float": (lambda: F.embedding(X, gc.ones(4, 2)), TypeError),
    "dropout": (lambda: F.dropout(X, 1.5), ValueError), "seed": (lambda: gc.manual_seed("a"), TypeError), "randint": (lambda: gc.randint(3, 3, (2,)), ValueError),
    "randn dtype": (lambda: gc.randn(2, dtype=gc.int64), TypeError), "multinomial": (lambda: gc.multinomial(gc.zeros(3), 1), ValueError),
    "split": (lambda: X.split([1, 1], 1), ValueError), "no such name": (lambda: gc.fft, AttributeError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error = BAD[name]
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error or issubclass(caught.type, error)
    assert str(caught.value)


def test_every_public_name_is_there():
    for name in set(gc.__all__) - {"fit", "Stream", "quantize", "export_c", "save", "load", "load_state", "cpu", "set_num_threads", "get_num_threads"}:
        assert getattr(gc, name) is not None
