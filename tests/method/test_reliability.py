import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from tests.method import golden
from u2pl_ray.method import maps
from u2pl_ray.method.maps import downsample
from u2pl_ray.method.reliability import (
    entropy,
    gamma,
    gamma_by_selection,
    gamma_by_sort,
    ignore,
    most_likely,
    partition,
    upsampled_entropy,
)

Way = Callable[[Tensor, float], Tensor]
WAYS: list[Way] = [gamma_by_selection, gamma_by_sort]

# Few distinct values: ties everywhere. NaN marks ignored pixels.
few_values = st.sampled_from([0.0, 0.5, 0.5000001, 1.0, 2.0, math.nan])
any_values = st.one_of(st.floats(0, 5, width=32), st.just(math.nan))
shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=12)
entropy_maps = st.one_of(
    hnp.arrays(np.float32, shapes, elements=few_values), hnp.arrays(np.float32, shapes, elements=any_values)
)
alphas = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 0.2]))


def plain_entropy(logits: np.ndarray) -> float:
    """H of one pixel, in float64, from the definition."""
    prob = np.exp(logits.astype(np.float64) - logits.max())
    prob /= prob.sum()
    return float(-sum(p * math.log(p) for p in prob if p > 0))


def plain_quantile(values: list[float], q: float) -> float:
    """Linear interpolation between the two nearest of the sorted values."""
    ordered = sorted(value for value in values if not math.isnan(value))
    if not ordered:
        return 0.0
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def valid_entropies(vectors: golden.Golden) -> Tensor:
    entropies = vectors.tensor(0, "entropy_u")
    return entropies.masked_fill(vectors.tensor(0, "label_u") == 255, math.nan)


class TestEntropy:
    @pytest.mark.parametrize("case", golden.CASES)
    def test_matches_golden(self, case: str) -> None:
        vectors = golden.load(case)
        got = entropy(vectors.tensor(0, "teacher_logits_u"))
        # The vectors add 1e-10 inside the logarithm; up to C * 1e-10, and rounding, the same.
        torch.testing.assert_close(got, vectors.tensor(0, "entropy_u"), atol=2e-6, rtol=0)

    def test_by_hand(self) -> None:
        p = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])
        got = entropy(p.log().view(2, 3, 1, 1) + 7.0)
        assert got.flatten().tolist() == pytest.approx([1.5 * math.log(2), math.log(3)], abs=1e-6)

    def test_is_finite_and_zero_for_a_certain_prediction(self) -> None:
        logits = torch.tensor([1000.0, -1000.0, 0.0]).view(1, 3, 1, 1)
        assert entropy(logits).item() == 0.0
        assert entropy(logits.half()).item() == 0.0

    def test_matches_the_definition(self) -> None:
        logits = 5 * torch.randn(2, 7, 5, 4, generator=torch.Generator().manual_seed(0))
        got = entropy(logits)
        for image in range(2):
            for y in range(5):
                for x in range(4):
                    want = plain_entropy(logits[image, :, y, x].numpy())
                    assert got[image, y, x].item() == pytest.approx(want, abs=1e-6)

    @pytest.mark.parametrize("scale", [0.0, 5.0, 1000.0])
    @pytest.mark.parametrize("band_bytes", [1, 1000, 1 << 20])
    def test_of_the_upsampled_band_by_band(
        self, scale: float, band_bytes: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where neighbours are sure of different classes: half-way every class is far below both one's best."""
        monkeypatch.setattr(maps, "BAND_BYTES", band_bytes)
        logits = 7.0 + scale * torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(3))
        got = upsampled_entropy(logits, (15, 17))
        want = entropy(maps.upsample(logits.double(), (15, 17)))
        torch.testing.assert_close(got, want, atol=1e-6 + 1e-6 * scale, rtol=0)

    def test_of_the_upsampled_matches_golden(self) -> None:
        logits = golden.load(golden.CASES[0]).tensor(0, "teacher_logits_u")
        torch.testing.assert_close(upsampled_entropy(logits, logits.shape[-2:]), entropy(logits), atol=1e-6, rtol=0)


@pytest.mark.parametrize("period", [1, 24])
@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.2, 0.5, 0.999, 1.0])
def test_gamma_of_many(alpha: float, period: int) -> None:
    """Many more than the selection samples; with period 24 the sample sees the least of them alone, and misleads."""
    values = np.random.default_rng(0).gamma(0.5, size=100_800).astype(np.float32).round(3)
    values = np.sort(values).reshape(period, -1).T.ravel()
    values[7::50] = math.nan
    want = np.nanquantile(values.astype(np.float64), 1 - alpha)
    assert gamma_by_selection(torch.from_numpy(values), alpha).item() == pytest.approx(want, abs=1e-6)


def test_ignore() -> None:
    labels = torch.tensor([[0, 3, 254, 255]], dtype=torch.uint8).expand(2, 4)
    where = torch.tensor([[False] * 4, [True] * 4])
    assert ignore(labels, where).tolist() == [[0, 3, 254, 255], [255] * 4]


class TestMostLikely:
    @given(values=hnp.arrays(np.float32, (2, 7, 3, 4), elements=st.sampled_from([-2.0, 0.0, 0.5, 3.0, -math.inf])))
    def test_is_the_first_of_the_greatest(self, values: np.ndarray) -> None:
        got = most_likely(torch.from_numpy(values))
        assert got.dtype == torch.uint8
        assert np.array_equal(got.numpy(), values.argmax(1))

    def test_not_a_number_is_ignored(self) -> None:
        values = torch.zeros(1, 3, 1, 2)
        values[0, 1, 0, 0] = math.nan
        assert most_likely(values).flatten().tolist() == [255, 0]


class TestGamma:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("case", golden.CASES)
    def test_matches_golden(self, case: str, way: Way) -> None:
        vectors, entropies = golden.load(case), valid_entropies(golden.load(case))
        alpha = float(vectors.numpy(0, "alpha_t")) / 100
        for name, share in (("high_thresh", alpha), ("low_thresh", 1 - alpha)):
            assert way(entropies, share).item() == pytest.approx(float(vectors.numpy(0, name)), abs=1e-6)
            exact = float(vectors.numpy(0, f"{name}64"))
            assert way(entropies, share).item() == pytest.approx(exact, abs=2e-7)  # one float32 rounding
        percent = float(vectors.numpy(0, "unsup_percent"))
        got = way(entropies, 1 - percent / 100).item()
        assert got == pytest.approx(float(vectors.numpy(0, "unsup_thresh")), abs=1e-6)

    @pytest.mark.parametrize("way", WAYS)
    def test_by_hand(self, way: Way) -> None:
        values = torch.tensor([[3.0, math.nan, 1.0], [0.0, 4.0, 2.0]])
        assert way(values, 0.0).item() == 4.0
        assert way(values, 1.0).item() == 0.0
        assert way(values, 0.5).item() == 2.0
        assert way(values, 0.2).item() == pytest.approx(3.2)
        assert way(torch.tensor([1.5, math.nan]), 0.3).item() == 1.5
        assert way(torch.full((3, 2), math.nan), 0.2).item() == 0.0
        assert way(torch.zeros(0), 0.2).item() == 0.0

    @given(values=entropy_maps, alpha=alphas)
    def test_is_the_plain_quantile(self, values: np.ndarray, alpha: float) -> None:
        want = plain_quantile(values.ravel().tolist(), 1 - alpha)
        for way in WAYS:
            assert way(torch.from_numpy(values), alpha).item() == pytest.approx(want, abs=1e-6)

    @given(values=entropy_maps, alpha=alphas)
    def test_both_ways_agree_to_the_bit(self, values: np.ndarray, alpha: float) -> None:
        """A run on CPU and one on CUDA call the same pixels reliable."""
        first, second = (way(torch.from_numpy(values), alpha) for way in WAYS)
        assert torch.equal(first, second)
        assert torch.equal(gamma(torch.from_numpy(values), alpha), first)

    def test_leaves_its_input_alone(self) -> None:
        values = torch.rand(50)
        before = values.clone()
        gamma(values, 0.3)
        assert torch.equal(values, before)


class TestPartition:
    @pytest.mark.parametrize("case", golden.CASES)
    def test_masks_match_golden(self, case: str) -> None:
        """The published low_mask takes the lowest alpha_t; ours is H < gamma. As masks of a threshold they agree."""
        vectors, entropies = golden.load(case), valid_entropies(golden.load(case))
        alpha = float(vectors.numpy(0, "alpha_t")) / 100
        low, high = vectors.tensor(0, "low_thresh"), vectors.tensor(0, "high_thresh")
        low_mask, high_mask = (mask[vectors.config["n_labeled"] :] for mask in vectors.masks(0))
        assert torch.equal(downsample(partition(entropies, low, 1 - alpha)[0], low_mask.shape[-2:]), low_mask)
        assert torch.equal(downsample(partition(entropies, high, alpha)[1], high_mask.shape[-2:]), high_mask)

    @pytest.mark.parametrize("case", golden.CASES)
    def test_targets_match_golden(self, case: str) -> None:
        vectors = golden.load(case)
        reliable, _ = partition(valid_entropies(vectors), vectors.tensor(0, "unsup_thresh"), 0.2)
        targets = vectors.tensor(0, "label_u").masked_fill(~reliable, 255)
        assert torch.equal(targets, vectors.tensor(0, "unsup_target"))

    def test_by_hand(self) -> None:
        entropies = torch.tensor([0.0, 1.0, math.nan, 2.0, 3.0])
        reliable, unreliable = partition(entropies, torch.tensor(2.0), 0.25)
        assert reliable.tolist() == [True, True, False, False, False]
        assert unreliable.tolist() == [False, False, False, False, True]

    @given(values=entropy_maps)
    def test_alpha_0_trusts_every_valid_pixel(self, values: np.ndarray) -> None:
        entropies = torch.from_numpy(values)
        reliable, unreliable = partition(entropies, gamma(entropies, 0.0), 0.0)
        assert torch.equal(reliable, ~entropies.isnan())
        assert not unreliable.any()

    @given(values=entropy_maps)
    def test_alpha_1_trusts_none(self, values: np.ndarray) -> None:
        entropies = torch.from_numpy(values)
        reliable, unreliable = partition(entropies, gamma(entropies, 1.0), 1.0)
        assert not reliable.any()
        least = entropies[~entropies.isnan()].min() if (~entropies.isnan()).any() else torch.tensor(0.0)
        assert torch.equal(unreliable, entropies > least)

    @given(values=entropy_maps, alpha=st.floats(0.01, 0.99))
    def test_is_a_partition_of_the_valid_pixels_around_gamma(self, values: np.ndarray, alpha: float) -> None:
        entropies = torch.from_numpy(values)
        threshold = gamma(entropies, alpha)
        reliable, unreliable = partition(entropies, threshold, alpha)
        at = entropies == threshold
        assert torch.equal(reliable.int() + unreliable.int() + at.int(), (~entropies.isnan()).int())
        # At most the named share on either side (rounding up the place between two pixels).
        valid = int((~entropies.isnan()).sum())
        assert unreliable.sum() <= math.ceil(alpha * (valid - 1) + 1e-6) if valid else not unreliable.any()
        assert reliable.sum() <= math.ceil((1 - alpha) * (valid - 1) + 1e-6) if valid else not reliable.any()

    @pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
    def test_one_valid_pixel_and_none(self, alpha: float) -> None:
        one = torch.tensor([math.nan, 0.7, math.nan])
        reliable, unreliable = partition(one, gamma(one, alpha), alpha)
        assert reliable.tolist() == [False, alpha == 0.0, False]
        assert not unreliable.any()
        nothing = torch.full((3,), math.nan)
        assert not any(mask.any() for mask in partition(nothing, gamma(nothing, alpha), alpha))

    def test_without_ties_alpha_is_the_share_of_unreliable_pixels(self) -> None:
        entropies = torch.rand(10_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float().unique()
        for alpha in (0.05, 0.2, 0.5):
            _, unreliable = partition(entropies, gamma(entropies, alpha), alpha)
            assert unreliable.float().mean().item() == pytest.approx(alpha, abs=2e-4)
