"""The contrastive loss as a whole: golden vectors, a restatement pixel by pixel, hand-worked cases, bounds."""

import dataclasses
import math
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tests.method import golden
from u2pl_ray.config import checks
from u2pl_ray.config.method import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.method import contrastive, pixels
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.types import Clock, Stats

CPU = torch.device("cpu")


class ScriptedLoss(ContrastiveLoss):
    """Anchors and negatives are the given ones."""

    anchors: Tensor
    negatives: Tensor

    def draw_anchors(self, counts: Tensor, step: int) -> Tensor:
        return self.anchors

    def draw_negatives(self, fill: Tensor, step: int) -> Tensor:
        return self.negatives


def golden_loss(case: golden.Golden, kind: type[ContrastiveLoss] = ScriptedLoss, **bank: Any) -> Any:
    config = case.config
    background, capacity = config["queue_sizes"][:2]
    return kind(
        ContrastiveConfig(
            temperature=config["temperature"],
            anchors=config["num_queries"],
            negatives=config["num_negatives"],
            low_rank=config["low_rank"],
            high_rank=config["high_rank"],
            anchor_threshold=config["current_class_threshold"],
        ),
        MemoryBankConfig(**{"capacity": capacity, "background_capacity": background, "push_cap": None, **bank}),
        config["num_classes"],
        config["dim"],
        0,
        Collectives(CPU),
        CPU,
    )


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


@dataclasses.dataclass
class Problem:
    """Inputs of a step with one labeled and one unlabeled image."""

    student: Tensor
    teacher: Tensor
    prob: Tensor
    label: Tensor
    reliable: Tensor
    unreliable: Tensor

    @classmethod
    def random(cls, seed: int, classes: int = 4, dim: int = 6, side: int = 6, images: int = 2) -> "Problem":
        draws = torch.Generator().manual_seed(seed)
        shape = (images, side, side)
        student, teacher = (torch.randn(images, dim, side, side, generator=draws) for _ in range(2))
        label = torch.randint(classes, shape, generator=draws)
        logits = torch.randn(images, classes, side, side, generator=draws) + 2 * F.one_hot(label, classes).movedim(3, 1)
        label[torch.rand(shape, generator=draws) < 0.1] = 255
        pick = torch.rand(shape, generator=draws)
        pick[: images // 2] = 0.5
        valid = label != 255
        reliable, unreliable = valid & (pick < 0.7), valid & (pick > 0.3)
        return cls(student.requires_grad_(), teacher, logits.softmax(1), label.to(torch.uint8), reliable, unreliable)

    def step(self, loss: ContrastiveLoss, step: int = 0, truth: Tensor | None = None) -> tuple[Tensor, Stats]:
        half = len(self.label) // 2
        maps = loss.local_maps(self.prob, self.label, half)
        return loss(self.student, self.teacher, half, maps, self.reliable, self.unreliable, Clock(0, 1, step), truth)


def make(config: dict[str, Any] | None = None, bank: dict[str, Any] | None = None, classes: int = 4) -> ScriptedLoss:
    contrastive_config = {"anchors": 3, "negatives": 4, "low_rank": 1, "high_rank": 3, "temperature": 0.3}
    bank_config = {"capacity": 7, "background_capacity": 9, "push_cap": None}
    return ScriptedLoss(
        ContrastiveConfig.model_validate(contrastive_config | (config or {})),
        MemoryBankConfig.model_validate(bank_config | (bank or {})),
        classes,
        6,
        0,
        Collectives(CPU),
        CPU,
    )


class Restated:
    """The loss pixel by pixel, class by class, in the words of the paper."""

    def __init__(self, loss: ContrastiveLoss) -> None:
        self.config, self.classes = loss.config, loss.num_classes
        self.low, self.high = checks.rank_window(loss.config, loss.num_classes)
        self.queues: list[deque[Tensor]] = [deque(maxlen=size) for size in loss.bank.capacity.tolist()]

    def pixels(self, problem: Problem) -> list[tuple[int, int, int]]:
        images, height, width = problem.label.shape
        return [(i, y, x) for i in range(images) for y in range(height) for x in range(width)]

    def is_key(self, problem: Problem, c: int, i: int, y: int, x: int) -> bool:
        p = problem.prob[i, :, y, x]
        rank = sum(bool(other > p[c]) for other in p)
        if not problem.unreliable[i, y, x]:
            return False
        if i < len(problem.label) // 2:
            return int(problem.label[i, y, x]) != c and rank < self.low and bool(p[c] < 1)
        return self.low <= rank < self.high

    def is_anchor(self, problem: Problem, c: int, i: int, y: int, x: int) -> bool:
        sure = bool(problem.prob[i, c, y, x] > self.config.anchor_threshold)
        return bool(problem.reliable[i, y, x]) and int(problem.label[i, y, x]) == c and sure

    def __call__(self, problem: Problem, anchors: Tensor, negatives: Tensor) -> Tensor:
        present = [c for c in range(self.classes) if bool(((problem.label == c) & problem.reliable).any())]
        total = problem.student.sum() * 0
        for c in range(self.classes):
            everywhere = self.pixels(problem)
            self.queues[c].extend(
                problem.teacher[i, :, y, x] for i, y, x in everywhere if self.is_key(problem, c, i, y, x)
            )
            candidates = [pixel for pixel in everywhere if self.is_anchor(problem, c, *pixel)]
            if not candidates or not self.queues[c] or len(present) < 2:
                continue
            positive = torch.stack([problem.teacher[i, :, y, x] for i, y, x in candidates]).mean(0)
            terms = []
            for m in range(self.config.anchors):
                i, y, x = candidates[int(anchors[c, m]) % len(candidates)]
                keys = [self.queues[c][int(n) % len(self.queues[c])] for n in negatives[c, m]]
                similarity = torch.cosine_similarity(
                    problem.student[i, :, y, x].unsqueeze(0), torch.stack([positive, *keys])
                )
                terms.append(-(similarity / self.config.temperature).log_softmax(0)[0])
            total = total + torch.stack(terms).mean()
        return total / max(1, len(present))


class ModuloLoss(ScriptedLoss):
    """Whatever numbers are given as draws, modulo the number of candidates."""

    def draw_anchors(self, counts: Tensor, step: int) -> Tensor:
        return self.anchors % counts.clamp_min(1).unsqueeze(1)

    def draw_negatives(self, fill: Tensor, step: int) -> Tensor:
        return self.negatives % fill.clamp_min(1).view(-1, 1, 1)


@pytest.mark.parametrize("static", [False, True])
@given(data=st.data(), classes=st.integers(1, 5), low=st.integers(1, 3), window=st.integers(1, 4))
def test_against_the_restatement(static: bool, data: st.DataObject, classes: int, low: int, window: int) -> None:
    """Loss, gradient and queues over steps, for few classes, windows beyond them, scarce anchors."""
    threshold = data.draw(st.sampled_from([0.0, 0.3, 0.8, 0.97]))
    loss = make({"low_rank": low, "high_rank": low + window, "anchor_threshold": threshold}, classes=classes)
    loss.__class__ = ModuloLoss
    restated = Restated(loss)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "static_shapes", lambda _: static)
        for step in range(2):
            seed = data.draw(st.integers(0, 999))
            problem = Problem.random(seed, classes, side=4)
            draws = torch.Generator().manual_seed(seed)
            loss.anchors = torch.randint(99, (classes, 3), generator=draws)
            loss.negatives = torch.randint(99, (classes, 3, 4), generator=draws)
            value, _ = problem.step(loss, step)
            (gradient,) = torch.autograd.grad(value, problem.student)
            expected = restated(problem, loss.anchors, loss.negatives)
            (expected_gradient,) = torch.autograd.grad(expected, problem.student)
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
            for c, queue in enumerate(restated.queues):
                rows = F.normalize(torch.stack(list(queue)), dim=1) if queue else torch.empty(0, 6)
                torch.testing.assert_close(loss.bank.queue(c), rows)


def test_by_hand() -> None:
    """Two classes, three pixels each of a labeled and an unlabeled image; every number worked out below."""
    loss = make({"anchors": 1, "negatives": 2, "low_rank": 1, "high_rank": 2, "temperature": 1.0}, classes=2)
    label = torch.tensor([[[0, 1, 0]], [[0, 0, 255]]], dtype=torch.uint8)
    p0 = torch.tensor([[[0.9, 0.6, 0.4]], [[0.8, 0.7, 0.5]]])  # pixel 1 and pixel 2 are hard confusions
    e = torch.eye(6)
    teacher = torch.stack([e[0], e[1], e[2], e[3], e[4], e[5]]).view(2, 1, 3, 6).movedim(3, 1)
    student = torch.zeros(2, 6, 1, 3)
    student[0, :, 0, 0] = e[0] + e[3]  # the anchor of class 0: halfway between two of its three candidates
    student[0, :, 0, 1] = e[4]
    reliable = torch.tensor([[[True, True, True]], [[True, False, False]]])
    unreliable = torch.tensor([[[True, True, True]], [[False, True, False]]])
    problem = Problem(student.requires_grad_(), teacher, torch.stack([p0, 1 - p0], 1), label, reliable, unreliable)
    loss.anchors = torch.zeros(2, 1, dtype=torch.int64)
    loss.negatives = torch.tensor([[[0, 0]], [[0, 1]]])
    value, stats = problem.step(loss, 5, truth=torch.tensor([[[0, 1, 0]], [[1, 1, 255]]]))
    # Keys of 0: pixel 1 (labeled 1, but 0 ranks first). Of 1: pixels 2 (labeled 0) and 4 (unsure, rank 1).
    assert loss.bank.queue(0).tolist() == [e[1].tolist()]
    assert loss.bank.queue(1).tolist() == [e[2].tolist(), e[4].tolist()]
    # Anchors of 0 (p > 0.3): pixels 0, 2, 3, so its prototype is (e0 + e2 + e3) / 3; of 1: pixel 1, prototype e1.
    first = 2 / math.sqrt(6)  # cos of e0 + e3 with it; the negative e1, twice, is orthogonal
    second = math.log(1 + math.e + 1)  # anchor e4: cos 0 with e1 and with e2, 1 with e4
    assert value.item() == pytest.approx((math.log(math.exp(first) + 2) - first + second) / 2, rel=1e-6)
    assert stats.shared["bank/pushed"].tolist() == [1, 2]
    assert stats.shared["bank/fill"].tolist() == [1, 2]
    assert stats.shared["anchor/none"].tolist() == [0, 0]
    assert stats.local["negatives/known"].tolist() == [1, 2]
    assert stats.local["negatives/false"].tolist() == [0, 1]  # pixel 4 truly is of class 1


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


def make_own(bank: dict[str, Any]) -> ContrastiveLoss:
    """A loss that makes its own draws."""
    loss: ContrastiveLoss = make(bank={"background_capacity": None} | bank)
    loss.__class__ = ContrastiveLoss
    return loss


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
