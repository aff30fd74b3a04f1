"""Every way of writing in place between forward and backward, and programs in which it happens: noticed exactly where torch notices.

Each program runs on both: torch says what is right.  Not here: what each operation needs (test_versions.py), writes that are refused at
once (test_tape.py).
"""

import pytest
import torch

import gatecell as gc
from parity import outcome, same, values


def leaf(m):
    return values(m, 2, 3).requires_grad_()


def layer(m):
    """A linear layer of known weights, and its input."""
    fc = m.nn.Linear(3, 2)
    fc.load_state_dict({"weight": values(m, 2, 3), "bias": values(m, 2)})
    return fc, values(m, 4, 3).requires_grad_()


def by(write):
    """forward, a write to x (no leaf, not followed), backward."""

    def program(m):
        w, x = leaf(m), values(m, 2, 3)
        loss = (w * x).sum()
        write(m, x)
        loss.backward()
        return (w,)

    return program


def under_no_grad(write):
    """forward, a write to the leaf w, backward."""

    def program(m):
        w = leaf(m)
        loss = w.square().sum()
        with m.no_grad():
            write(m, w)
        loss.backward()
        return (w,)

    return program


def add(m, x):
    x += 1


def sub(m, x):
    x -= 1


def mul(m, x):
    x *= 2


def div(m, x):
    x /= 2


def put(key, value=0.0):
    def write(m, x):
        x[key] = value

    return write


WRITES = {
    "+=": add,
    "-=": sub,
    "*=": mul,
    "/=": div,
    "add_": lambda m, x: x.add_(1, alpha=2),
    "sub_": lambda m, x: x.sub_(1),
    "mul_": lambda m, x: x.mul_(3),
    "div_": lambda m, x: x.div_(3),
    "fill_": lambda m, x: x.fill_(3),
    "zero_": lambda m, x: x.zero_(),
    "copy_": lambda m, x: x.copy_(m.ones(2, 3)),
    "uniform_": lambda m, x: x.uniform_(),
    "normal_": lambda m, x: x.normal_(),
    "init.uniform_": lambda m, x: m.nn.init.uniform_(x),
    "init.normal_": lambda m, x: m.nn.init.normal_(x),
    "init.constant_": lambda m, x: m.nn.init.constant_(x, 2.0),
    "init.orthogonal_": lambda m, x: m.nn.init.orthogonal_(x),
    "one element": put((0, 1)),
    "a row": put(1),
    "everything": put(...),
    "by a mask": lambda m, x: x.__setitem__(x > 1, 0.0),
    "through a view": lambda m, x: x[0].zero_(),
    "through an element": lambda m, x: x[0, 1].zero_(),
    "through a view of a view": lambda m, x: x.reshape(-1)[1:].transpose(0, 0)[2:].fill_(1),
    "through T": lambda m, x: x.T.mul_(2),
    "through squeeze": lambda m, x: x.unsqueeze(0).squeeze().add_(1),
    "through split": lambda m, x: x.split(1, 1)[2].add_(1),
    "through detach": lambda m, x: x.detach().add_(1),
    "through a parameter": lambda m, x: m.nn.Parameter(x).detach().add_(1),
    "a step": lambda m, x: step_of(m, x),
}
UNNOTICED = {
    "the array": lambda m, x: x.detach().numpy().fill(1),
    "data": lambda m, x: x.data.fill(1) if m is gc else x.data.fill_(1),
    "a copy": lambda m, x: x.clone().zero_(),
    "a part of a copy": lambda m, x: x[[0]].zero_(),
    "a flipped copy": lambda m, x: m.flip(x, (0,)).zero_(),
    "a reshaped copy": lambda m, x: x.T.reshape(-1).zero_(),
    "another type": lambda m, x: x.double().zero_(),
    "the name": lambda m, x: x + 1,
    "the gradient": lambda m, x: m.ones(2, 3).zero_(),
}


def step_of(m, x):
    p = m.nn.Parameter(x)
    p.grad = m.ones(2, 3)
    m.optim.SGD([p], lr=0.5).step()


@pytest.mark.parametrize("program", [by, under_no_grad])
@pytest.mark.parametrize("name", WRITES)
def test_every_write(name, program):
    for m in (gc, torch):
        assert outcome(program(WRITES[name]), m) is None, m.__name__


@pytest.mark.parametrize("program", [by, under_no_grad])
@pytest.mark.parametrize("name", UNNOTICED)
def test_what_is_no_write(name, program):
    ours, theirs = (outcome(program(UNNOTICED[name]), m) for m in (gc, torch))
    same(ours, theirs)


def twice(m, between):
    """Two losses of one layer behind a tanh; `between` happens after the first one's backward."""
    fc, x = layer(m)
    h = fc(x.tanh())
    h.sum().backward(retain_graph=True)
    between(m, fc)
    h.square().sum().backward()
    return (x, *fc.parameters())


def optimizer(kind, **options):
    return lambda m, fc: getattr(m.optim, kind)(fc.parameters(), lr=0.1, **options).step()


def loaded(m, fc):
    fc.load_state_dict({"weight": m.ones(2, 3), "bias": m.ones(2)})


def through_the_state(m, fc):
    fc.state_dict()["weight"].fill_(1)


def clipped(m, fc):
    m.nn.utils.clip_grad_norm_(fc.parameters(), 0.1)
    m.nn.utils.clip_grad_value_(fc.parameters(), 0.01)


def frozen_weight(m):
    """The weight does not enter its own gradient: a step between is no harm where the input needs none."""
    fc, x = layer(m)
    x = x.detach()
    first, second = fc(x).sum(), fc(x).square().sum()
    first.backward()
    m.optim.SGD(fc.parameters(), lr=0.1).step()
    second.backward()
    return fc.parameters()


def a_gradient_in_a_loss(m):
    """A gradient that a loss reads, and that the next backward adds to."""
    w = leaf(m)
    w.square().sum().backward()
    loss = (w.exp() * w.grad).sum()
    w.sum().backward()
    loss.backward()
    return (w,)


def an_index(m):
    w, i = leaf(m), m.tensor([1, 0])
    y = w[i].sum() + w[:, i[0]].sum()
    i.zero_()
    y.backward()
    return (w,)


def a_mask(m):
    w = leaf(m)
    mask = w.detach() > 1
    y = w.masked_fill(mask, 0.0).sum()
    mask.zero_()
    y.backward()
    return (w,)


def tokens(m):
    w, i = leaf(m), m.tensor([1, 0, 1])
    y = m.nn.functional.embedding(i, w).sum()
    i.zero_()
    y.backward()
    return (w,)


def a_buffer(m):
    """A counter beside the loss, and running statistics that are read before they are written."""
    w, mean = leaf(m), m.zeros(3)
    loss = ((w - mean) ** 2).sum()
    mean.copy_(w.detach().mean(0))
    loss.backward()
    return (w,)


def states(m):
    """Truncated backpropagation: the state is carried, detached, and the weights step between chunks."""
    cell = m.nn.GRUCell(3, 2)
    cell.load_state_dict({k: values(m, *v.shape) - 1 for k, v in cell.state_dict().items()})
    opt = m.optim.SGD(cell.parameters(), lr=0.1)
    h = m.zeros(4, 2)
    for _ in range(3):
        opt.zero_grad()
        for _ in range(2):
            h = cell(values(m, 4, 3), h)
        h.square().sum().backward()
        opt.step()
        h = h.detach()
    return cell.parameters()


def not_detached(m):
    """The same without detach(): a chunk reaches those before, whose weights are others by now."""
    w = leaf(m)
    h = values(m, 2, 3)
    for _ in range(3):  # the first chunk's input needs no gradient, so that w is not kept for it
        h = (h * w).tanh()
        h.sum().backward(retain_graph=True)
        m.optim.SGD([w], lr=0.1).step()
    return (w,)


PROGRAMS = {  # program, whether torch notices (asked, not believed)
    "nothing between": (lambda m: twice(m, lambda m, fc: None), False),
    "SGD": (lambda m: twice(m, optimizer("SGD", momentum=0.9)), True),
    "Adam": (lambda m: twice(m, optimizer("Adam")), True),
    "RMSprop": (lambda m: twice(m, optimizer("RMSprop")), True),
    "load_state_dict": (lambda m: twice(m, loaded), True),
    "through the state_dict": (lambda m: twice(m, through_the_state), True),
    "clipping": (lambda m: twice(m, clipped), False),
    "zero_grad": (lambda m: twice(m, lambda m, fc: fc.zero_grad(set_to_none=False)), False),
    "a step, input without gradient": (frozen_weight, False),
    "a gradient in a loss": (a_gradient_in_a_loss, True),
    "an index": (an_index, True),
    "a mask": (a_mask, True),
    "tokens": (tokens, True),
    "a buffer": (a_buffer, False),
    "chunks": (states, False),
    "chunks that are not cut": (not_detached, True),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    program, noticed = PROGRAMS[name]
    ours, theirs = outcome(program, gc), outcome(program, torch)
    assert (theirs is None) == noticed
    assert (ours is None) == noticed
    if not noticed:
        same(ours, theirs)


RECURRENT = {
    "a weight": (lambda rnn, x, h, y: rnn.weight_hh_l0.mul_(2), True),
    "the input": (lambda rnn, x, h, y: x.mul_(2), True),
    "the start": (lambda rnn, x, h, y: h.mul_(2), True),
    "the last state": (lambda rnn, x, h, y: y[1].mul_(2), False),
}


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("early", [True, False])
def test_recurrences(name, early):
    change, noticed = RECURRENT[name]

    def program(m):
        rnn = m.nn.GRU(3, 2)
        rnn.load_state_dict({k: values(m, *v.shape) - 1 for k, v in rnn.state_dict().items()})
        x, h = values(m, 5, 4, 3), values(m, 1, 4, 2)
        y = rnn(x, h)
        loss = y[0].square().sum() + y[1].sum()
        for write in (early, not early):
            if write:
                with m.no_grad():
                    change(rnn, x, h, y)
            else:
                loss.backward()
        return rnn.parameters()

    ours, theirs = outcome(program, gc), outcome(program, torch)
    assert (ours is None) == (theirs is None) == (noticed and early)
    if ours is not None:
        same(ours, theirs)


def test_the_output_of_a_recurrence_is_read_on_the_way_back():
    """It is the memory of the states: torch's decomposed layers keep a copy instead, and notice nothing."""
    rnn = gc.nn.LSTM(3, 2)
    y, _ = rnn(values(gc, 5, 4, 3))
    loss = y.sum()
    with gc.no_grad():
        y[-1].mul_(0)
    with pytest.raises(RuntimeError, match="recurrence wants the result at version 0, it is at version 1"):
        loss.backward()


def test_a_refused_backward_changes_nothing_and_says_what_it_wanted():
    w, x = leaf(gc), values(gc, 2, 3)
    y = (w * x).sum() + w.sum()
    with gc.no_grad():
        x.add_(1).mul_(2)
    with pytest.raises(RuntimeError, match=r"mul wants input 1, float32 of shape \(2, 3\), at version 0, it is at version 2.*clone"):
        y.backward()
    assert w.grad is None
    x.changed()
    with pytest.raises(RuntimeError, match="version 3"):
        y.backward()
