import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.method import golden
from u2pl_ray.config.method import OhemConfig
from u2pl_ray.method import maps
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.losses import cross_entropy, ohem_cross_entropy, pseudo_label_loss

ALONE = Collectives(torch.device("cpu"))


def count(labels: Tensor) -> Tensor:
    return (labels != 255).sum()


def pixels(labels: Tensor) -> Tensor:
    return torch.tensor(labels.numel())


def plain_losses(logits: Tensor, labels: Tensor) -> list[tuple[float, float]]:
    """(cross entropy, probability of the label) of each labeled pixel, in float64, pixel by pixel."""
    pixels = []
    for image, label in zip(logits.double().numpy(), labels.numpy(), strict=True):
        for y, x in np.ndindex(*label.shape):
            if label[y, x] != 255:
                exp = np.exp(image[:, y, x] - image[:, y, x].max())
                prob = exp[label[y, x]] / exp.sum()
                pixels.append((-math.log(prob), float(prob)))
    return pixels


def example(seed: int = 0, classes: int = 5, ignored: float = 0.2) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, classes, 6, 7, generator=draws)
    labels = torch.randint(0, classes, (3, 6, 7), generator=draws, dtype=torch.uint8)
    return logits, labels.masked_fill(torch.rand(3, 6, 7, generator=draws) < ignored, 255)


class TestCrossEntropy:
    def test_by_hand(self) -> None:
        """Two labeled pixels: p(label) = 1/2 and 1/4; one ignored."""
        logits = torch.tensor([[0.5, 0.25, 0.9], [0.5, 0.75, 0.1]]).log().view(1, 2, 1, 3)
        labels = torch.tensor([[[0, 0, 255]]], dtype=torch.uint8)
        got = cross_entropy(logits, labels, count(labels), world_size=1)
        assert got.item() == pytest.approx(1.5 * math.log(2))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
    def test_matches_the_definition(self, dtype: torch.dtype) -> None:
        logits, labels = example()
        got = cross_entropy(logits, labels.to(dtype), count(labels), world_size=1)
        assert got.item() == pytest.approx(np.mean([loss for loss, _ in plain_losses(logits, labels)]), rel=1e-6)

    def test_shares_of_workers_average_to_the_whole(self) -> None:
        """Labeled pixels are spread unevenly, and the mean over workers is still the mean over pixels."""
        logits, labels = example()
        labels[0] = 255
        labels[1, 1:] = 255
        whole = cross_entropy(logits, labels, count(labels), world_size=1)
        parts = [cross_entropy(logits[i : i + 1], labels[i : i + 1], count(labels), world_size=3) for i in range(3)]
        assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-6)

    def test_half_precision_logits_are_taken_as_float32(self) -> None:
        logits, labels = example()
        logits = (1000 * logits).half()
        got = cross_entropy(logits, labels, count(labels), world_size=1)
        assert got.dtype == torch.float32
        assert torch.equal(got, cross_entropy(logits.float(), labels, count(labels), world_size=1))

    def test_gradient_is_the_formula(self) -> None:
        """softmax - one-hot over the number of labeled pixels, 0 where ignored."""
        logits, labels = example()
        logits.requires_grad_()
        cross_entropy(logits, labels, count(labels), world_size=1).backward()
        labeled = labels != 255
        one_hot = torch.nn.functional.one_hot(labels.long().masked_fill(~labeled, 0), 5).permute(0, 3, 1, 2)
        want = (logits.detach().softmax(1) - one_hot) * labeled.unsqueeze(1) / labeled.sum()
        torch.testing.assert_close(logits.grad, want, atol=1e-8, rtol=1e-5)

    def test_nothing_labeled_is_zero_with_a_zero_gradient(self) -> None:
        logits, labels = example(ignored=2.0)
        logits.requires_grad_()
        loss = cross_entropy(logits, labels, count(labels), world_size=1)
        loss.backward()
        assert loss.item() == 0.0
        assert logits.grad is not None
        assert not logits.grad.any()


class TestUpsampled:
    """Losses take the small map's logits, and on CPU handle them in bands: the same as torch's, step by step."""

    @pytest.mark.parametrize("band_bytes", [1, 3000, 1 << 20])
    @pytest.mark.parametrize("size", [(6, 7), (24, 28), (25, 27), (3, 50)])
    def test_cross_entropy(self, size: tuple[int, int], band_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(maps, "BAND_BYTES", band_bytes)
        draws = torch.Generator().manual_seed(0)
        logits = (10 * torch.randn(3, 5, 6, 7, generator=draws)).requires_grad_()
        labels = torch.randint(0, 5, (3, *size), generator=draws, dtype=torch.uint8)
        labels.masked_fill_(torch.rand(labels.shape, generator=draws) < 0.2, 255)
        got = cross_entropy(logits, labels, count(labels), world_size=1)
        want = F.cross_entropy(maps.upsample(logits, size), labels.long(), ignore_index=255)
        torch.testing.assert_close(got, want, atol=0, rtol=1e-6)
        mine, other = (torch.autograd.grad(3 * loss, logits)[0] for loss in (got, want))
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)

    def test_ohem(self) -> None:
        logits, _ = example()
        labels = torch.randint(0, 5, (3, 24, 28), generator=torch.Generator().manual_seed(0))
        each = F.cross_entropy(maps.upsample(logits, (24, 28)), labels, reduction="none").flatten()
        got = ohem_cross_entropy(logits, labels, OhemConfig(threshold=0.0, min_kept=500), ALONE)
        assert got.item() == pytest.approx(each.topk(500).values.mean().item(), rel=1e-5)

    def test_neighbours_that_are_sure_of_different_classes(self) -> None:
        """Half-way between them every class is far below both neighbours' best."""
        draws = torch.Generator().manual_seed(3)
        logits = (1000 * torch.randn(1, 4, 5, 5, generator=draws)).requires_grad_()
        labels = torch.randint(0, 4, (1, 15, 15), generator=draws, dtype=torch.uint8)
        got = cross_entropy(logits, labels, count(labels), world_size=1)
        want = F.cross_entropy(maps.upsample(logits, (15, 15)), labels.long())
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        mine, other = (torch.autograd.grad(loss, logits)[0] for loss in (got, want))
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)

    def test_gradient_has_the_precision_and_layout_of_the_logits(self) -> None:
        logits, labels = example()
        halved = logits.bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
        cross_entropy(halved, labels, count(labels), world_size=1).backward()
        assert halved.grad is not None
        assert halved.grad.dtype == torch.bfloat16
        exact = halved.detach().float().requires_grad_()
        cross_entropy(exact, labels, count(labels), world_size=1).backward()
        torch.testing.assert_close(halved.grad, exact.grad.bfloat16() if exact.grad is not None else None)

    def test_a_label_beyond_the_classes_is_refused(self) -> None:
        logits, labels = example()
        labels[0, 0, 0] = 5
        with pytest.raises(RuntimeError, match="out of bounds"):
            cross_entropy(logits, labels, count(labels), world_size=1)


class TestOhem:
    @pytest.mark.parametrize("row", range(6))
    def test_matches_golden(self, row: int) -> None:
        vectors = golden.ohem()
        threshold, min_kept, want, pixels = vectors["table"][row]
        pred = torch.from_numpy(vectors["pred"]).requires_grad_()
        config = OhemConfig(threshold=threshold, min_kept=int(min_kept))
        loss = ohem_cross_entropy(pred, torch.from_numpy(vectors["target"]), config, ALONE)
        loss.backward()
        assert loss.item() == pytest.approx(want, rel=1e-5)
        assert pred.grad is not None
        assert (pred.grad != 0).any(1).sum() == pixels

    def test_by_hand(self) -> None:
        """p(label) = 0.9, 0.8, 0.5, 0.1: by threshold two are hard; min_kept 3 takes the 0.8 in."""
        p = torch.tensor([0.9, 0.8, 0.5, 0.1, 0.3])
        logits = torch.stack([p, 1 - p]).log().view(1, 2, 1, 5)
        labels = torch.tensor([[[0, 0, 0, 0, 255]]], dtype=torch.uint8)

        def loss(threshold: float, min_kept: int) -> float:
            config = OhemConfig(threshold=threshold, min_kept=min_kept)
            return ohem_cross_entropy(logits, labels, config, ALONE).item()

        hard = [-math.log(value) for value in (0.1, 0.5, 0.8, 0.9)]
        assert loss(0.6, 1) == pytest.approx(sum(hard[:2]) / 2)
        assert loss(0.6, 3) == pytest.approx(sum(hard[:3]) / 3)
        assert loss(0.0, 1) == pytest.approx(hard[0])
        assert loss(0.0, 4) == pytest.approx(sum(hard) / 4)
        assert loss(0.0, 5) == pytest.approx(sum(hard) / 4)  # more than there are, ignored ones aside
        assert loss(0.0, 1000) == pytest.approx(sum(hard) / 4)

    @given(seed=st.integers(0, 1000), threshold=st.floats(0, 1), min_kept=st.integers(1, 200))
    def test_matches_the_definition(self, seed: int, threshold: float, min_kept: int) -> None:
        logits, labels = example(seed)
        pixels = plain_losses(logits, labels)
        easiest = max(prob for _, prob in pixels)
        nth = sorted(prob for _, prob in pixels)[min_kept - 1] if min_kept <= len(pixels) else easiest
        limit = max(threshold, nth) + 1e-7
        if any(abs(prob - threshold) < 1e-6 for _, prob in pixels):
            return  # float32 and float64 may differ on which side it lies
        want = np.mean([loss for loss, prob in pixels if prob <= limit])
        got = ohem_cross_entropy(logits, labels, OhemConfig(threshold=threshold, min_kept=min_kept), ALONE)
        assert got.item() == pytest.approx(want, rel=1e-5)

    def test_nothing_labeled_is_zero(self) -> None:
        logits, labels = example(ignored=2.0)
        logits.requires_grad_()
        loss = ohem_cross_entropy(logits, labels, OhemConfig(min_kept=10), ALONE)
        loss.backward()
        assert loss.item() == 0.0
        assert logits.grad is not None
        assert not logits.grad.any()


class TestPseudoLabelLoss:
    @pytest.mark.parametrize("case", golden.CASES)
    def test_matches_golden(self, case: str) -> None:
        vectors = golden.load(case)
        logits = vectors.tensor(0, "student_logits_u").requires_grad_()
        targets = vectors.tensor(0, "unsup_target")
        loss = pseudo_label_loss(logits, targets, count(targets), pixels(targets), world_size=1)
        loss.backward()
        assert loss.item() == pytest.approx(float(vectors.numpy(0, "unsup_loss")), rel=1e-5)
        weight = targets.numel() / count(targets).item()
        assert weight == pytest.approx(float(vectors.numpy(0, "unsup_weight")), rel=1e-6)
        assert logits.grad is not None
        gradient = logits.grad.double()
        assert gradient.abs().sum().item() == pytest.approx(float(vectors.numpy(0, "unsup_grad_abs_sum")), rel=1e-5)
        assert gradient.square().sum().item() == pytest.approx(float(vectors.numpy(0, "unsup_grad_sq_sum")), rel=1e-5)

    def test_by_hand(self) -> None:
        """Four pixels, one reliable with p = 1/8: lambda_u = 4, loss 4 ln 8; the other three do not matter."""
        logits = torch.tensor([[1 / 8, 0.9, 0.1, 0.4], [7 / 8, 0.1, 0.9, 0.6]]).log().view(1, 2, 2, 2)
        targets = torch.tensor([[[0, 255], [255, 255]]], dtype=torch.uint8)
        assert pseudo_label_loss(logits, targets, count(targets), pixels(targets), 1).item() == pytest.approx(
            4 * math.log(8)
        )

    def test_padding_is_not_counted(self) -> None:
        """Two of the four pixels above could have been reliable: lambda_u = 2."""
        logits = torch.tensor([[1 / 8, 0.9, 0.1, 0.4], [7 / 8, 0.1, 0.9, 0.6]]).log().view(1, 2, 2, 2)
        targets = torch.tensor([[[0, 255], [255, 255]]], dtype=torch.uint8)
        loss = pseudo_label_loss(logits, targets, count(targets), torch.tensor(2), 1)
        assert loss.item() == pytest.approx(2 * math.log(8))

    def test_shares_of_workers_average_to_the_whole(self) -> None:
        logits, targets = example()
        targets[0] = 255
        whole = pseudo_label_loss(logits, targets, count(targets), pixels(targets), world_size=1)
        numbers = count(targets), pixels(targets), 3
        parts = [pseudo_label_loss(logits[i : i + 1], targets[i : i + 1], *numbers) for i in range(3)]
        assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-6)

    def test_nothing_reliable_is_zero_and_finite(self) -> None:
        logits, targets = example(ignored=2.0)
        logits.requires_grad_()
        loss = pseudo_label_loss(logits, targets, count(targets), pixels(targets), world_size=1)
        loss.backward()
        assert loss.item() == 0.0
        assert logits.grad is not None
        assert not logits.grad.any()
