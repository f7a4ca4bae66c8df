"""Crops on rare classes: how often, where, and that nothing else is drawn differently."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from voc_folder import Folder, refused

from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.loaders import TrainingBatch, TrainingBatches
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.transforms import WeakAugmentation

SIDE, CROP = 200, 32


def data(**settings: object) -> DataConfig:
    plain = {"crop": CROP, "classes": ["ground", "cat", "dog"], "scale": (1.0, 1.0), "flip": 0.0}
    unscaled = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    return DataConfig.model_validate({**plain, **unscaled, **settings})


def scene() -> tuple[np.ndarray, np.ndarray]:
    """An image whose colours tell row and column; one cat of 3x3 pixels, and a dog of 60x60."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.uint8)
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[100:103, 90:93] = 1
    label[:60, 140:] = 2
    return np.stack([rows, columns, rows], axis=2), label


def crops(count: int, labeled: bool = True, **settings: object) -> list[tuple[torch.Tensor, torch.Tensor]]:
    augment, (image, label) = WeakAugmentation(data(**settings)), scene()
    return [augment(image, label, seed, labeled) for seed in range(count)]


def step(pixels: torch.Tensor, mask: torch.Tensor, axis: int) -> float:
    """The median change of the colour that tells the place along `axis`, from one pixel of the image to the next."""
    inside = torch.diff((mask != 255).int(), dim=axis) == 0
    return float(
        torch.diff(pixels[axis], dim=axis)[inside & (mask.narrow(axis, 1, mask.shape[axis] - 1) != 255)].median()
    )


def test_a_share_of_crops_holds_the_rare_class() -> None:
    count, share = 500, 0.4
    plain = np.mean([bool((mask == 1).any()) for _, mask in crops(count)])
    hits = np.mean([bool((mask == 1).any()) for _, mask in crops(count, rare_crops=share, rare_classes=["cat"])])
    expected = share + (1 - share) * plain  # 0.04 by chance
    assert plain < 0.1
    assert abs(hits - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    always = crops(50, rare_crops=1.0, rare_classes=["cat"])
    assert all((mask == 1).any() for _, mask in always)


def test_the_pixel_is_anywhere_in_the_crop() -> None:
    places = []
    for _, mask in crops(400, rare_crops=1.0, rare_classes=["cat"]):
        rows, columns = np.nonzero(mask.numpy() == 1)
        places.append((rows.mean(), columns.mean()))
    mean, spread = np.mean(places, axis=0), np.std(places, axis=0)
    assert np.abs(mean - (CROP - 1) / 2).max() < 4 * CROP / np.sqrt(12 * 400)
    assert np.abs(spread - CROP / np.sqrt(12)).max() < 1.5


def test_each_rare_class_is_drawn_as_often_whatever_its_size() -> None:
    found = [(mask == 1).any() for _, mask in crops(400, rare_crops=1.0, rare_classes=["dog", "cat"])]
    assert abs(np.mean(found) - 0.5) < 4 * 0.5 / np.sqrt(400)


def test_the_crops_that_stay_random_are_those_without_it() -> None:
    """Scale, flip and padding are drawn as ever; where the crop is placed, image and label still agree."""
    free: dict[str, Any] = {"scale": (0.1, 1.5), "flip": 0.5, "crop": 96}
    moved = 0
    some = crops(200, rare_crops=0.5, rare_classes=["cat"], **free)
    for (pixels, mask), (image, label) in zip(crops(200, **free), some, strict=True):
        if torch.equal(pixels, image) and torch.equal(mask, label):
            continue
        moved += 1
        assert (label == 1).any()
        for axis in (0, 1):  # the same scale and flip: row and column, which colours tell, change by the same steps
            assert abs(step(pixels, mask, axis) - step(image, label, axis)) < 0.002
        assert (label != 255).sum() == (mask != 255).sum()  # and the same padding
    assert 40 < moved < 120  # half of the draws, less those whose scaled cat is smaller than a pixel


@pytest.mark.parametrize("settings", [{"rare_crops": 0.0, "rare_classes": ["cat"]}, {"labeled": False}])
def test_off_it_is_bit_for_bit_the_random_crop(settings: dict[str, Any]) -> None:
    other = {"rare_crops": 1.0, "rare_classes": ["cat"], **settings}
    for first, second in zip(crops(30), crops(30, **other), strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


def test_an_image_without_the_class_is_cropped_at_random() -> None:
    settings = data(rare_crops=1.0, rare_classes=["cat"])
    image, label = scene()
    label[label == 1] = 255
    for seed in range(20):
        for first, second in zip(
            WeakAugmentation(settings)(image, label, seed, True),
            WeakAugmentation(data())(image, label, seed),
            strict=True,
        ):
            assert torch.equal(first, second)


def batches(folder: Folder, **settings: object) -> list[TrainingBatch]:
    return list(islice(TrainingBatches(resolve(folder.config(**settings))).epoch(0), 2))


def test_batches_differ_in_labeled_images_alone(folder: Folder) -> None:
    for name in ("l0", "l1", "l2", *(f"u{number}" for number in range(7))):
        folder.write(name, 90, 90, seed=len(name) + int(name[1]))
    plain, rare = batches(folder), batches(folder, rare_crops=1.0, rare_classes=["dog"])
    again = batches(folder, rare_crops=1.0, rare_classes=["dog"], loader_workers=1)
    for before, after, once_more in zip(plain, rare, again, strict=True):
        assert not torch.equal(before.labeled_images, after.labeled_images)
        for name in ("unlabeled_images", "unlabeled_labels", "unlabeled_valid"):
            assert torch.equal(getattr(before, name), getattr(after, name))
        assert all(torch.equal(one, other) for one, other in zip(after, once_more, strict=True))


def test_settings_that_make_no_sense(folder: Folder) -> None:
    with pytest.raises(ValidationError, match=r"data.rare_crops=0.3 needs data.rare_classes"):
        DataConfig(rare_crops=0.3)
    with refused("data.rare_classes names 'catt'", "did you mean 'cat'"):
        resolve(folder.config(rare_crops=0.3, rare_classes=["catt"]))
