import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from u2pl_ray.method import pixels

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=[False, True], ids=["dynamic", "static"])
def shapes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "static_shapes", lambda _: request.param)


def example(layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    """Every element tells where it is: image, channel, y, x."""
    n, d, h, w = torch.meshgrid(*(torch.arange(size) for size in (2, 3, 4, 5)), indexing="ij")
    return (1000 * n + 100 * d + 10 * h + w).float().contiguous(memory_format=layout)


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [0, 3, 100])  # 100: turning all of the map
def test_read(layout: torch.memory_format, dtype: torch.dtype, count: int) -> None:
    maps = (example(layout) / 4096).to(dtype)
    pixel = torch.randint(40, (count,), generator=torch.Generator().manual_seed(0))
    rows = pixels.read_pixels(maps, pixel)
    assert rows.dtype is torch.float32
    assert rows.shape == (count, 3)
    for row, number in zip(rows, pixel.tolist(), strict=True):
        image, y, x = number // 20, number % 20 // 5, number % 5
        assert torch.equal(row, maps[image, :, y, x].float())


@given(pixel=st.lists(st.integers(0, 39), max_size=60))
def test_read_distinct_reads_each_once(pixel: list[int]) -> None:
    maps = example()
    rows, source = pixels.read_distinct(maps, torch.tensor(pixel, dtype=torch.int64))
    assert source is not None
    assert len(rows) in (len(set(pixel)), 40)
    assert torch.equal(rows[source], maps.permute(0, 2, 3, 1).flatten(0, 2)[pixel])


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scatter_adds_what_repeats(layout: torch.memory_format, dtype: torch.dtype) -> None:
    pixel = torch.tensor([39, 7, 7, 0, 7])
    rows = torch.arange(15.0).view(5, 3)
    maps = pixels.scatter_pixels(example(layout).to(dtype), pixel, rows)
    expected = torch.zeros(40, 3).index_add_(0, pixel, rows)
    assert maps.dtype is dtype
    assert maps.is_contiguous(memory_format=layout)
    assert torch.equal(maps.float().permute(0, 2, 3, 1).flatten(0, 2), expected)


@pytest.mark.usefixtures("shapes")
def test_scatter_is_the_adjoint_of_read() -> None:
    """<read(m), r> = <m, scatter(r)>: what makes it the gradient."""
    maps, draws = example(), torch.Generator().manual_seed(0)
    pixel, rows = torch.randint(40, (9,), generator=draws), torch.randn(9, 3, generator=draws)
    left = (pixels.read_pixels(maps, pixel) * rows).sum()
    right = (maps * pixels.scatter_pixels(maps, pixel, rows)).sum()
    torch.testing.assert_close(left, right)


@pytest.mark.usefixtures("shapes")
def test_scatter_of_nothing() -> None:
    empty = torch.empty(0, dtype=torch.int64)
    assert not pixels.scatter_pixels(example(), empty, torch.empty(0, 3)).any()
