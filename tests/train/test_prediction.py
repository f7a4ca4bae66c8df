"""Windows, flip and scales against a plain re-statement; the default against what it has always been."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.train.conftest import tiny
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.config.overrides import load
from u2pl_ray.models.segmentor import Outputs, Segmentor
from u2pl_ray.train.prediction import predict, window_starts

CLASSES = 5


class Filters(nn.Module):
    """A network whose classes vary over the image and, near the borders of what it sees, depend on the border."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(3)
        self.weights = torch.randn(CLASSES, 3, 11, 11, generator=draws)

    def forward(self, images: Tensor) -> Outputs:
        assert images.shape[2] % 32 == images.shape[3] % 32 == 0
        return Outputs(F.conv2d(images, self.weights, stride=4, padding=5) / 8, None)


def photographs(count: int, height: int, width: int) -> Tensor:
    """Smooth noise, different in each image."""
    draws = torch.Generator().manual_seed(height * width)
    coarse = torch.randn(count, 3, height // 6 + 2, width // 6 + 2, generator=draws)
    return F.interpolate(coarse, size=(height, width), mode="bicubic")


def values_of(network: nn.Module, image: Tensor, average: str) -> np.ndarray:
    """[C, h, w] of an image [3, h, w]: padded by zeros to multiples of 32, as large as the image."""
    height, width = image.shape[1:]
    canvas = torch.zeros(1, 3, 32 * math.ceil(height / 32), 32 * math.ceil(width / 32))
    canvas[0, :, :height, :width] = image
    logits = F.interpolate(network(canvas).logits, canvas.shape[2:], mode="bilinear")[0, :, :height, :width]
    return (logits.softmax(0) if average == "softmax" else logits).double().numpy()


def plain(network: nn.Module, image: Tensor, views: EvaluationConfig) -> np.ndarray:
    """Values [C, h, w] of one image, by loops and with counts kept for every pixel, as U2PL's evaluation does it."""
    result = np.zeros((CLASSES, *image.shape[1:]))
    for scale in views.scales:
        height, width = round(image.shape[1] * scale), round(image.shape[2] * scale)
        scaled = F.interpolate(image[None], (height, width), mode="bilinear")[0]
        total, count = np.zeros((CLASSES, height, width)), np.zeros((height, width))
        window = views.window or 10**6
        step = views.stride or math.ceil(window * 2 / 3)
        tall, wide = min(window, height), min(window, width)
        for i in range(math.ceil((height - tall) / step) + 1):
            for j in range(math.ceil((width - wide) / step) + 1):
                bottom, right = min(i * step + tall, height), min(j * step + wide, width)
                place = slice(bottom - tall, bottom), slice(right - wide, right)
                seen = scaled[:, place[0], place[1]]
                values = values_of(network, seen, views.average)
                if views.flip:
                    mirrored = values_of(network, torch.flip(seen, [2]), views.average)[:, :, ::-1]
                    values = (values + mirrored) / 2
                total[:, place[0], place[1]] += values
                count[place] += 1
        assert count.min() >= 1
        mean = torch.from_numpy(total / count)[None]
        result += F.interpolate(mean, image.shape[1:], mode="bilinear")[0].numpy()
    return result


@pytest.mark.parametrize(
    "views",
    [
        {"window": 64},
        {"window": 64, "stride": 64},
        {"window": 32, "stride": 5, "average": "logits"},
        {"window": 96, "flip": True},
        {"window": 1024},
        {"flip": True},
        {"scales": (0.5, 1.0, 1.75)},
        {"scales": (0.5,), "average": "logits"},
        {"window": 64, "flip": True, "scales": (0.6, 1.0, 1.3)},
    ],
    ids=str,
)
@pytest.mark.parametrize(("height", "width"), [(131, 97), (64, 150), (20, 33)])
@torch.no_grad()
def test_views_are_those_of_a_plain_restatement(views: dict[str, object], height: int, width: int) -> None:
    settings, network, images = EvaluationConfig.model_validate(views), Filters(), photographs(2, height, width)
    padded = F.pad(images, (0, -width % 32, 0, -height % 32))
    found = predict(network, padded, (height, width), settings)
    assert (found.shape, found.dtype) == ((2, height, width), torch.uint8)
    for image, classes in zip(images, found.numpy(), strict=True):
        expected = plain(network, image, settings)
        best, second = np.sort(expected, 0)[[-1, -2]]
        clear = best - second > 1e-4  # nearer ones may fall to either side by rounding
        assert clear.mean() > 0.99
        assert (classes == expected.argmax(0))[clear].all()


@torch.no_grad()
def test_every_view_changes_something() -> None:
    """Else the comparison above would hold for code that passes over the settings."""
    network, images = Filters(), photographs(1, 131, 97)
    whole = predict(network, images)
    assert len(whole.unique()) == CLASSES
    for views in ({"window": 64}, {"flip": True}, {"scales": (0.5, 1.0)}):
        share = float((predict(network, images, None, EvaluationConfig.model_validate(views)) != whole).float().mean())
        assert 0.005 < share < 0.7, views


@torch.no_grad()
def test_the_default_is_the_whole_image_at_once_bit_for_bit() -> None:
    config = tiny()
    network = Segmentor(config.model, CLASSES, representation=False, seed=1).eval()
    images = F.pad(photographs(2, 75, 90), (0, 6, 0, 21))
    logits = F.interpolate(network(images).logits.float(), size=(96, 96), mode="bilinear", align_corners=False)
    assert torch.equal(predict(network, images), logits.argmax(1).byte())
    assert torch.equal(predict(network, images, (75, 90)), logits.argmax(1).byte()[:, :75, :90])


def test_windows_end_with_the_image() -> None:
    assert window_starts(1024, 768, 512) == [0, 256]
    assert window_starts(2048, 768, 512) == [0, 512, 1024, 1280]
    assert window_starts(64, 64, 43) == [0]
    assert window_starts(65, 64, 43) == [0, 1]


def test_windows_hold_one_row_of_windows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class values of a tall image never exist as a whole."""
    heights: list[int] = []
    zeros = Tensor.new_zeros

    def noted(self: Tensor, *shape: int) -> Tensor:
        heights.append(shape[-2])
        return zeros(self, *shape)

    monkeypatch.setattr(Tensor, "new_zeros", noted)
    found = predict(Filters(), photographs(1, 500, 64), None, EvaluationConfig(window=64))
    assert found.shape == (1, 500, 64)
    assert set(heights) == {64}


def test_two_thirds_of_a_window_is_the_step() -> None:
    assert [EvaluationConfig(window=window).step for window in (32, 64, 768)] == [22, 43, 512]
    assert EvaluationConfig(window=64, stride=10).step == 10
    assert EvaluationConfig().step == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("evaluation.stride=10", "evaluation.stride needs evaluation.window"),
        ("evaluation={window: 64, stride: 65}", "evaluation.stride=65 leaves gaps between windows of 64"),
        ("evaluation.window=769", "evaluation.window.*multiple of 32"),
        ("evaluation.scales=[]", "evaluation.scales"),
        ("evaluation.scales=[0.5,0]", "evaluation.scales.1"),
    ],
)
def test_windows_that_cannot_be_are_refused(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load("quickstart", [override])
