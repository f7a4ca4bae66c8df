from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

from u2pl_ray.tracking.overlays import overlays


@pytest.mark.parametrize("name", ["plain", "img[1]", "a*b"])
def test_an_image_has_its_maps_whatever_its_name(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"val.0.{name}.image.jpg")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"val.0.{name}.truth.png")
    (image,) = overlays(tmp_path, ["a", "b"])["val"]
    assert list(image._masks) == ["truth"]


def test_images_of_different_sizes_are_filled_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """W&B draws all of a list in the size of the first, and warns on the terminal at every epoch."""
    for number, size in enumerate([(8, 6), (7, 9)]):
        Image.new("RGB", size, (200, 0, 0)).save(tmp_path / f"val.{number}.x{number}.image.png")
        Image.new("L", size, 1).save(tmp_path / f"val.{number}.x{number}.truth.png")
    found = overlays(tmp_path, ["a", "b"])["val"]
    assert [(image._width, image._height) for image in found] == [(8, 9), (8, 9)]
    first = np.asarray(found[0].image)
    assert (first[:6] == (200, 0, 0)).all()
    assert not first[6:].any()
    run = wandb.init(mode="offline", dir=tmp_path)
    run.log({"val": found})
    run.finish()
    assert "sizes do not match" not in caplog.text
    masks = [np.asarray(Image.open(path)) for path in (tmp_path / "wandb").rglob("*.mask.png")]
    assert [mask.shape for mask in masks] == [(9, 8), (9, 8)]
    assert all(set(np.unique(mask)) == {1, 255} for mask in masks)
