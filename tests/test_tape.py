"""What tensors are: types, the tape, changes in place, random numbers, errors.  Not here: what operations compute (test_tensor.py)."""

import copy
import threading

import numpy as np
import pytest
import torch

import gatecell as gc
from gatecell.tensor import functional as F
from parity import agree, both

# Types.

DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", [*DTYPES, "number 2", "number 2.5", "number True"])
def test_promotion(a, b):
    def pair(m, flat):
        x = m.ones(() if "a" in flat else (2,), dtype=getattr(m, a))
        if b.startswith("number"):
            return x, {"2": 2, "2.5": 2.5, "True": True}[b.split()[1]]
        return x, m.ones(() if "b" in flat else (2,), dtype=getattr(m, b))

    for flat in ("", "a", "b", "ab"):
        for f in (lambda x, y: x + y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x == y):
            agree(f(*pair(gc, flat)), f(*pair(torch, flat)))


@pytest.mark.parametrize(
    "data", [1, 1.5, True, [1, 2], [1, 2.5], [[True]], [], np.ones(3), np.float32(2), np.arange(3), [np.float64(1)]], ids=repr
)
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
    assert t[0, 0].item() == 9
    assert t.numpy() is a
    assert np.asarray(t) is a
    assert np.array(t, copy=True) is not a
    assert np.asarray(t, np.float32).dtype == np.float32
    assert isinstance(np.float64(2) * t, gc.Tensor)
    assert isinstance(np.exp(t), np.ndarray)
    assert gc.tensor(t).numpy() is not a
    assert f"{gc.tensor(1.23456):.2f}" == "1.23"
    assert float(gc.tensor(2)) == 2.0
    assert [0, 1, 2][gc.tensor(1)] == 1


def test_the_constructor_and_the_older_names():
    agree(gc.Tensor([1, 2]), torch.Tensor([1, 2]))
    agree(gc.FloatTensor([[1, 2]]), torch.FloatTensor([[1, 2]]))
    agree(gc.LongTensor([1, 2]), torch.LongTensor([1, 2]))
    assert gc.Tensor(np.ones(2)).dtype == gc.float64


def test_copies_are_independent():
    x = gc.ones(2, requires_grad=True)
    y = copy.deepcopy(x)
    with gc.no_grad():
        y.add_(1, alpha=2).mul_(2).sub_(1).div_(5)
    assert x.tolist() == [1, 1]
    assert y.tolist() == [1, 1]
    assert y.requires_grad


def test_devices_are_the_cpu():
    x = gc.ones(2)
    assert x.to("cpu") is x
    assert x.to(gc.device("cpu" if not gc.cuda.is_available() else "cuda")) is x
    assert x.cpu() is x
    assert x.device == "cpu"
    assert x.device.type == "cpu"
    assert x.to("cpu", gc.float64).dtype == gc.float64
    with pytest.raises(ValueError, match="cpu"):
        x.to("cuda")


# The tape.


def test_gradients_accumulate_and_do_not_share_memory():
    a, b = gc.ones(3, requires_grad=True), gc.ones(3, requires_grad=True)
    (a + b).sum().backward()
    a.grad.data *= 5
    assert a.grad.tolist() == [5, 5, 5]
    assert b.grad.tolist() == [1, 1, 1]
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
        assert not (x * 2).requires_grad
        assert not gc.is_grad_enabled()
        with gc.enable_grad():
            assert (x * 2).requires_grad
        seen = []
        thread = threading.Thread(target=lambda: seen.append(gc.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]
    assert not f().requires_grad
    assert not g().requires_grad
    assert gc.is_grad_enabled()
    with pytest.raises(KeyError), gc.no_grad():
        raise KeyError
    assert gc.is_grad_enabled()
    with gc.set_grad_enabled(False):
        assert not (x * 2).requires_grad


def test_detach_cuts_and_shares():
    x = gc.ones(2, requires_grad=True)
    d = (x * 2).detach()
    assert not d.requires_grad
    assert d.node is None
    assert np.shares_memory(x.detach().numpy(), x.numpy())


SHARES = {
    "element": lambda a: a[1, 2],
    "row": lambda a: a[1],
    "slice": lambda a: a[:, ::2],
    "index": lambda a: a[[0, 1]],
    "mask": lambda a: a[a > 0],
    "transpose": lambda a: a.T,
    "reshape": lambda a: a.reshape(-1),
    "reshape across": lambda a: a.T.reshape(-1),
    "expand": lambda a: a[:1].expand(4, 3),
    "flip": lambda a: a.flip(0),
    "contiguous": lambda a: a.contiguous(),
    "contiguous across": lambda a: a.T.contiguous(),
    "clone": lambda a: a.T.clone(),
    "detach": lambda a: a.detach(),
    "squeeze": lambda a: a.unsqueeze(1).squeeze(),
    "chunk": lambda a: a.chunk(2)[1],
}


@pytest.mark.parametrize("name", SHARES)
def test_memory_is_shared_where_torch_shares_it(name):
    a, b = gc.ones(2, 3), torch.ones(2, 3)
    ours, theirs = SHARES[name](a), SHARES[name](b)
    assert np.shares_memory(ours.numpy(), a.numpy()) == np.shares_memory(theirs.numpy(), b.numpy())
    assert (ours.version is a.version) == np.shares_memory(ours.numpy(), a.numpy())
    assert ours.numpy().flags.c_contiguous == theirs.is_contiguous()


def test_updates_in_place_outside_the_tape_only():
    p = gc.ones(3, requires_grad=True)
    alias = p
    (p * p).sum().backward()
    with gc.no_grad():
        p -= 0.5 * p.grad
        p[0] = 7
    assert alias is p
    assert p.tolist() == [7, 0, 0]
    assert p.requires_grad
    add, put = (lambda: p.__iadd__(1)), (lambda: p.__setitem__(0, 1))
    for change in (add, put, p.zero_, lambda: p.copy_(gc.ones(3)), lambda: p.fill_(2), lambda: p.add_(1)):
        with pytest.raises(RuntimeError):
            change()
    fixed = gc.zeros(3)
    with pytest.raises(RuntimeError):
        fixed[0] = p[0]
    assert p.tolist() == [7, 0, 0]
    assert not fixed.numpy().any()
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
    assert b.grad is None
    assert a.grad.dtype == gc.float64
    a.grad = None
    (a * b).sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (gc.float64, gc.float32)


# The random stream.


def test_seeds_repeat_and_bounds_hold():
    def draw():
        return [
            gc.randn(3),
            gc.rand(2, 2),
            gc.randint(0, 9, (4,)),
            gc.randperm(5),
            F.dropout(gc.ones(9), 0.5),
            gc.multinomial(gc.ones(5), 3),
        ]

    gc.manual_seed(5)
    state = gc.get_rng_state()
    first, second = draw(), draw()
    gc.manual_seed(5)
    again = draw()
    gc.set_rng_state(state)
    for a, b, c in zip(first, again, draw(), strict=True):
        assert gc.equal(a, b)
        assert gc.equal(a, c)
    assert not gc.equal(first[0], second[0])
    x = gc.randint(-3, 4, (2000,)).numpy()
    assert x.min() == -3
    assert x.max() == 3
    assert x.dtype == np.int64
    assert abs(gc.randn(20_000).numpy().std() - 1) < 0.02
    assert sorted(gc.randperm(6).tolist()) == list(range(6))
    picked = gc.multinomial(gc.tensor([[0.0, 1.0, 3.0]]), 4000, replacement=True).numpy()
    assert picked.shape == (1, 4000)
    assert abs((picked == 2).mean() - 0.75) < 0.03
    assert not (picked == 0).any()


# Bad input: a typed error that says what was wanted.

X, N = gc.ones(2, 3), gc.ones(2, 3, dtype=gc.int64)
BAD = {
    "ragged": (lambda: gc.tensor([[1], [1, 2]]), ValueError),
    "text": (lambda: gc.tensor("abc"), TypeError),
    "complex": (lambda: gc.tensor(1j), TypeError),
    "objects": (lambda: gc.tensor([None]), TypeError),
    "dtype": (lambda: gc.ones(2, dtype="complex64"), TypeError),
    "unsupported array": (lambda: gc.from_numpy(np.ones(2, np.float16)), TypeError),
    "not an array": (lambda: gc.from_numpy([1]), TypeError),
    "negative size": (lambda: gc.zeros(2, -1), ValueError),
    "integer gradient": (lambda: gc.ones(2, dtype=gc.int64, requires_grad=True), TypeError),
    "broadcast": (lambda: X + gc.ones(4), ValueError),
    "array operand": (lambda: X + np.ones(3), TypeError),
    "array on the left": (lambda: np.ones(3) * X, TypeError),
    "text operand": (lambda: X * "a", TypeError),
    "matmul shapes": (lambda: X @ X, ValueError),
    "matmul dtypes": (lambda: X @ X.T.double(), TypeError),
    "matmul array": (lambda: X @ np.ones((3, 2)), TypeError),
    "matmul scalar": (lambda: X @ gc.tensor(1.0), ValueError),
    "reshape": (lambda: X.reshape(4), ValueError),
    "axis": (lambda: X.sum(2), IndexError),
    "permute": (lambda: X.permute(0, 0), ValueError),
    "expand": (lambda: X.expand(4, 3), ValueError),
    "index": (lambda: X[5], IndexError),
    "too many": (lambda: X[0, 0, 0], IndexError),
    "mean of integers": (lambda: N.mean(), TypeError),
    "item": (lambda: X.item(), ValueError),
    "truth": (lambda: bool(X), ValueError),
    "len": (lambda: len(gc.tensor(1)), TypeError),
    "max of nothing": (lambda: gc.zeros(0).max(), ValueError),
    "cat nothing": (lambda: gc.cat([]), TypeError),
    "cat a tensor": (lambda: gc.cat(X), TypeError),
    "cat shapes": (lambda: gc.cat([X, gc.ones(2, 2)]), ValueError),
    "stack shapes": (lambda: gc.stack([X, gc.ones(2, 2)]), ValueError),
    "where": (lambda: gc.where(X, X, X), TypeError),
    "mse shapes": (lambda: F.mse_loss(gc.ones(3, 1), gc.ones(3)), ValueError),
    "mse integers": (lambda: F.mse_loss(N, N), TypeError),
    "mse array": (lambda: F.mse_loss(X, np.ones((2, 3))), TypeError),
    "reduction": (lambda: F.mse_loss(X, X, reduction="avg"), ValueError),
    "class beyond": (lambda: F.cross_entropy(X, gc.tensor([0, 3])), ValueError),
    "class negative": (lambda: F.cross_entropy(X, gc.tensor([0, -1])), ValueError),
    "class shape": (lambda: F.cross_entropy(X, gc.tensor([0, 1, 2])), ValueError),
    "class dtype": (lambda: F.cross_entropy(X, gc.ones(2)), TypeError),
    "class weight": (lambda: F.cross_entropy(X, gc.tensor([0, 1]), weight=gc.ones(2)), ValueError),
    "linear": (lambda: F.linear(X, gc.ones(4, 2)), ValueError),
    "linear dtype": (lambda: F.linear(X.double(), gc.ones(4, 3)), TypeError),
    "linear bias": (lambda: F.linear(X, gc.ones(4, 3), gc.ones(3)), ValueError),
    "token beyond": (lambda: F.embedding(gc.tensor([4]), gc.ones(4, 2)), IndexError),
    "token float": (lambda: F.embedding(X, gc.ones(4, 2)), TypeError),
    "dropout": (lambda: F.dropout(X, 1.5), ValueError),
    "seed": (lambda: gc.manual_seed("a"), TypeError),
    "randint": (lambda: gc.randint(3, 3, (2,)), ValueError),
    "randn dtype": (lambda: gc.randn(2, dtype=gc.int64), TypeError),
    "multinomial": (lambda: gc.multinomial(gc.zeros(3), 1), ValueError),
    "split": (lambda: X.split([1, 1], 1), ValueError),
    "no such name": (lambda: gc.fft, AttributeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error = BAD[name]
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error or issubclass(caught.type, error)
    assert str(caught.value)


def test_every_public_name_is_there():
    for name in gc.__all__:
        assert getattr(gc, name) is not None
