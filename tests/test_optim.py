"""Optimisers and schedules against torch, step by step. Not here: training of networks (test_torch_parity.py), clipping (test_nn.py)."""

import numpy as np
import pytest
import torch

import budgets
from gatecell import optim
from gatecell.optim import lr_scheduler
from gatecell.optim.optimizer import PIECE
from gatecell.tensor.tensor import Tensor

OPTIMISERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.05, "maximize": True}),
    "sgd-momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd-dampening": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    "sgd-nesterov": ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    "adam": ("Adam", {}),
    "adam-options": ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adam-amsgrad": ("Adam", {"lr": 0.02, "amsgrad": True, "maximize": True}),
    "adamw": ("AdamW", {"lr": 0.02}),
    "adamw-amsgrad": ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-options": ("RMSprop", {"lr": 0.003, "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.02, "centered": True}),
}
SHAPES = [(3, 5), (7,), (1,), (PIECE + 3, 2)]  # the last is updated in three pieces


def pair(rng, dtype=np.float32, shapes=SHAPES):
    """The same parameters for both sides."""
    arrays = [rng.standard_normal(s).astype(dtype) for s in shapes]
    return [Tensor(a.copy(), requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def give(rng, ours, theirs, scale=1.0):
    """The same random gradients to both sides."""
    for mine, torchs in zip(ours, theirs, strict=True):
        g = (rng.standard_normal(mine.shape) * scale).astype(mine.dtype)
        mine.grad, torchs.grad = Tensor(g), torch.tensor(g)


def agree(ours, theirs, budget=budgets.OPTIMISER_STEP):
    for mine, torchs in zip(ours, theirs, strict=True):
        want = torchs.detach().numpy()
        np.testing.assert_allclose(mine.data, want, rtol=0, atol=budget * max(1, np.abs(want).max()))


@pytest.mark.parametrize(("name", "options"), OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_torchs(name, options, dtype, rng):
    ours, theirs = pair(rng, dtype, SHAPES if dtype == np.float32 else SHAPES[:3])
    mine, torchs = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(30):
        give(rng, ours, theirs, 10 ** rng.uniform(-3, 1))
        kept = [t.grad.data.copy() for t in ours]
        mine.step()
        torchs.step()
        agree(ours, theirs, budgets.OPTIMISER_STEP if dtype == np.float32 else 1e-14 * (step + 1))
        assert all((t.grad.data == k).all() for t, k in zip(ours, kept, strict=True)), "a step leaves gradients as they were"


@pytest.mark.parametrize(("name", "options"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_defaults_are_torchs(name, options, rng):
    ours, theirs = pair(rng)
    options = {} if name != "SGD" else {"lr": 1e-3}
    mine, torchs = getattr(optim, name)(ours, **options).defaults, getattr(torch.optim, name)(theirs, **options).defaults
    assert {k: mine[k] for k in torchs if k in mine} == {k: torchs[k] for k in torchs if k in mine}
    assert set(torchs) - set(mine) <= {"foreach", "fused", "capturable", "differentiable"}, "options of torch's implementation alone"


@pytest.mark.parametrize("origin", ["ours", "torch"])
@pytest.mark.parametrize(("name", "options"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_state_dict_resumes(name, options, origin, rng):
    ours, theirs = pair(rng, shapes=SHAPES[:3])
    first = getattr(torch.optim, name)(theirs, **options) if origin == "torch" else getattr(optim, name)(ours, **options)
    for _ in range(4):
        give(rng, ours, theirs)
        first.step()
    leaves = theirs if origin == "torch" else ours
    copies = [Tensor(t.detach().numpy().copy(), requires_grad=True) for t in leaves]
    second = getattr(optim, name)(copies, lr=123.0)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]
    for _ in range(3):
        give(rng, ours, theirs)
        for copy, t in zip(copies, ours, strict=True):
            copy.grad = t.grad
        first.step()
        second.step()
    if origin == "torch":
        agree(copies, theirs)
    else:
        assert all((c.data == t.data).all() for c, t in zip(copies, ours, strict=True)), "our own state resumes to the bit"


def test_groups_have_their_own_options_and_parameters_without_gradient_stay(rng):
    ours, theirs = pair(rng, shapes=[(4, 3), (3,), (5,)])
    both = []
    for module, (a, b, c) in ((optim, ours), (torch.optim, theirs)):
        opt = module.Adam([{"params": [a]}, {"params": b, "lr": 0.5, "weight_decay": 0.1}], lr=0.01)
        opt.add_param_group({"params": [c], "betas": (0.5, 0.5)})
        both.append(opt)
    for step in range(5):
        give(rng, ours, theirs)
        if step % 2:
            ours[0].grad = theirs[0].grad = None
        for opt in both:
            opt.step()
        agree(ours, theirs)


def test_zero_grad(rng):
    ours, theirs = pair(rng, shapes=[(4,)])
    give(rng, ours, theirs)
    opt = optim.SGD(ours, lr=1)
    opt.zero_grad(set_to_none=False)
    assert (ours[0].grad.data == 0).all()
    opt.zero_grad()
    assert ours[0].grad is None


def test_step_calls_the_closure_once_and_returns_its_loss():
    p = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    opt = optim.SGD([p], lr=0.25)
    calls = []

    def closure():
        calls.append(p.data.copy())
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 5.0
    assert len(calls) == 1
    np.testing.assert_array_equal(p.data, [0.5, 1.0])


def test_parameters_that_are_not_contiguous_are_updated_whole(rng):
    big = rng.standard_normal((3, PIECE)).astype(np.float32)
    p, q = Tensor(big.T.copy().T, requires_grad=True), Tensor(big.copy(), requires_grad=True)
    assert not p.data.flags.c_contiguous
    g = Tensor(rng.standard_normal(big.shape).astype(np.float32))
    for t in (p, q):
        t.grad = g
        optim.Adam([t]).step()
    np.testing.assert_array_equal(p.data, q.data)


SCHEDULES = {
    "step": ("StepLR", {"step_size": 7, "gamma": 0.3}),
    "multi": ("MultiStepLR", {"milestones": [30, 5, 5, 12], "gamma": 0.5}),
    "exponential": ("ExponentialLR", {"gamma": 0.83}),
    "cosine": ("CosineAnnealingLR", {"T_max": 17}),
    "cosine-min": ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.02}),
    "lambda": ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    "lambdas": ("LambdaLR", {"lr_lambda": [lambda t: 0.9**t, lambda t: t % 3]}),
    "linear": ("LinearLR", {}),
    "linear-options": ("LinearLR", {"start_factor": 0.1, "end_factor": 0.0, "total_iters": 20}),
    "constant": ("ConstantLR", {"factor": 0.2, "total_iters": 9}),
    "onecycle": ("OneCycleLR", {"max_lr": 0.3, "total_steps": 60}),
    "onecycle-linear": ("OneCycleLR", {"max_lr": [0.3, 0.1], "epochs": 10, "steps_per_epoch": 6, "anneal_strategy": "linear"}),
    "onecycle-three": ("OneCycleLR", {"max_lr": 0.3, "total_steps": 60, "three_phase": True, "pct_start": 0.4, "div_factor": 5.0}),
}


def optimisers(kind="Adam", **options):
    """One of ours and one of torch's, of two groups."""
    made = []
    for module, leaf in ((optim, lambda: Tensor(np.zeros(2, np.float32), True)), (torch.optim, lambda: torch.zeros(2, requires_grad=True))):
        made.append(getattr(module, kind)([{"params": [leaf()]}, {"params": [leaf()], "lr": 0.05}], lr=0.1, **options))
    return made


def options_of(opt):
    return [(g["lr"], g.get("momentum"), g.get("betas")) for g in opt.param_groups]


def same_rates(mine, torchs):
    for ours, theirs in zip(options_of(mine), options_of(torchs), strict=True):
        flat = [np.array([v for o in side for v in np.atleast_1d(o) if v is not None], float) for side in (ours, theirs)]
        np.testing.assert_allclose(*flat, rtol=0, atol=budgets.SCHEDULE * 0.1)


@pytest.mark.parametrize(("name", "options"), SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_schedules_are_torchs(name, options, kind):
    extra = {"momentum": 0.5} if kind == "SGD" else {}
    mine, torchs = optimisers(kind, **extra)
    ours, theirs = getattr(lr_scheduler, name)(mine, **options), getattr(torch.optim.lr_scheduler, name)(torchs, **options)
    for _ in range(60):
        same_rates(mine, torchs)
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=0, atol=budgets.SCHEDULE * 0.1)
        torchs.step()
        ours.step()
        theirs.step()
    same_rates(mine, torchs)


def test_schedules_together_and_in_sequence():
    mine, torchs = optimisers()
    made = []
    for opt, module in ((mine, lr_scheduler), (torchs, torch.optim.lr_scheduler)):
        made.append([module.ExponentialLR(opt, 0.95), module.StepLR(opt, 4, 0.5)])
    for _ in range(20):
        torchs.step()
        for schedules in made:
            for schedule in schedules:
                schedule.step()
        same_rates(mine, torchs)
    mine, torchs = optimisers()
    made = []
    for opt, module in ((mine, lr_scheduler), (torchs, torch.optim.lr_scheduler)):
        parts = [module.LinearLR(opt, 0.1, total_iters=6), module.CosineAnnealingLR(opt, 10), module.ExponentialLR(opt, 0.9)]
        made.append(module.SequentialLR(opt, parts, milestones=[6, 14]))
    for _ in range(30):
        same_rates(mine, torchs)
        torchs.step()
        for schedule in made:
            schedule.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 0.5, "patience": 0},
        {"mode": "max", "patience": 2, "cooldown": 3, "threshold": 0.05},
        {"threshold_mode": "abs", "patience": 1, "min_lr": [0.04, 0.01]},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 1, "factor": 0.3, "eps": 1e-3},
    ],
)
def test_plateau_is_torchs(options, rng):
    mine, torchs = optimisers()
    ours, theirs = lr_scheduler.ReduceLROnPlateau(mine, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(torchs, **options)
    reduced = 0
    for t in range(80):
        value = float(np.round(3 / (1 + t / 10) + rng.normal() * 0.3 - 0.5, 1))
        before = ours.get_last_lr()
        ours.step(value)
        theirs.step(value)
        reduced += ours.get_last_lr() != before
        same_rates(mine, torchs)
        assert ours.num_bad_epochs == theirs.num_bad_epochs
    assert reduced


@pytest.mark.parametrize(("name", "options"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_resumes_from_its_state(name, options):
    mine, again = optimisers()[0], optimisers()[0]
    first = getattr(lr_scheduler, name)(mine, **options)
    for _ in range(13):
        first.step()
    second = getattr(lr_scheduler, name)(again, **options)
    again.load_state_dict(mine.state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        first.step()
        second.step()
        assert options_of(mine) == options_of(again)


def test_a_schedule_of_ones_own_defines_get_lr():
    class Halving(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    mine = optimisers()[0]
    schedule = Halving(mine)
    schedule.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.025, 0.0125]
