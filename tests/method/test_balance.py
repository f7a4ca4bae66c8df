import dataclasses

import numpy as np
import pytest
import torch

from tests.method import tiny
from u2pl_ray.method.balance import PriorShift, class_counts, class_weights, label_and_prediction_counts
from u2pl_ray.method.reliability import confidence, gamma, gamma_by_class

CPU = torch.device("cpu")


def test_class_counts() -> None:
    labels = torch.tensor([[0, 2, 2], [255, 4, 2]], dtype=torch.uint8)
    assert class_counts(labels, 5).tolist() == [1, 0, 3, 0, 1]


def test_class_counts_of_a_large_batch() -> None:
    """More pixels than float32 can count one by one, as 64 crops of 768 x 768 have."""
    assert class_counts(torch.zeros(2**24 + 5, dtype=torch.uint8), 2).tolist() == [2**24 + 5, 0]


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_class_weights_have_a_mean_of_1_over_the_pixels(power: float) -> None:
    counts = torch.tensor([1000, 10, 0, 100])
    weights = class_weights(counts, power)
    assert (weights * counts).sum().item() == pytest.approx(counts.sum().item(), rel=1e-5)
    assert (weights[1] / weights[0]).item() == pytest.approx(100**power, rel=1e-5)


def test_class_weights_of_nothing_are_finite() -> None:
    assert class_weights(torch.zeros(3, dtype=torch.int64), 1.0).isfinite().all()


class TestAlignment:
    def test_changes_nothing_before_it_has_seen_anything(self) -> None:
        logits = torch.randn(2, 5, 3, 3)
        torch.testing.assert_close(PriorShift(1.0, 5, CPU)(logits).softmax(1), logits.softmax(1))

    def test_brings_the_mean_prediction_to_the_labels_shares(self) -> None:
        """Predictions that are alike everywhere, (0.8, 0.2), where the labels say half and half."""
        batch = tiny.batch()
        labels = torch.zeros_like(batch.labels)
        labels[:2] = 1
        logits = torch.tensor([0.8, 0.2]).log().view(1, 2, 1, 1).expand(8, 2, 8, 8)
        alignment = PriorShift(1.0, 2, CPU)
        alignment.update(label_and_prediction_counts(dataclasses.replace(batch, labels=labels), logits)[0])
        got = alignment(logits).softmax(1)
        assert got[0, 0, 0, 0].item() == pytest.approx(0.5, abs=0.005)
        half = PriorShift(0.5, 2, CPU)
        half.load_state_dict(alignment.state_dict())
        ratio = (0.8 / 0.2) ** 0.5  # half of the way, in logits
        assert half(logits).softmax(1)[0, 0, 0, 0].item() == pytest.approx(ratio / (1 + ratio), abs=0.005)

    def test_a_step_without_pixels_tells_nothing(self) -> None:
        """Nothing is reliable right after a warm-up: the shares stay, and so does the bias."""
        margins = PriorShift(-1.0, 3, CPU)
        margins.update(torch.tensor([[80, 15, 5], [50, 30, 20]]))
        before = margins(torch.zeros(1, 3, 1, 1))
        for _ in range(50):
            margins.update(torch.tensor([[80, 15, 5], [0, 0, 0]]))
        torch.testing.assert_close(margins(torch.zeros(1, 3, 1, 1)), before)
        want = (torch.tensor([50, 30, 20]) / torch.tensor([80, 15, 5])).log()
        torch.testing.assert_close(before.flatten(), want, rtol=0.0, atol=0.02)

    def test_padding_does_not_count(self) -> None:
        batch = tiny.batch()
        valid = torch.zeros_like(batch.unlabeled_labels, dtype=torch.bool)
        valid[:, :16] = True
        logits = torch.zeros(8, 2, 8, 8)
        logits[:, 0, 4:] = 50.0  # in the padding
        counts = label_and_prediction_counts(dataclasses.replace(batch, unlabeled_valid=valid), logits)
        assert counts[0, 1].tolist() == pytest.approx([8 * 32 / 2, 8 * 32 / 2])


class TestGammaByClass:
    @pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 1.0])
    def test_is_the_quantile_of_each_class(self, alpha: float) -> None:
        draws = torch.Generator().manual_seed(0)
        entropies = torch.rand(4, 20, 20, generator=draws)
        labels = torch.randint(0, 5, (4, 20, 20), generator=draws, dtype=torch.uint8)
        labels[labels == 3] = 255
        entropies[labels == 255] = torch.nan
        entropies[0, 0] = torch.nan
        got = gamma_by_class(entropies, labels, alpha, 5)
        for index in range(5):
            values = entropies[(labels == index) & ~entropies.isnan()].numpy()
            want = np.percentile(values, 100 * (1 - alpha)) if values.size else 0.0
            assert got[index].item() == pytest.approx(want, abs=1e-6)

    def test_one_class_is_the_plain_quantile(self) -> None:
        entropies = torch.rand(3, 9, 9)
        labels = torch.zeros(3, 9, 9, dtype=torch.uint8)
        assert gamma_by_class(entropies, labels, 0.3, 1).item() == pytest.approx(gamma(entropies, 0.3).item(), abs=1e-6)


def test_confidence_is_the_greatest_probability() -> None:
    logits = 5 * torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(confidence(logits), logits.softmax(1).amax(1))
