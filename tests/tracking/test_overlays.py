from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2pl_ray.tracking.overlays import overlays


@pytest.mark.parametrize("name", ["plain", "img[1]", "a*b"])
def test_an_image_has_its_maps_whatever_its_name(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"val.0.{name}.image.jpg")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"val.0.{name}.truth.png")
    (image,) = overlays(tmp_path, ["a", "b"])["val"]
    assert list(image._masks) == ["truth"]
