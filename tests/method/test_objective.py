import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.method import tiny
from u2pl_ray.config.method import MixingConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.mixing import mix
from u2pl_ray.method.pseudo_label import PseudoLabel
from u2pl_ray.method.statistics import RELIABLE, UNKNOWN

METHODS = ["supervised", "pseudo_label", "u2pl"]
SEMI = METHODS[1:]


def large(logits: Tensor) -> Tensor:
    return F.interpolate(logits, (tiny.SIDE, tiny.SIDE), mode="bilinear", align_corners=False)


class Restated:
    """A step at alpha, in the order of the paper, with nothing of the package but the mixing of a batch."""

    def __init__(self, batch: Any, alpha: float, mixing: str, step: int) -> None:
        student, teacher = tiny.networks()
        with torch.no_grad():
            weak = teacher(batch.unlabeled_images).logits
            pseudo = large(weak).argmax(1).to(torch.uint8)
            if batch.unlabeled_valid is not None:
                pseudo[~batch.unlabeled_valid] = 255
            self.images, self.pseudo, (self.truth,) = mix(
                MixingConfig(kind=mixing), batch.unlabeled_images, pseudo, (batch.unlabeled_labels,),
                seed=0, step=step, collectives=Collectives(tiny.CPU),
            )  # fmt: skip
            prob = large(teacher(self.images).logits).double().softmax(1)
            self.entropy = -(prob * prob.log()).sum(1)
        self.valid = self.pseudo != 255
        self.gamma = float(np.percentile(self.entropy[self.valid].numpy(), 100 * (1 - alpha)))
        self.reliable = self.valid & (self.entropy < self.gamma)
        self.unreliable = self.valid & (self.entropy > self.gamma)
        logits = large(student(torch.cat([batch.labeled_images, self.images])).logits).double().log_softmax(1)
        count = len(batch.labels)
        self.supervised = self._mean(logits[:count], batch.labels, batch.labels != 255)
        weight = self.valid.sum() / self.reliable.sum()
        self.unsupervised = weight * self._mean(logits[count:], self.pseudo, self.reliable)

    @staticmethod
    def _mean(log_prob: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        picked = log_prob.gather(1, labels.long().clamp(max=tiny.CLASSES - 1).unsqueeze(1)).squeeze(1)
        return -picked[mask].mean()


class TestSupervised:
    @pytest.mark.parametrize(
        ("name", "warming_up"), [("supervised", False), ("supervised", True), *((name, True) for name in SEMI)]
    )
    def test_labeled_images_alone(self, name: str, warming_up: bool) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        losses, stats = tiny.objective(name)(student, teacher, batch, tiny.clock(warming_up=warming_up))
        want = F.cross_entropy(large(student(batch.labeled_images).logits), batch.labels.long(), ignore_index=255)
        assert losses.total.item() == pytest.approx(want.item(), rel=1e-6)
        assert losses.supervised.item() == losses.total.item()
        assert losses.unsupervised.item() == losses.contrastive.item() == 0.0
        assert not stats.local
        assert not stats.shared
        assert not teacher.seen
        assert torch.equal(student.seen[0], batch.labeled_images)

    def test_ohem_keeps_the_hardest(self) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        objective = tiny.objective("supervised", supervised_loss="ohem", ohem={"threshold": 0.0, "min_kept": 100})
        losses, _ = objective(student, teacher, batch, tiny.clock())
        logits = large(student(batch.labeled_images).logits)
        each = F.cross_entropy(logits, batch.labels.long(), ignore_index=255, reduction="none").flatten()
        assert losses.total.item() == pytest.approx(each.topk(100).values.mean().item(), rel=1e-5)


@pytest.mark.parametrize("mixing", ["none", "cutmix", "classmix", "cutout"])
@pytest.mark.parametrize("name", SEMI)
class TestAgainstARestatement:
    def test_losses_and_partition(self, name: str, mixing: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        objective = tiny.objective(name, mixing={"kind": mixing}, alpha={"start": 0.25}, unsupervised_weight=0.7)
        losses, stats = objective(student, teacher, batch, tiny.clock(step=7, epoch=2, epochs=10))
        want = Restated(batch, 0.2, mixing, step=7)
        assert stats.shared["alpha"].item() == pytest.approx(0.2)
        assert stats.shared["gamma"].item() == pytest.approx(want.gamma, abs=1e-6)
        assert losses.supervised.item() == pytest.approx(want.supervised.item(), rel=1e-6)
        assert losses.unsupervised.item() == pytest.approx(want.unsupervised.item(), rel=1e-5)
        parts = losses.supervised + 0.7 * losses.unsupervised + 0.1 * losses.contrastive
        assert losses.total.item() == pytest.approx(parts.item(), rel=1e-6)

        pixels = stats.local["pixels"]
        assert pixels.sum() == want.valid.sum()
        assert pixels[:, RELIABLE].sum() == want.reliable.sum()
        assert pixels[:, :, UNKNOWN].sum() == ((want.truth == 255) & want.valid).sum()
        per_class = [int((want.pseudo == index).sum()) for index in range(tiny.CLASSES)]
        assert pixels.sum((1, 2, 3)).tolist() == per_class
        assert stats.local["entropy"].item() == pytest.approx(want.entropy[want.valid].sum().item(), rel=1e-6)

    def test_gradient(self, name: str, mixing: str) -> None:
        """Of L_s + lambda_u L_u; the contrastive loss is tested by itself."""
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        changes: dict[str, Any] = {
            "mixing": {"kind": mixing},
            "contrastive": {"weight": 0, "low_rank": 2, "high_rank": 5},
        }
        losses, _ = tiny.objective(name, **changes)(student, teacher, batch, tiny.clock(step=7))
        got = torch.autograd.grad(losses.total, list(student.body.parameters()))
        restated = Restated(batch, 0.2 * 0.8, mixing, step=7)
        reference = tiny.networks()[0]
        images = torch.cat([batch.labeled_images, restated.images])
        logits = large(reference(images).logits)
        targets = restated.pseudo.long().masked_fill(~restated.reliable, 255)
        loss = F.cross_entropy(logits[:4], batch.labels.long(), ignore_index=255)
        loss = (
            loss
            + F.cross_entropy(logits[4:], targets, ignore_index=255) * restated.valid.sum() / (targets != 255).sum()
        )
        for mine, other in zip(got, torch.autograd.grad(loss, list(reference.body.parameters())), strict=True):
            torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", SEMI)
class TestStep:
    def test_who_sees_what(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        tiny.objective(name)(student, teacher, batch, tiny.clock(step=7))
        mixed = Restated(batch, 0.2, "cutmix", step=7).images
        both = torch.cat([batch.labeled_images, mixed])
        assert [len(images) for images in student.seen] == [12]
        assert torch.equal(student.seen[0], both)
        assert torch.equal(teacher.seen[0], batch.unlabeled_images)
        assert torch.equal(teacher.seen[1], mixed)
        assert len(teacher.seen) == (3 if name == "u2pl" else 2)
        assert torch.equal(teacher.seen[-1], batch.labeled_images if name == "u2pl" else mixed)

    def test_only_the_student_learns(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        teacher.requires_grad_(True)
        losses, stats = tiny.objective(name)(student, teacher, batch, tiny.clock())
        losses.total.backward()
        assert all(parameter.grad is None for parameter in teacher.parameters())
        assert all(parameter.grad is not None for parameter in (*student.body.parameters(), student.classifier.weight))
        assert (student.head.weight.grad is not None) == (name == "u2pl")
        values = [losses.supervised, losses.unsupervised, losses.contrastive, *stats.local.values()]
        assert not any(value.requires_grad for value in [*values, *stats.shared.values()])

    def test_padding_gets_no_pseudo_label(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        valid = torch.ones_like(batch.unlabeled_labels, dtype=torch.bool)
        valid[:, 20:] = False
        batch = dataclasses.replace(batch, unlabeled_valid=valid)
        losses, stats = tiny.objective(name)(student, teacher, batch, tiny.clock(epoch=0))
        want = Restated(batch, 0.2, "cutmix", step=0)
        assert stats.local["pixels"].sum() == valid.sum() == want.valid.sum()
        assert losses.unsupervised.item() == pytest.approx(want.unsupervised.item(), rel=1e-5)

    def test_nothing_valid_is_finite(self, name: str) -> None:
        """Every unlabeled pixel is padding, and every label 255."""
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        nothing = torch.zeros_like(batch.unlabeled_labels, dtype=torch.bool)
        labels = torch.full_like(batch.labels, 255)
        batch = dataclasses.replace(batch, labels=labels, unlabeled_valid=nothing)
        losses, stats = tiny.objective(name)(student, teacher, batch, tiny.clock())
        losses.total.backward()
        assert losses.total.item() == 0.0
        assert not stats.local["pixels"].any()
        assert stats.local["entropy"].item() == 0.0
        gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
        assert all(not gradient.any() for gradient in gradients)

    def test_equal_entropies_are_finite(self, name: str) -> None:
        """A teacher that knows nothing: every entropy is ln C, no pixel below gamma."""
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        torch.nn.init.zeros_(teacher.classifier.weight)
        assert teacher.classifier.bias is not None
        torch.nn.init.zeros_(teacher.classifier.bias)
        losses, stats = tiny.objective(name)(student, teacher, batch, tiny.clock())
        assert stats.shared["gamma"].item() == pytest.approx(math.log(tiny.CLASSES))
        assert losses.unsupervised.item() == 0.0
        assert math.isfinite(losses.total.item())

    def test_alpha_0_uses_every_pixel(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        objective = tiny.objective(name, alpha={"start": 0.0}, mixing={"kind": "cutmix"})
        _, stats = objective(student, teacher, batch, tiny.clock())
        assert stats.local["pixels"][:, RELIABLE].sum() == batch.unlabeled_labels.numel()

    def test_the_true_labels_of_unlabeled_images_change_nothing(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        blind = dataclasses.replace(batch, unlabeled_labels=torch.full_like(batch.unlabeled_labels, 255))
        first, _ = tiny.objective(name)(student, teacher, batch, tiny.clock())
        second, stats = tiny.objective(name)(student, teacher, blind, tiny.clock())
        assert torch.equal(first.total, second.total)
        pixels = stats.local["pixels"]
        assert pixels.sum() == pixels[:, :, UNKNOWN].sum() == batch.unlabeled_labels.numel()

    def test_half_precision_outputs(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()

        def halved(network: tiny.Net) -> Any:
            return lambda images: tiny.Outputs(*(value.bfloat16() for value in network(images)))

        exact, _ = tiny.objective(name)(student, teacher, batch, tiny.clock())
        rounded, _ = tiny.objective(name)(halved(student), halved(teacher), batch, tiny.clock())
        rounded.total.backward()
        assert rounded.total.dtype == torch.float32
        assert rounded.total.item() == pytest.approx(exact.total.item(), rel=0.02)
        assert student.body.weight.grad is not None
        assert student.body.weight.grad.isfinite().all()

    def test_integer_labels_of_any_width(self, name: str) -> None:
        batch, (student, teacher) = tiny.batch(), tiny.networks()
        wide = dataclasses.replace(batch, labels=batch.labels.long(), unlabeled_labels=batch.unlabeled_labels.long())
        first, some = tiny.objective(name)(student, teacher, batch, tiny.clock())
        second, same = tiny.objective(name)(student, teacher, wide, tiny.clock())
        assert torch.equal(first.total, second.total)
        assert torch.equal(some.local["pixels"], same.local["pixels"])


def train(objective: Any, steps: range, student: tiny.Net, teacher: tiny.Net) -> list[float]:
    losses = []
    for step in steps:
        loss, _ = objective(student, teacher, tiny.batch(step), tiny.clock(step=step, epoch=step))
        gradients = torch.autograd.grad(loss.total, list(student.parameters()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(0.01 * gradient)
        losses.append(loss.total.item())
    return losses


@pytest.mark.parametrize("name", METHODS)
def test_two_runs_are_bit_identical(name: str) -> None:
    first, second = (train(tiny.objective(name), range(4), *tiny.networks()) for _ in range(2))
    assert first == second
    assert first[-1] != first[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_restored_objective_continues_bit_identically(name: str) -> None:
    student, teacher = tiny.networks()
    objective = tiny.objective(name)
    train(objective, range(3), student, teacher)
    state = objective.state_dict()
    restored, (student_again, _) = tiny.objective(name), tiny.networks()
    restored.load_state_dict(state)
    student_again.load_state_dict(student.state_dict())
    assert train(objective, range(3, 6), student, teacher) == train(restored, range(3, 6), student_again, teacher)


def test_what_the_contrastive_loss_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small maps in global order, labeled images first; reliability from the large map; the mixed truth."""
    batch, (student, teacher) = tiny.batch(), tiny.networks()
    objective = tiny.objective("u2pl", alpha={"start": 0.25})
    assert isinstance(objective, PseudoLabel)
    assert objective.contrast is not None
    given: list[Any] = []
    inner = objective.contrast.loss

    class Spy:
        def __call__(self, *arguments: Any) -> Any:
            given.extend(arguments)
            return inner(*arguments)

        local_maps = inner.local_maps

    monkeypatch.setattr(objective.contrast, "loss", Spy())
    losses, stats = objective(student, teacher, batch, tiny.clock(step=7))
    want = Restated(batch, 0.2, "cutmix", step=7)
    small = torch.arange(8) * 4

    def down(labeled: Tensor, unlabeled: Tensor) -> Tensor:
        return torch.cat([labeled, unlabeled])[:, small][:, :, small]

    student_features, teacher_features, n_labeled, maps, reliable, unreliable, clock, truth = given
    assert n_labeled == 4
    assert clock.step == 7
    both = torch.cat([batch.labeled_images, want.images])
    torch.testing.assert_close(student_features, student(both).representation)
    torch.testing.assert_close(teacher_features, teacher(both).representation)
    assert torch.equal(maps.label, down(batch.labels, want.pseudo))
    assert torch.equal(reliable, down(batch.labels != 255, want.reliable))
    assert torch.equal(unreliable, down(batch.labels != 255, want.unreliable))
    assert torch.equal(truth, down(batch.labels, want.truth))
    assert losses.contrastive > 0
    assert set(stats.shared) >= {"bank/fill", "bank/pushed", "bank/key_age", "anchor/none", "negative/none"}
    assert set(stats.local) >= {"negatives/known", "negatives/false"}
