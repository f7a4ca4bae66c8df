from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.method import golden
from u2pl_ray.method import maps
from u2pl_ray.method.maps import Bands, downsample, per_pixel, upsample

sides = st.integers(1, 70)


@pytest.mark.parametrize("case", golden.CASES)
def test_labels_match_golden(case: str) -> None:
    vectors = golden.load(case)
    for step in vectors.steps:
        large = torch.cat([vectors.tensor(step, "label_l"), vectors.tensor(step, "label_u")])
        small = vectors.tensor(step, "label_small")
        assert torch.equal(downsample(large, small.shape[-2:]), small)


@given(h=sides, w=sides, height=sides, width=sides)
def test_downsample_takes_the_floor_of_the_exact_ratio(h: int, w: int, height: int, width: int) -> None:
    large = torch.arange(2 * h * w).view(2, h, w)
    small = downsample(large, (height, width))
    for y in range(height):
        for x in range(width):
            assert small[1, y, x] == large[1, y * h // height, x * w // width]


def test_upsample_by_hand() -> None:
    """Twice as wide: new centres lie a quarter of a pixel from the old ones; the borders are repeated."""
    large = upsample(torch.tensor([[[[0.0, 4.0]]]], dtype=torch.bfloat16), (1, 4))
    assert large.dtype == torch.float32
    assert large.flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


@pytest.fixture(scope="class")
def narrow_bands() -> Iterator[None]:
    """A few rows each, so that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "BAND_BYTES", 2000)
        yield


@pytest.mark.usefixtures("narrow_bands")
class TestBands:
    """On CPU the upsampled logits are handled band by band: nothing but rounding may show."""

    @given(height=sides, width=sides, h=sides, w=sides)
    def test_are_the_upsampled_logits(self, height: int, width: int, h: int, w: int) -> None:
        logits = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(h))
        bands = Bands(logits, (h, w))
        parts = [bands.read(rows).clone() for rows in bands]
        torch.testing.assert_close(torch.cat(parts, 2), upsample(logits, (h, w)), atol=1e-5, rtol=1e-4)
        assert max(part.shape[2] for part in parts) <= max(1, 2000 // (2 * 3 * w * 4))

    @given(height=sides, width=sides, h=sides, w=sides)
    def test_gradient_is_that_of_upsampling(self, height: int, width: int, h: int, w: int) -> None:
        draws = torch.Generator().manual_seed(h)
        logits = torch.randn(2, 3, height, width, generator=draws, requires_grad=True)
        large = torch.randn(2, 3, h, w, generator=draws)
        bands = Bands(logits, (h, w))
        for rows in bands:
            bands.add_gradient(rows, large[:, :, rows].contiguous())
        (want,) = torch.autograd.grad(upsample(logits, (h, w)), logits, large)
        torch.testing.assert_close(bands.gradient(), want, atol=1e-4, rtol=1e-4)

    def test_per_pixel_hands_each_band_its_part_of_the_maps(self) -> None:
        logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        rows = torch.arange(32).view(1, 32, 1).expand(2, 32, 32)
        shapes = []

        def check(band: Tensor, part: Tensor) -> Tensor:
            shapes.append(tuple(band.shape))
            return band.sum(1) + part

        got = per_pixel(check, logits, (32, 32), rows)
        assert len(shapes) > 10
        assert all(shape[:2] == (2, 3) and shape[3] == 32 for shape in shapes)
        torch.testing.assert_close(got, upsample(logits, (32, 32)).sum(1) + rows)

    def test_any_layout_and_precision(self) -> None:
        logits = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0)).bfloat16()
        last = logits.contiguous(memory_format=torch.channels_last)
        for given_logits in (logits, last, logits[:, :, :, 1:]):
            bands = Bands(given_logits, (20, 30))
            got = torch.cat([bands.read(rows).clone() for rows in bands], 2)
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, upsample(given_logits.contiguous(), (20, 30)), atol=2e-6, rtol=1e-5)
