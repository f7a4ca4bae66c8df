import subprocess
import sys

import numpy as np
import pytest
import torch

from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.transforms import WeakAugmentation, normalise, pad_label

MEAN, STD = DataConfig().mean, DataConfig().std


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of 10 x 10 pixels; the label of a block is told by its colour."""
    label = np.kron(np.random.default_rng(3).integers(0, 5, (height // 10, width // 10)), np.ones((10, 10)))
    label = label.astype(np.uint8)
    return np.stack([label * 50, 250 - label * 50, np.full_like(label, 77)], axis=2), label


def colours(images: torch.Tensor) -> torch.Tensor:
    """Back from normalised [3, h, w] to 0..255."""
    return (images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255


@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (1.3, 1.3)])
@pytest.mark.parametrize("size", [(60, 80), (200, 130)])
def test_labels_follow_their_pixels(scale: tuple[float, float], size: tuple[int, int]) -> None:
    image, label = scene(*size)
    augment = WeakAugmentation(DataConfig(crop=96, scale=scale))
    for seed in range(20):
        pixels, mask = augment(image, label, seed)
        assert pixels.shape == (3, 96, 96)
        assert pixels.dtype == torch.float32
        assert mask.shape == (96, 96)
        assert mask.dtype == torch.uint8
        assert set(mask.unique().tolist()) <= {0, 1, 2, 3, 4, 255}
        found = colours(pixels)
        kept = mask != 255
        told = (found[0] / 50).round()
        # interpolation blurs the pixels beside an edge: away from edges, all must agree
        edge = (
            torch.nn.functional.max_pool2d(mask.float()[None], 5, 1, 2)[0]
            != -torch.nn.functional.max_pool2d(-mask.float()[None], 5, 1, 2)[0]
        )
        inner = kept & ~edge
        inner[[0, 1, -2, -1]] = inner[:, [0, 1, -2, -1]] = False  # the edge may lie just outside the crop
        assert inner.any()
        assert (told[inner] == mask[inner]).all()
        assert (told[kept] == mask[kept]).float().mean() > 0.85


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_normalisation_is_the_librarys_bit_for_bit(channels: int) -> None:
    """By a table for 8 bits; every value in every channel."""
    draws = np.random.default_rng(0)
    mean, std = (tuple(draws.uniform(0.1, 0.9, channels).round(3).tolist()) for _ in range(2))
    augment = WeakAugmentation(DataConfig(channels=channels, mean=mean, std=std))
    image = np.stack([draws.permutation(256).astype(np.uint8).reshape(8, 32) for _ in range(channels)], axis=2)
    out = torch.full((channels, 8, 32), torch.nan)
    augment.normalise(image, out)
    import albumentations  # after it was imported without its look for a newer version

    expected = albumentations.Normalize(mean, std)(image=image)["image"]
    assert torch.equal(out, torch.from_numpy(expected).reshape(8, 32, channels).permute(2, 0, 1))


def test_padding_is_255_and_the_mean_colour() -> None:
    image, label = scene(40, 40)
    pixels, mask = WeakAugmentation(DataConfig(crop=64, scale=(1.0, 1.0)))(image, label, 0)
    assert (mask == 255).sum() == 64 * 64 - 40 * 40
    assert pixels[:, mask == 255].abs().max() < 0.01  # the mean, rounded to a whole colour value


def test_without_scale_and_flip_only_the_crop_is_left() -> None:
    image, label = scene(70, 90)
    pixels, mask = WeakAugmentation(DataConfig(crop=64, scale=(1.0, 1.0), flip=0.0))(image, label, 5)
    windows = [(y, x) for y in range(7) for x in range(27) if (label[y : y + 64, x : x + 64] == mask.numpy()).all()]
    assert len(windows) == 1
    y, x = windows[0]
    expected = normalise(image[y : y + 64, x : x + 64], DataConfig())
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


def test_draws_depend_on_the_seed_alone() -> None:
    image, label = scene(100, 120)
    one, other = WeakAugmentation(DataConfig(crop=64)), WeakAugmentation(DataConfig(crop=64))
    other(image, label, 99)
    for seed in (1, 2**63):
        for first, second in zip(one(image, label, seed), other(image, label, seed), strict=True):
            assert torch.equal(first, second)
    assert not torch.equal(one(image, label, 1)[1], one(image, label, 2)[1])


def test_scale_crop_and_flip_are_drawn_independently() -> None:
    """albumentations' own seeding gives every transform the same draws: flipped would mean enlarged."""
    label = np.tile(np.arange(200, dtype=np.uint8), (200, 1))  # the label is the column
    image = np.stack([label, label.T.copy(), label], axis=2)
    augment = WeakAugmentation(DataConfig(crop=32, scale=(0.5, 2.0), mean=(0, 0, 0), std=(1, 1, 1)))
    rows = []
    for seed in range(400):
        pixels, mask = augment(image, label, seed)
        step = (float(mask[0, -1]) - float(mask[0, 0])) / 31
        rows.append((1 / abs(step), step < 0, float(mask.float().mean()), float(pixels[1].mean()) * 255))
    scale, flip, x, y = np.array(rows, float).T
    assert 0.4 < flip.mean() < 0.6
    assert scale.min() < 0.6
    assert scale.max() > 1.8
    correlation = np.abs(np.corrcoef([scale, flip, x, y]) - np.eye(4))
    assert correlation.max() < 0.2


def test_whole_images_are_padded_at_bottom_and_right() -> None:
    image, label = scene(40, 70)
    pixels, mask = normalise(image, DataConfig()), pad_label(label)
    assert pixels.shape == (3, 64, 96)
    assert mask.shape == (64, 96)
    np.testing.assert_allclose(colours(pixels)[:, :40, :70], image.transpose(2, 0, 1), atol=1e-3)
    assert (mask[:40, :70].numpy() == label).all()
    assert not pixels[:, 40:].any()
    assert not pixels[:, :, 70:].any()
    assert (mask[40:] == 255).all()
    assert (mask[:, 70:] == 255).all()


def test_a_size_that_fits_is_not_padded() -> None:
    assert normalise(np.zeros((64, 32, 3), np.uint8), DataConfig()).shape == (3, 64, 32)


def test_albumentations_is_imported_late() -> None:
    code = (
        "import sys; from u2pl_ray.data import loaders, registry, check, splits; "
        "assert 'albumentations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
