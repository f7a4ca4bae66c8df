import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.method import golden
from u2pl_ray.method.maps import downsample, upsample

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
