"""The contrastive loss as a whole: golden vectors, its draws, both ways to compute it, bounds."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tests.method import golden
from tests.method.contrast import CPU, ModuloLoss, Problem, golden_loss, make, make_own
from u2pl_ray.config.method import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.method import contrastive, pixels
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.types import Clock


def golden_step(loss: ContrastiveLoss, case: golden.Golden, s: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    n_labeled = case.config["n_labeled"]
    rep = case.tensor(s, "rep").requires_grad_()
    maps = loss.local_maps(case.prob(s), case.tensor(s, "label_small"), n_labeled)
    reliable, unreliable = case.masks(s)
    value, stats = loss(rep, case.tensor(s, "rep_teacher"), n_labeled, maps, reliable, unreliable, Clock(0, 1, s))
    (gradient,) = torch.autograd.grad(value, rep)
    return value.detach(), gradient, stats.shared


@pytest.fixture(params=[False, True], ids=["dynamic", "static"])
def shapes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CPU, then as on CUDA."""
    monkeypatch.setattr(pixels, "static_shapes", lambda _: request.param)


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("name", golden.CASES)
def test_golden_keys_loss_and_gradient(name: str) -> None:
    case = golden.load(name)
    loss = golden_loss(case)
    c, m, n = (case.config[key] for key in ("num_classes", "num_queries", "num_negatives"))
    for s in case.steps:
        loss.anchors = torch.zeros(c, m, dtype=torch.int64)
        loss.negatives = torch.zeros(c, m, n, dtype=torch.int64)
        if case.has(s, "fix_term_anchor_class"):
            classes = case.tensor(s, "fix_term_anchor_class").long()
            loss.anchors[classes] = case.tensor(s, "fix_anchor_draw").long()
            loss.negatives[classes] = case.tensor(s, "fix_neg_draw").long()
        value, grad, shared = golden_step(loss, case, s)

        torch.testing.assert_close(value, case.tensor(s, "fix_loss"), rtol=1e-5, atol=1e-7)
        capacity = torch.tensor(case.config["queue_sizes"])
        counts = case.tensor(s, "fix_key_count")
        torch.testing.assert_close(shared["bank/pushed"], torch.minimum(counts, capacity).float())
        torch.testing.assert_close(loss.bank.fill, case.tensor(s, "fix_queue_count").long())
        if case.has(s, "fix_grad_rep"):
            torch.testing.assert_close(grad, case.tensor(s, "fix_grad_rep"), rtol=0, atol=1e-7)
            queue = torch.nn.functional.normalize(case.tensor(s, "fix_queue"), dim=1, eps=1e-8)
            torch.testing.assert_close(loss.bank.state_dict()["keys"], queue, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["a_small_5c", "c_overflow_5c", "e_missing_ignore", "f_few_anchors"])
def test_golden_distribution_of_own_draws(name: str) -> None:
    """The draws are ours: the mean loss agrees with the golden mean within four standard errors."""
    case = golden.load(name)
    draws = 60
    mean, std, n = (float(case.numpy(0, f"fix_loss_{key}")) for key in ("mean", "std", "n"))
    values = []
    for seed in range(draws):
        loss = golden_loss(case, ContrastiveLoss)
        loss.seed = seed
        values.append(float(golden_step(loss, case, 0)[0]))
    assert abs(np.mean(values) - mean) < 4 * std * math.sqrt(1 / draws + 1 / n)
    assert np.std(values) == pytest.approx(std, rel=0.5)


@pytest.mark.usefixtures("shapes")
def test_no_anchor_no_key_no_class() -> None:
    problem = Problem.random(0)
    loss = make({"anchor_threshold": 0.999})
    loss.__class__ = ModuloLoss
    loss.anchors, loss.negatives = torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, 4, dtype=torch.int64)
    value, stats = problem.step(loss)
    assert value.item() == 0
    assert stats.shared["anchor/none"].tolist() == [1] * 4
    nothing = torch.zeros_like(problem.reliable)
    empty = dataclasses.replace(problem, unreliable=nothing, reliable=nothing)
    loss = make()
    loss.__class__ = ModuloLoss
    loss.anchors, loss.negatives = torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, 4, dtype=torch.int64)
    value, stats = empty.step(loss)
    value.backward()
    assert value.item() == 0
    assert problem.student.grad is not None
    assert not problem.student.grad.any()
    assert stats.shared["negative/none"].tolist() == [1] * 4
    assert stats.shared["bank/key_age"].tolist() == [0] * 4


def key_numbers(loss: ContrastiveLoss, problem: Problem, step: int) -> list[list[int]]:
    """Pixel numbers of the keys a step pushes: the teacher's features say where they are."""
    angle = torch.arange(problem.label.numel()) / problem.label.numel()  # unit norm already, so nothing is rounded
    features = torch.stack([angle.cos(), angle.sin()]).repeat(3, 1) / math.sqrt(3)
    teacher = features.view(6, 2, *problem.label.shape[1:]).transpose(0, 1)
    dataclasses.replace(problem, teacher=teacher).step(loss, step)
    queues = [loss.bank.queue(c)[:, :2] * math.sqrt(3) for c in range(loss.num_classes)]
    count = problem.label.numel()
    return [(torch.atan2(rows[:, 1], rows[:, 0]) * count).round().int().tolist() for rows in queues]


@pytest.mark.usefixtures("shapes")
def test_push_cap_samples_all_candidates_alike() -> None:
    """Above the cap: that many keys, in order, none twice, each candidate as often as any other."""
    problem, steps, cap = Problem.random(3), 400, 5
    everything = key_numbers(make_own({"capacity": 999}), problem, 0)
    counts = [torch.zeros(len(numbers)) for numbers in everything]
    for step in range(steps):
        loss = make_own({"capacity": 999, "push_cap": cap})
        for c, numbers in enumerate(key_numbers(loss, problem, step)):
            assert len(numbers) == min(cap, len(everything[c]))
            assert numbers == sorted(set(numbers))
            counts[c][[everything[c].index(number) for number in numbers]] += 1
    for count in counts:
        expected = steps * min(cap, len(count)) / len(count)
        assert count.sub(expected).abs().max() < 5 * math.sqrt(expected)


def test_push_cap_beyond_the_candidates_changes_nothing() -> None:
    problem = Problem.random(1)
    assert key_numbers(make_own({"capacity": 99, "push_cap": 90}), problem, 2) == key_numbers(
        make_own({"capacity": 99, "push_cap": None}), problem, 2
    )


def test_draws() -> None:
    """Uniform, below the count, a function of seed and step alone."""
    loss = make_own({})
    loss.config = loss.config.model_copy(update={"anchors": 5000})
    counts = torch.tensor([0, 1, 2, 10])
    draw = loss.draw_anchors(counts, 3)
    assert draw.shape == (4, 5000)
    assert draw.amax(1).tolist() == [0, 0, 1, 9]
    assert draw[3].bincount().sub(500).abs().max() < 5 * math.sqrt(500)
    assert torch.equal(draw, loss.draw_anchors(counts, 3))
    assert not torch.equal(draw, loss.draw_anchors(counts, 4))
    loss.seed = 1
    assert not torch.equal(draw, loss.draw_anchors(counts, 3))


def test_dynamic_and_static_shapes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws, the same loss, gradient and bank."""
    results = []
    for static in (False, True):
        monkeypatch.setattr(pixels, "static_shapes", lambda _, static=static: static)
        loss, problem = make_own({"push_cap": 4}), Problem.random(5)
        for step in range(3):
            value, stats = problem.step(loss, step, truth=problem.label)
        (gradient,) = torch.autograd.grad(value, problem.student)
        results.append((value.detach(), gradient, loss.bank.state_dict(), stats.shared, stats.local))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_loss_is_float32(dtype: torch.dtype) -> None:
    problem = Problem.random(2)
    half = dataclasses.replace(
        problem, student=problem.student.detach().to(dtype).requires_grad_(), teacher=problem.teacher.to(dtype)
    )
    with torch.autocast("cpu", dtype):
        value, _ = half.step(make_own({"key_dtype": "bfloat16"}))
    value.backward()
    assert value.dtype is torch.float32
    assert half.student.grad is not None
    assert half.student.grad.dtype is dtype
    exact, _ = problem.step(make_own({}))
    torch.testing.assert_close(value, exact, rtol=0.02, atol=0.02)


def test_two_runs_are_bit_identical() -> None:
    runs = []
    for _ in range(2):
        loss, problem = make_own({"push_cap": 4}), Problem.random(5)
        values = [problem.step(loss, step)[0] for step in range(3)]
        runs.append((torch.stack(values), *torch.autograd.grad(values[-1], problem.student)))
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


def peak_bytes(function: Any) -> int:
    """The most bytes of tensors that were allocated at once while it ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        result = function()
    del result
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(sizes.max())


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize(("cap", "dtype"), [(64, "float32"), (64, "bfloat16"), (None, "float32")])
@pytest.mark.parametrize(("classes", "dim", "side"), [(7, 32, 24), (21, 64, 32), (3, 128, 16)])
def test_peak_memory_is_bounded(cap: int | None, dtype: str, classes: int, dim: int, side: int) -> None:
    problem = Problem.random(0, classes, dim, side, images=4)
    config = ContrastiveConfig(anchors=40, negatives=30, low_rank=2, high_rank=classes)
    bank = MemoryBankConfig.model_validate({"capacity": 500, "push_cap": cap, "key_dtype": dtype})
    loss = ContrastiveLoss(config, bank, classes, dim, 0, Collectives(CPU), CPU)
    bound = contrastive.peak_bytes(config, bank, classes, dim, 4 * side * side)
    forward: list[Tensor] = []
    used = peak_bytes(lambda: forward.append(problem.step(loss)[0]))
    assert bound / 4 < used < bound
    backward = peak_bytes(lambda: torch.autograd.grad(forward.pop(), problem.student))
    assert backward < bound
