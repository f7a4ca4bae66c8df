"""On whatever device: the golden vectors, and every loss and map against the CPU's own way of computing it.

The CPU takes the same tests with the static shapes that a GPU needs, so that what runs there has been run before.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.method import golden, tiny
from tests.method.contrast import golden_loss
from tests.method.test_no_sync import on
from u2pl_ray.config.method import OhemConfig
from u2pl_ray.method import pixels
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.losses import cross_entropy, ohem_cross_entropy, pseudo_label_loss
from u2pl_ray.method.maps import downsample, per_pixel, upsample
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.reliability import entropy, gamma, gamma_by_sort, most_likely, partition, upsampled_entropy
from u2pl_ray.method.selection import one_hot, pack_bits, rank_window, unpack_bits
from u2pl_ray.method.statistics import pixel_counts
from u2pl_ray.method.types import Clock

CPU = torch.device("cpu")
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SIZE = (61, 47)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(pixels, "static_shapes", lambda where: request.param == "cpu" or where.type != "cpu")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # convolutions as exact as the CPU's
    return torch.device(request.param)


def example(seed: int = 0, classes: int = 7) -> tuple[Tensor, Tensor]:
    """Small logits [4,C,16,13], and labels [4,61,47] with some 255."""
    draws = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, classes, 16, 13, generator=draws)
    labels = torch.randint(classes, (4, *SIZE), generator=draws, dtype=torch.uint8)
    return logits, labels.masked_fill(torch.rand(labels.shape, generator=draws) < 0.2, 255)


@pytest.mark.parametrize("name", golden.CASES)
def test_golden_keys_contrastive_loss_and_gradient(name: str, device: torch.device) -> None:
    case = golden.load(name)
    loss = golden_loss(case, device=device)
    n_labeled = case.config["n_labeled"]
    c, m, n = (case.config[key] for key in ("num_classes", "num_queries", "num_negatives"))
    for s in case.steps:
        anchors, negatives = torch.zeros(c, m, dtype=torch.int64), torch.zeros(c, m, n, dtype=torch.int64)
        if case.has(s, "fix_term_anchor_class"):
            classes = case.tensor(s, "fix_term_anchor_class").long()
            anchors[classes] = case.tensor(s, "fix_anchor_draw").long()
            negatives[classes] = case.tensor(s, "fix_neg_draw").long()
        loss.anchors, loss.negatives = anchors.to(device), negatives.to(device)
        rep = case.tensor(s, "rep").to(device).requires_grad_()
        maps = loss.local_maps(case.prob(s).to(device), case.tensor(s, "label_small").to(device), n_labeled)
        reliable, unreliable = (mask.to(device) for mask in case.masks(s))
        value, stats = loss(
            rep, case.tensor(s, "rep_teacher").to(device), n_labeled, maps, reliable, unreliable, Clock(0, 1, s)
        )
        (gradient,) = torch.autograd.grad(value, rep)

        torch.testing.assert_close(value.detach().cpu(), case.tensor(s, "fix_loss"), rtol=1e-5, atol=1e-7)
        counts = torch.minimum(case.tensor(s, "fix_key_count"), torch.tensor(case.config["queue_sizes"]))
        assert torch.equal(stats.shared["bank/pushed"].cpu(), counts.float())
        assert torch.equal(loss.bank.fill.cpu(), case.tensor(s, "fix_queue_count").long())
        if case.has(s, "fix_grad_rep"):
            torch.testing.assert_close(gradient.cpu(), case.tensor(s, "fix_grad_rep"), rtol=0, atol=1e-7)
            queue = torch.nn.functional.normalize(case.tensor(s, "fix_queue"), dim=1, eps=1e-8)
            torch.testing.assert_close(loss.bank.state_dict()["keys"].cpu(), queue, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", golden.CASES)
def test_golden_entropy_threshold_and_unsupervised_loss(name: str, device: torch.device) -> None:
    case = golden.load(name)
    got = entropy(case.tensor(0, "teacher_logits_u").to(device)).cpu()
    torch.testing.assert_close(got, case.tensor(0, "entropy_u"), atol=2e-6, rtol=0)
    entropies = case.tensor(0, "entropy_u").masked_fill(case.tensor(0, "label_u") == 255, math.nan)
    alpha = float(case.numpy(0, "alpha_t")) / 100
    threshold = float(gamma(entropies.to(device), alpha))
    assert threshold == pytest.approx(float(case.numpy(0, "high_thresh")), abs=1e-6)
    logits = case.tensor(0, "student_logits_u").to(device).requires_grad_()
    targets = case.tensor(0, "unsup_target").to(device)
    reliable = (targets != 255).sum()
    loss = pseudo_label_loss(logits, targets, reliable, torch.tensor(targets.numel(), device=device), 1)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(case.numpy(0, "unsup_loss")), rel=1e-5)
    assert logits.grad is not None
    assert float(logits.grad.double().abs().sum()) == pytest.approx(
        float(case.numpy(0, "unsup_grad_abs_sum")), rel=1e-5
    )


@pytest.mark.parametrize("row", range(6))
def test_golden_ohem(row: int, device: torch.device) -> None:
    vectors = golden.ohem()
    threshold, min_kept, want, kept = vectors["table"][row]
    pred = torch.from_numpy(vectors["pred"]).to(device).requires_grad_()
    config = OhemConfig(threshold=threshold, min_kept=int(min_kept))
    loss = ohem_cross_entropy(pred, torch.from_numpy(vectors["target"]).to(device), config, Collectives(device))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(want, rel=1e-5)
    assert pred.grad is not None
    assert int((pred.grad != 0).any(1).sum()) == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_supervised_and_pseudo_label_loss_agree(dtype: torch.dtype, device: torch.device) -> None:
    values: dict[str, list[Tensor]] = {"plain": [], "tested": []}
    for side, where in (("plain", CPU), ("tested", device)):
        logits, labels = example()
        logits = logits.to(where, dtype).requires_grad_()
        labels = labels.to(where)
        total = (labels != 255).sum()
        for loss in (
            cross_entropy(logits, labels, total, 1),
            pseudo_label_loss(logits, labels, total, 2 * total, 1),
            ohem_cross_entropy(logits, labels, OhemConfig(min_kept=500), Collectives(where)),
        ):
            (gradient,) = torch.autograd.grad(loss, logits)
            values[side] += [loss.detach().cpu(), gradient.cpu()]
    rtol, atol = (1e-5, 1e-7) if dtype == torch.float32 else (1e-2, 1e-5)
    for plain, tested in zip(values["plain"], values["tested"], strict=True):
        torch.testing.assert_close(tested, plain, rtol=rtol, atol=atol)


def test_maps_agree(device: torch.device) -> None:
    logits, labels = example()
    here = logits.to(device)
    torch.testing.assert_close(upsample(here, SIZE).cpu(), upsample(logits, SIZE), rtol=0, atol=1e-5)
    entropies = upsampled_entropy(here, SIZE)
    torch.testing.assert_close(entropies.cpu(), upsampled_entropy(logits, SIZE), rtol=0, atol=1e-5)
    likely = per_pixel(most_likely, here, SIZE).cpu()
    plain = per_pixel(most_likely, logits, SIZE)
    top = upsample(logits, SIZE).topk(2, dim=1).values
    sure = top[:, 0] - top[:, 1] > 1e-4  # elsewhere rounding decides
    assert sure.float().mean() > 0.99
    assert torch.equal(likely[sure], plain[sure])
    assert torch.equal(downsample(labels.to(device), (16, 13)).cpu(), downsample(labels, (16, 13)))


@pytest.mark.parametrize("alpha", [0.0, 0.13, 0.5, 1.0])
def test_threshold_and_partition_are_the_same(alpha: float, device: torch.device) -> None:
    logits, labels = example(1)
    entropies = upsampled_entropy(logits, SIZE).masked_fill(labels == 255, math.nan)
    threshold = gamma(entropies, alpha)
    here = gamma_by_sort(entropies.to(device), alpha)
    torch.testing.assert_close(here.cpu(), threshold, rtol=1e-6, atol=0)
    for got, want in zip(
        partition(entropies.to(device), here, alpha), partition(entropies, here.cpu(), alpha), strict=True
    ):
        assert torch.equal(got.cpu(), want)


@pytest.mark.parametrize("classes", [5, 21])
def test_masks_and_counts_are_the_same(classes: int, device: torch.device) -> None:
    logits, labels = example(2, classes)
    prob, small = logits.softmax(1), downsample(labels, (16, 13))
    window = rank_window(prob, small, 2, 2, classes)
    here = rank_window(prob.to(device), small.to(device), 2, 2, classes)
    assert torch.equal(here.cpu(), window)
    assert torch.equal(unpack_bits(pack_bits(here), classes).cpu(), window)
    reliable = torch.rand(small.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(one_hot(small.to(device), reliable.to(device), classes).cpu(), one_hot(small, reliable, classes))
    entropies = entropy(logits).masked_fill(small == 255, math.nan)
    shifted = small.roll(1, 0)
    plain = pixel_counts(small, reliable, shifted, entropies, classes)
    on_device = [each.to(device) for each in (small, reliable, shifted, entropies)]
    here = pixel_counts(on_device[0], on_device[1], on_device[2], on_device[3], classes)
    assert torch.equal(here.cpu(), plain)


def whole_step(device: torch.device, **changes: Any) -> tuple[Tensor, list[Tensor]]:
    """Losses of the second of two steps, and its gradients. Draws depend on the kind of device, so nothing is drawn."""
    student, teacher = (network.to(device) for network in tiny.networks())
    nothing_drawn = {"mixing": {"kind": "none"}, **changes}
    objective = build_objective(
        tiny.config("pseudo_label", **nothing_drawn), tiny.CLASSES, tiny.DIM, 0, Collectives(device), device
    )
    for step in range(2):
        student.zero_grad()
        losses, _ = objective(student, teacher, on(device, tiny.batch(step)), tiny.clock(step=step))
        losses.total.backward()
    gradients = [each.grad.cpu() for each in student.parameters() if each.grad is not None]
    return torch.stack([losses.supervised, losses.unsupervised]).cpu(), gradients


@pytest.mark.parametrize("supervised_loss", ["ce", "ohem"])
def test_a_whole_step_agrees(supervised_loss: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"supervised_loss": supervised_loss, "ohem": {"min_kept": 900}}
    losses, gradients = whole_step(device, **changes)
    monkeypatch.setattr(pixels, "static_shapes", lambda where: where.type != "cpu")
    plain, plain_gradients = whole_step(CPU, **changes)
    torch.testing.assert_close(losses, plain, rtol=1e-4, atol=1e-6)
    assert len(gradients) == len(plain_gradients) > 0
    for got, want in zip(gradients, plain_gradients, strict=True):
        # Of the norm: rounding may decide otherwise of a pixel that lies at the threshold.
        assert (got - want).norm() < 2e-3 * want.norm()
