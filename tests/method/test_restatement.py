"""The contrastive loss against a restatement pixel by pixel, and against numbers worked out by hand."""

import math
from collections import deque

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.method.contrast import ModuloLoss, Problem, make
from u2pl_ray.config import checks
from u2pl_ray.method import pixels
from u2pl_ray.method.contrastive import ContrastiveLoss


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
