"""nn.utils.rnn against torch's: the same programs over both, functions and recurrent layers, values, gradients and refusals."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import budgets
import gatecell
import parity
from gatecell import nn
from gatecell.nn.utils.rnn import PackedSequence, pack_padded_sequence

torch.set_num_threads(1)

T, B = 7, 5
LENGTHS = {"sorted": [7, 5, 5, 2, 1], "unsorted": [3, 7, 1, 7, 4], "equal": [7] * 5, "shorter than T": [2, 5, 1, 5, 3]}
OURS, THEIRS = SimpleNamespace(rnn=nn.utils.rnn, tensor=gatecell.tensor), SimpleNamespace(rnn=torch.nn.utils.rnn, tensor=torch.tensor)

# name -> a function of (names, one leaf of shape (7, 5, 3)) to the Tensor that is compared, with its gradient.
PROGRAMS = {
    "pack": lambda m, x: m.rnn.pack_padded_sequence(x, [6, 6, 3, 2, 1]).data,
    "pack, batch first": lambda m, x: m.rnn.pack_padded_sequence(x, [5, 5, 4, 4, 3, 1, 1], batch_first=True).data,
    "pack, unsorted": lambda m, x: m.rnn.pack_padded_sequence(x, [1, 6, 2, 6, 3], enforce_sorted=False).data,
    "lengths in a tensor": lambda m, x: m.rnn.pack_padded_sequence(x, m.tensor([1, 6, 2, 6, 3]), enforce_sorted=False).data,
    "pack, one feature": lambda m, x: m.rnn.pack_padded_sequence(x[:, :, 0], [7, 6, 3, 2, 1]).data,
    "pack, two feature axes": lambda m, x: m.rnn.pack_padded_sequence(x[..., None], [7, 6, 3, 2, 1]).data,
    "there and back": lambda m, x: m.rnn.pad_packed_sequence(m.rnn.pack_padded_sequence(x, [3, 7, 1, 4, 4], enforce_sorted=False))[0],
    "back, batch first": lambda m, x: m.rnn.pad_packed_sequence(m.rnn.pack_padded_sequence(x, [5, 4, 4, 2, 1]), True, -1.5, 9)[0],
    "back, both batch first": lambda m, x: m.rnn.pad_packed_sequence(
        m.rnn.pack_padded_sequence(x, [5, 1, 4, 3, 3, 1, 2], True, False), True, 0.5
    )[0],
    "lengths back": lambda m, x: x[0, :, 0] * m.rnn.pad_packed_sequence(
        m.rnn.pack_padded_sequence(x, [3, 7, 1, 4, 4], enforce_sorted=False)
    )[1],
    "pad": lambda m, x: m.rnn.pad_sequence([x[:4, 0], x[:7, 1], x[:1, 2]]),
    "pad, batch first": lambda m, x: m.rnn.pad_sequence([x[:4, 0], x[:7, 1], x[:1, 2]], batch_first=True, padding_value=2.5),
    "pad on the left": lambda m, x: m.rnn.pad_sequence([x[:4, 0], x[:7, 1], x[:1, 2]], padding_side="left"),
    "pack sequences": lambda m, x: m.rnn.pack_sequence([x[:6, 0], x[:2, 1], x[:1, 2]]).data,
    "pack unsorted sequences": lambda m, x: m.rnn.pack_sequence([x[:2, 0], x[:6, 1], x[:6, 2]], enforce_sorted=False).data,
    "unpack": lambda m, x: m.rnn.unpack_sequence(m.rnn.pack_sequence([x[:2, 0], x[:6, 1]], enforce_sorted=False))[1],
    "unpad": lambda m, x: m.rnn.unpad_sequence(x, m.tensor([3, 7, 1, 4, 4]), batch_first=False)[1],
    "made by hand": lambda m, x: m.rnn.pad_packed_sequence(m.rnn.PackedSequence(x[0], m.tensor([3, 2])))[0],
    "made of a pair": lambda m, x: m.rnn.pad_packed_sequence(m.rnn.PackedSequence((x[0], m.tensor([3, 2])), None, m.tensor([2, 0, 1])))[0],
    "made with both orders": lambda m, x: m.rnn.pad_packed_sequence(
        m.rnn.PackedSequence(x[0], m.tensor([2, 2, 1]), m.tensor([1, 0]), m.tensor([1, 0]))
    )[0],
    "unpacked by name": lambda m, x: m.rnn.pack_padded_sequence(x, [7, 6, 3, 2, 1])._replace(data=x[0]).data,
    "of another type": lambda m, x: m.rnn.pack_padded_sequence(x, [7, 6, 3, 2, 1]).double().float().data,
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_functions(name, rng):
    ours, theirs = parity.both(int(rng.integers(1000)), (T, B, 3))
    # torch's unpad_sequence turns its argument in place, which a leaf that requires a gradient refuses
    leaves = [t * 1 for t in theirs] if name == "unpad" else theirs
    y, z = PROGRAMS[name](OURS, *ours), PROGRAMS[name](THEIRS, *leaves)
    parity.agree(y, z, 0)
    weight = rng.normal(size=z.shape).astype(np.float32)
    (y * gatecell.tensor(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    parity.agree(ours[0].grad, theirs[0].grad)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_fields(lengths, rng):
    x = rng.normal(size=(T, B, 2)).astype(np.float32)
    ours, theirs = (
        m.rnn.pack_padded_sequence(m.tensor(x), LENGTHS[lengths], enforce_sorted=lengths == "sorted") for m in (OURS, THEIRS)
    )
    for mine, want in zip(ours, theirs, strict=True):
        assert (mine is None) == (want is None)
        if mine is not None:
            parity.agree(mine, want, 0)
    assert type(ours)._fields == type(theirs)._fields and ours.places()[0].dtype == np.int64
    for mine, want in zip(nn.utils.rnn.pad_packed_sequence(ours), torch.nn.utils.rnn.pad_packed_sequence(theirs), strict=True):
        parity.agree(mine, want, 0)


def test_integers_pack_as_labels_do():
    labels = np.arange(T * B).reshape(T, B)
    mine, want = (m.rnn.pack_padded_sequence(m.tensor(labels), [3, 7, 1, 7, 4], enforce_sorted=False) for m in (OURS, THEIRS))
    parity.agree(mine.data, want.data, 0)


CASES = {
    f"{cell}-{layers}-{'bi-' * both}{lengths}{'-batch first' * first}": (cell, layers, both, lengths, first)
    for cell, (layers, both, lengths), first in itertools.product(
        ("LSTM", "GRU", "RNN"),
        ((1, False, "sorted"), (2, True, "unsorted"), (1, True, "equal"), (2, False, "shorter than T")), (False, True),
    )
}  # fmt: skip


@pytest.mark.parametrize(("cell", "layers", "both", "lengths", "first"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("started", [False, True])
def test_layers(cell, layers, both, lengths, first, started, rng):
    """A program of torch's, packed in and out, with the states in the order of the batch; judged by torch in float64."""
    I, H, options = 3, 17, dict(num_layers=layers, bidirectional=both, batch_first=first)
    theirs = getattr(torch.nn, cell)(I, H, **options).double()
    ours = getattr(nn, cell)(I, H, **options)
    ours.load_state_dict(theirs.state_dict())
    x = rng.normal(size=(B, T, I) if first else (T, B, I))
    starts = [rng.normal(size=(layers * (1 + both), B, H)) for _ in range(2 if cell == "LSTM" else 1)]

    def program(m, layer, leaf):
        x_, starts_ = leaf(x), [leaf(s) for s in starts]
        packed = m.rnn.pack_padded_sequence(x_, LENGTHS[lengths], first, enforce_sorted=lengths == "sorted")
        y, last = layer(packed, None if not started else tuple(starts_) if len(starts_) > 1 else starts_[0])
        assert isinstance(y, m.rnn.PackedSequence)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            assert getattr(y, name) is getattr(packed, name) or np.array_equal(getattr(y, name), getattr(packed, name))
        last = last if isinstance(last, tuple) else (last,)
        padded, counts = m.rnn.pad_packed_sequence(y, first)
        weights = [np.random.default_rng(3).normal(size=tuple(t.shape)) for t in (y.data, *last)]
        loss = sum((t * leaf(w).detach()).sum() for t, w in zip((y.data, *last), weights, strict=True))
        loss.backward()
        return [y.data, padded, *last, x_.grad, *(s.grad for s in starts_ * started), *(p.grad for p in layer.parameters())], counts

    mine, counts = program(OURS, ours, lambda a: gatecell.tensor(a.astype(np.float32), requires_grad=True))
    want, lengths_ = program(THEIRS, theirs, lambda a: torch.tensor(a, requires_grad=True))
    assert np.array_equal(counts, lengths_)
    for a, b in zip(mine, want, strict=True):
        parity.close(a, b, budgets.TORCH_GRADIENT)


def test_packed_is_lengths_to_the_bit(rng):
    model = nn.GRU(3, 9, num_layers=2, bidirectional=True)
    x, counts = gatecell.tensor(rng.normal(size=(T, B, 3)).astype(np.float32)), [3, 6, 1, 7, 4]
    y, last = model(x, lengths=counts)
    packed, ends = model(pack_padded_sequence(x, counts, enforce_sorted=False))
    assert np.array_equal(nn.utils.rnn.pad_packed_sequence(packed)[0].data, y.data) and np.array_equal(ends.data, last.data)


X = gatecell.zeros(4, 3, 2)
REFUSED = {
    "no Tensor": (lambda r: r.pack_padded_sequence(np.zeros((4, 3)), [1, 1, 1]), TypeError, "a Tensor wanted"),
    "one axis": (lambda r: r.pack_padded_sequence(gatecell.zeros(4), [1]), ValueError, "time and batch"),
    "not sorted": (lambda r: r.pack_padded_sequence(X, [1, 4, 2]), ValueError, "the longest first"),
    "too few": (lambda r: r.pack_padded_sequence(X, [4, 2]), ValueError, r"shape \(3,\)"),
    "too long": (lambda r: r.pack_padded_sequence(X, [5, 2, 1]), ValueError, "1 to 4"),
    "nothing": (lambda r: r.pack_padded_sequence(X, [4, 2, 0]), ValueError, "1 to 4"),
    "halves": (lambda r: r.pack_padded_sequence(X, [4.0, 2.5, 1]), TypeError, "integers"),
    "pad what is not packed": (lambda r: r.pad_packed_sequence(X), TypeError, "PackedSequence"),
    "too short a total": (lambda r: r.pad_packed_sequence(r.pack_padded_sequence(X, [4, 2, 1]), total_length=3), ValueError, "at least"),
    "no sequences": (lambda r: r.pad_sequence([]), ValueError, "at least one"),
    "one number": (lambda r: r.pad_sequence(3), TypeError, "several"),
    "features differ": (lambda r: r.pad_sequence([X[:, 0], X[:, 0, :1]]), ValueError, "differ in L alone"),
    "neither side": (lambda r: r.pad_sequence([X], padding_side="middle"), ValueError, "padding_side"),
    "empty sequence": (lambda r: r.pack_sequence([X[:, 0], X[:0, 0]]), ValueError, "1 to 4"),
    "sizes grow": (lambda r: r.PackedSequence(X[0], gatecell.tensor([1, 2])), ValueError, "never grow"),
    "sizes of more": (lambda r: r.PackedSequence(X[0], gatecell.tensor([3, 2])), ValueError, "add up"),
    "order that is none": (lambda r: r.PackedSequence(X[0], gatecell.tensor([2, 1]), gatecell.tensor([0, 0])), ValueError, "each once"),
    "lengths twice": (lambda r: nn.GRU(2, 3)(r.pack_padded_sequence(X, [4, 2, 1]), lengths=[4, 2, 1]), ValueError, "lengths"),
    "other features": (lambda r: nn.GRU(5, 3)(r.pack_padded_sequence(X, [4, 2, 1])), ValueError, "5 features"),
    "a step of a cell": (lambda r: nn.GRUCell(2, 3)(r.pack_padded_sequence(X, [4, 2, 1])), TypeError, "PackedSequence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_was_wanted(name):
    program, error, says = REFUSED[name]
    with pytest.raises(error, match=says):
        program(nn.utils.rnn)


def test_a_model_that_packs_cannot_stream():
    class Packs(nn.Module):
        def __init__(self):
            self.rnn = nn.GRU(2, 3)

        def forward(self, x):
            return nn.utils.rnn.pad_packed_sequence(self.rnn(pack_padded_sequence(x, [x.shape[0]] * x.shape[1]))[0])[0]

    with pytest.raises(gatecell.Unsupported, match="test_packed.py"):
        gatecell.Stream(Packs())


def test_copies_and_types_keep_the_order():
    packed = pack_padded_sequence(X, [2, 4, 1], enforce_sorted=False)
    assert isinstance(packed.double(), PackedSequence) and packed.double().data.dtype == np.float64
    assert packed.to(np.float64).sorted_indices is packed.sorted_indices and packed.cpu() is packed
