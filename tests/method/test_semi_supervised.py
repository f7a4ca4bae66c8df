"""What the settings beside U2PL's do to a step, and FixMatch and UniMatch against a plain restatement."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.method import tiny
from u2pl_ray.config.method import MixingConfig, StrongViewConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.mixing import mix
from u2pl_ray.method.objective import IMAGENET
from u2pl_ray.method.pseudo_label import rampup
from u2pl_ray.method.statistics import RELIABLE
from u2pl_ray.method.strong_view import StrongView
from u2pl_ray.method.trust import Judged, Trust

ALONE = Collectives(tiny.CPU)
TAU = 0.4


def large(logits: Tensor) -> Tensor:
    return F.interpolate(logits, (tiny.SIDE, tiny.SIDE), mode="bilinear", align_corners=False)


def step(name: str, **changes: Any) -> tuple[Any, Any, tiny.Net, tiny.Net]:
    student, teacher = tiny.networks()
    losses, stats = tiny.objective(name, **changes)(student, teacher, tiny.batch(), tiny.clock(step=7))
    return losses, stats, student, teacher


def restated_view(suffix: str, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """A strong view's images, pseudo-labels and confidence, as FixMatch has them: judged before mixing."""
    batch, (_, teacher) = tiny.batch(), tiny.networks()
    with torch.no_grad():
        prob = large(teacher(batch.unlabeled_images).logits).softmax(1)
        confidence, labels = prob.max(1)
    images, labels, (confidence,) = mix(
        MixingConfig(), batch.unlabeled_images, labels.to(torch.uint8), (confidence,),
        seed=0, step=7, collectives=ALONE, stream=f"mixing{suffix}",
    )  # fmt: skip
    images = StrongView(StrongViewConfig(), IMAGENET, 0, ALONE)(images, 7, f"strong_view/{number}")
    return images, labels, confidence


def masked(logits: Tensor, labels: Tensor, confidence: Tensor) -> Tensor:
    """The sum over confident pixels, divided by all."""
    each = F.cross_entropy(large(logits), labels.long(), reduction="none")
    return (each * (confidence >= TAU)).mean()


@pytest.mark.parametrize(("name", "passes"), [("pseudo_label", 1), ("u2pl", 2)])
def test_without_mixing_the_teacher_sees_the_unlabeled_images_once(name: str, passes: int) -> None:
    """u2pl's second pass is over the labeled images. Mixing that never happens gives the same images in new tensors."""
    losses, _, student, teacher = step(name, mixing={"kind": "none"})
    assert len(teacher.seen) == passes
    expected, _, other, again = step(name, mixing={"kind": "cutmix", "probability": 0})
    assert len(again.seen) == passes + 1
    for each, value in vars(losses).items():
        assert torch.equal(value, getattr(expected, each)), each
    for end in (losses, expected):
        end.total.backward()
    for mine, theirs in zip(student.parameters(), other.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        assert mine.grad is None or theirs.grad is None or torch.equal(mine.grad, theirs.grad)


def test_fixmatch() -> None:
    losses, stats, student, teacher = step("fixmatch", reliability={"confidence": TAU})
    images, labels, confidence = restated_view("", 0)
    assert len(teacher.seen) == 1  # the weak view alone
    torch.testing.assert_close(student.seen[0][4:], images)
    want = masked(student(images).logits, labels, confidence)
    assert losses.unsupervised.item() == pytest.approx(want.item(), rel=1e-5)
    assert stats.local["pixels"][:, RELIABLE].sum() == (confidence >= TAU).sum()
    assert losses.contrastive == 0


def test_unimatch() -> None:
    losses, _, student, teacher = step("unimatch", reliability={"confidence": TAU})
    batch = tiny.batch()
    first, second = restated_view("", 0), restated_view("/1", 1)
    torch.testing.assert_close(student.seen[0][4:], torch.cat([first[0], second[0], batch.unlabeled_images]))
    assert not torch.equal(first[0], second[0])
    with torch.no_grad():
        confidence, labels = large(teacher(batch.unlabeled_images).logits).softmax(1).max(1)
    perturbed = student(batch.unlabeled_images, len(batch.unlabeled_images)).logits
    want = 0.5 * masked(perturbed, labels, confidence)
    for images, names, sure in (first, second):
        want = want + 0.25 * masked(student(images).logits, names, sure)
    assert losses.unsupervised.item() == pytest.approx(want.item(), rel=1e-5)


INJECTED = {"kind": "cutmix", "probability": 1, "labeled_partner": 1}


def injected() -> tuple[Tensor, Tensor, Tensor]:
    """The mixed images of `step` with INJECTED, their labels, and which of these are given."""
    batch, (_, teacher) = tiny.batch(), tiny.networks()
    labels = large(teacher(batch.unlabeled_images).logits).argmax(1).to(torch.uint8)
    given = torch.zeros(labels.shape, dtype=torch.bool)
    images, labels, (given,) = mix(
        MixingConfig(**INJECTED), batch.unlabeled_images, labels, (given,),
        seed=0, step=7, collectives=ALONE, labeled=(batch.labeled_images, batch.labels),
    )  # fmt: skip
    return images, labels, given & (labels != 255)


@pytest.mark.parametrize("judged_on", ["weak", "mixed"])
def test_the_labels_of_a_labeled_partner_are_reliable_whatever_the_teacher_says(judged_on: str) -> None:
    """L_u by hand: pixels of the labeled images with their labels, and of the others those that pass both tests."""
    changes = {"reliability": {"confidence": TAU, "judged_on": judged_on}, "alpha": {"start": 0.5}}
    losses, stats, student, _ = step("pseudo_label", mixing=INJECTED, **changes)
    batch, (_, teacher) = tiny.batch(), tiny.networks()
    images, labels, given = injected()
    judged = large(teacher(batch.unlabeled_images if judged_on == "weak" else images).logits).softmax(1)
    entropies = -(judged * judged.log()).sum(1)
    valid = labels != 255
    gamma = entropies[valid & ~given].quantile(1 - stats.shared["alpha"].item())
    reliable = given | (valid & (entropies < gamma) & (judged.max(1).values >= TAU))
    each = F.cross_entropy(large(student(images).logits), labels.long(), ignore_index=255, reduction="none")
    want = each[reliable].mean() * valid.sum() / reliable.sum()
    assert 0 < given.sum() < reliable.sum() < valid.sum()
    assert stats.shared["gamma"].item() == pytest.approx(gamma.item(), rel=1e-4)
    assert losses.unsupervised.item() == pytest.approx(want.item(), rel=1e-3)
    assert stats.local["pixels"].sum() == (valid & ~given).sum()  # diagnostics are of pseudo-labels


@pytest.mark.parametrize("per_class", [False, True])
def test_given_labels_are_learned_from_where_hardly_a_pseudo_label_is_reliable(per_class: bool) -> None:
    changes = {"reliability": {"per_class": per_class}, "alpha": {"start": 0.999, "kind": "constant"}}
    losses, stats, student, _ = step("pseudo_label", mixing=INJECTED, **changes)
    images, labels, given = injected()
    reliable = stats.local["pixels"][:, RELIABLE].sum()
    each = F.cross_entropy(large(student(images).logits), labels.long(), ignore_index=255, reduction="none")
    assert reliable < 0.02 * given.sum()
    summed = losses.unsupervised * (given.sum() + reliable) / (labels != 255).sum()  # lambda_u taken out: the mean
    assert summed.item() == pytest.approx(each[given].mean().item(), rel=0.02)


@pytest.mark.parametrize("name", ["pseudo_label", "fixmatch", "unimatch"])
def test_the_contrastive_term_goes_with_every_method(name: str) -> None:
    changes = {"reliability": {"confidence": TAU}, "alpha": {"start": 0.5}}
    plain, _, _, _ = step(name, **changes)
    zero = {"contrastive": {"use": True, "weight": 0, "low_rank": 2, "high_rank": 5, "anchors": 6, "negatives": 7}}
    losses, stats, _, _ = step(name, **changes, **zero)
    assert losses.contrastive > 0
    assert stats.shared["bank/pushed"].sum() > 0
    assert torch.equal(losses.total, plain.total)
    assert torch.equal(losses.unsupervised, plain.unsupervised)


def test_u2pl_without_the_term_by_its_switch_is_pseudo_label() -> None:
    plain, _, _, _ = step("pseudo_label")
    off, stats, _, _ = step("u2pl", contrastive={"use": False})
    assert torch.equal(off.total, plain.total)
    assert "bank/fill" not in stats.shared


def test_a_confidence_of_0_and_other_neutral_values_change_nothing() -> None:
    plain, _, _, _ = step("u2pl")
    neutral = {
        "reliability": {"judged_on": "mixed", "confidence": 0.0},
        "strong_view": {"use": False},
        "balance": {"alignment": 0.0, "margin": 0.0, "weight_power": 0.0},
        "mixing": {"labeled_partner": 0.0},
    }
    same, _, _, _ = step("u2pl", **neutral)
    assert torch.equal(same.total, plain.total)


def test_confidence_beside_the_quantile_leaves_those_that_pass_both() -> None:
    _, plain, _, _ = step("pseudo_label", alpha={"start": 0.5})
    _, sure, _, _ = step("pseudo_label", alpha={"start": 0.5}, reliability={"confidence": 0.7})
    assert sure.shared["gamma"] == plain.shared["gamma"]
    fewer, more = (stats.local["pixels"][:, RELIABLE].sum() for stats in (sure, plain))
    assert 0 < fewer < more


def test_a_quantile_for_each_class_keeps_the_same_share_of_each() -> None:
    _, stats, _, _ = step("pseudo_label", alpha={"start": 0.5}, reliability={"per_class": True})
    pixels = stats.local["pixels"].sum((2, 3))
    shares = pixels[:, RELIABLE] / pixels.sum(1)
    alpha = stats.shared["alpha"].item()
    assert shares[pixels.sum(1) > 200].sub(1 - alpha).abs().max() < 0.01


def test_class_weights_weigh_the_unsupervised_loss() -> None:
    changes = {"alpha": {"start": 0.5}, "mixing": {"kind": "none"}}
    losses, stats, student, teacher = step("pseudo_label", **changes, balance={"weight_power": 1.0})
    batch = tiny.batch()
    with torch.no_grad():
        prob = large(teacher(batch.unlabeled_images).logits).double().softmax(1)
        entropy, labels = -(prob * prob.log()).sum(1), prob.argmax(1)
    reliable = entropy < stats.shared["gamma"]
    each = F.cross_entropy(large(student(batch.unlabeled_images).logits), labels, reduction="none")
    means = [each[reliable & (labels == c)].mean() for c in range(tiny.CLASSES) if (reliable & (labels == c)).any()]
    want = torch.stack(means).mean() * labels.numel() / reliable.sum()  # every class weighs the same
    assert losses.unsupervised.item() == pytest.approx(want.item(), rel=1e-4)


def test_margins_by_class() -> None:
    """L_u by hand: the first step's shares, of reliable pseudo-labels and of labels, are the prior of each term."""
    changes = {"alpha": {"start": 0.5}, "mixing": {"kind": "none"}}
    losses, stats, student, teacher = step("pseudo_label", **changes, balance={"margin": 0.6})
    batch = tiny.batch()
    with torch.no_grad():
        prob = large(teacher(batch.unlabeled_images).logits).double().softmax(1)
        entropy, names = -(prob * prob.log()).sum(1), prob.argmax(1)
    reliable = entropy < stats.shared["gamma"]
    known = batch.labels[batch.labels != 255].long()
    shares = [ids.bincount(minlength=tiny.CLASSES) / ids.numel() + 1e-3 for ids in (names[reliable], known)]
    prior = (shares[0] / shares[1]) ** 0.6
    weighted = large(student(batch.unlabeled_images).logits).softmax(1) * prior.view(1, -1, 1, 1)
    each = -(weighted / weighted.sum(1, keepdim=True)).gather(1, names.unsqueeze(1))[:, 0].log()
    want = each[reliable].mean() * names.numel() / reliable.sum()
    assert losses.unsupervised.item() == pytest.approx(want.item(), rel=1e-4)
    plain, _, _, _ = step("pseudo_label", **changes)
    assert abs(losses.unsupervised.item() / plain.unsupervised.item() - 1) > 0.01
    assert torch.equal(losses.supervised, plain.supervised)


def test_margins_go_on_from_a_checkpoint() -> None:
    student, teacher = tiny.networks()
    first, second = (tiny.objective("pseudo_label", balance={"margin": 1.0}) for _ in range(2))
    for number in range(3):
        first(student, teacher, tiny.batch(number), tiny.clock(step=number))
    second.load_state_dict(first.state_dict())
    last = [each(student, teacher, tiny.batch(3), tiny.clock(step=3))[0].total for each in (first, second)]
    fresh = tiny.objective("pseudo_label", balance={"margin": 1.0})
    assert torch.equal(*last)
    assert not torch.equal(last[0], fresh(student, teacher, tiny.batch(3), tiny.clock(step=3))[0].total)


def test_the_strong_view_is_the_students_alone() -> None:
    _, _, plain, first = step("u2pl")
    _, _, student, teacher = step("u2pl", strong_view={"use": True})
    assert torch.equal(student.seen[0][:4], plain.seen[0][:4])
    assert not torch.equal(student.seen[0][4:], plain.seen[0][4:])
    assert all(torch.equal(mine, other) for mine, other in zip(teacher.seen, first.seen, strict=True))


def test_rampup() -> None:
    assert rampup(0.0, 0.0) == rampup(0.5, 0.5) == rampup(1.0, 0.5) == 1.0
    assert rampup(0.0, 0.5) == pytest.approx(math.exp(-5))
    assert rampup(0.25, 0.5) == pytest.approx(math.exp(-1.25))


def test_the_mean_of_the_classes_gammas_is_over_those_with_pixels() -> None:
    entropies, labels = torch.tensor([0.2, 0.4, 1.0, 1.2]), torch.tensor([0, 0, 2, 2], dtype=torch.uint8)
    judged = [Judged(entropies, labels, None)]
    trust = Trust(judged, 0.0, 4, quantile=True, per_class=True, weight_power=0.0)
    torch.testing.assert_close(trust.threshold, torch.tensor([0.4, 0.0, 1.2, 0.0]))
    torch.testing.assert_close(trust.mean_threshold(), torch.tensor(0.8))
    _, stats, _, _ = step("pseudo_label", reliability={"per_class": True})
    found = stats.shared["class/gamma"]
    torch.testing.assert_close(stats.shared["gamma"], found[found > 0].mean())
