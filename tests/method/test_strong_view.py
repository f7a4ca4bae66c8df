import colorsys
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.config.method import StrongViewConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.strong_view import StrongView

MEAN_STD = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
OFF: dict[str, Any] = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
CPU = torch.device("cpu")


def colours(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD)
    return images * std + mean


def images(count: int = 4, side: int = 24) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD)
    return (torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) - mean) / std


def strong(
    batch: Tensor,
    values: dict[str, Any] | None = None,
    step: int = 0,
    stream: str = "s",
    workers: tuple[int, int] = (0, 1),
) -> Tensor:
    config = StrongViewConfig.model_validate(values or {})
    return StrongView(config, MEAN_STD, 0, Collectives(CPU, *workers))(batch, step, stream)


def test_nothing_drawn_is_the_image_itself() -> None:
    torch.testing.assert_close(strong(images(), OFF), images(), atol=1e-5, rtol=1e-5)


def test_grayscale_is_the_luma_in_every_channel() -> None:
    got = colours(strong(images(), {**OFF, "grayscale": 1.0}))
    want = (colours(images()) * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(got, want.expand_as(got), atol=1e-4, rtol=0)


def test_blur_is_a_gaussian_by_torchvision() -> None:
    from torchvision.transforms.v2.functional import gaussian_blur  # type: ignore[import-untyped]

    sigma = 1.3
    got = strong(images(), {**OFF, "blur": 1.0, "blur_sigma": (sigma, sigma)})
    size = 2 * math.ceil(3 * sigma) + 1
    torch.testing.assert_close(got, gaussian_blur(images(), [size, size], [sigma, sigma]), atol=1e-4, rtol=0)


def test_jitter_keeps_gray_gray_and_moves_every_image_otherwise() -> None:
    gray = torch.full((64, 3, 4, 4), 0.5)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD)
    got = colours(strong((gray - mean) / std, {**OFF, "jitter": 1.0}))
    torch.testing.assert_close(got[:, 0], got[:, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(got[:, 0], got[:, 2], atol=1e-4, rtol=0)
    level = got[:, 0, 0, 0]
    assert level.min() >= 0.5 * 0.5 - 1e-4  # brightness alone: from 1 - strength to 1 + strength
    assert level.max() <= 0.5 * 1.5 + 1e-4
    assert level.std() > 0.1
    assert len(level.unique()) == 64


def test_the_hue_turns_by_up_to_half_the_strength_either_way() -> None:
    """Of a weakly coloured image, which the clamp leaves alone."""
    batch = torch.full((400, 3, 2, 2), 0.4)
    batch[:, 0] = 0.45
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD)
    got = colours(strong((batch - mean) / std, {**OFF, "jitter": 1.0, "strength": 0.2}))
    hues = torch.tensor([colorsys.rgb_to_yiq(*pixel.tolist())[1:] for pixel in got[:, :, 0, 0]])
    start = torch.tensor(colorsys.rgb_to_yiq(0.45, 0.4, 0.4)[1:])
    turn = torch.atan2(hues[:, 1], hues[:, 0]) - torch.atan2(start[1], start[0])
    turn = torch.remainder(turn + math.pi, 2 * math.pi) - math.pi
    assert turn.abs().max() <= 0.1 * 2 * math.pi + 0.02
    assert turn.min() < -0.4
    assert turn.max() > 0.4


@pytest.mark.parametrize("world_size", [2, 4])
def test_does_not_depend_on_the_workers(world_size: int) -> None:
    whole = strong(images(8))
    parts = [strong(part, workers=(rank, world_size)) for rank, part in enumerate(images(8).chunk(world_size))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)


def test_draws_are_of_the_step_and_the_stream() -> None:
    assert torch.equal(strong(images()), strong(images()))
    assert not torch.equal(strong(images(), step=1), strong(images()))
    assert not torch.equal(strong(images(), stream="other"), strong(images()))


def test_colours_stay_colours() -> None:
    got = colours(strong(images(64), {"strength": 1.0}))
    assert got.min() >= -1e-5
    assert got.max() <= 1 + 1e-5
    assert F.mse_loss(got, colours(images(64))) > 0.01
