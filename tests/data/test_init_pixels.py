"""What `init` finds about channels and depth of images, and that it reads and trains on what it wrote."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from plain_folder import SIDE, label, mask, picture, train_two_steps, written

from u2pl_ray.cli import main
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.image_files import read_image
from u2pl_ray.data.init.pixels import pixel_settings
from u2pl_ray.data.voc import open_split


def tiff(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    layout: dict[str, Any] = {"planarconfig": "contig"} if values.ndim == 3 else {}
    tifffile.imwrite(path, values, photometric="minisblack", **layout)
    return path


def scenes(folder: Path, channels: int, dtype: str, most: float) -> list[np.ndarray]:
    """Twelve images of which eight have masks; returns the images."""
    images = []
    for number in range(12):
        shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
        images.append((np.random.default_rng(number).random(shape) * most).astype(dtype))
        tiff(folder / "images" / f"{number}.tif", images[-1])
        if number < 8:
            mask(folder / "masks" / f"{number}.png", label(number, 3))
    return images


@pytest.mark.parametrize(
    ("channels", "dtype", "most", "value_range"),
    [
        pytest.param(3, "uint16", 4000, (0, 4095), marks=pytest.mark.slow),
        pytest.param(4, "uint8", 256, None, marks=pytest.mark.slow),
        (5, "float32", 1, (0, 1)),
    ],
)
def test_what_is_found_trains(
    tmp_path: Path, channels: int, dtype: str, most: float, value_range: tuple[float, float] | None
) -> None:
    images = scenes(tmp_path / "set", channels, dtype, most)
    config = written(tmp_path, str(tmp_path / "set"))
    assert (config.data.channels, config.data.value_range) == (channels, value_range)
    scaled = np.stack(images).reshape(-1, channels) / (255 if value_range is None else value_range[1])
    np.testing.assert_allclose(config.data.mean, scaled.mean(axis=0), atol=0.005)
    np.testing.assert_allclose(config.data.std, scaled.std(axis=0), atol=0.005)
    item = open_split(config.data, "labeled")[0]
    found = read_image(item.image, config.data)
    assert found.shape == (SIDE, SIDE, channels)
    most_read = 255.0 if value_range is None else 1.0
    np.testing.assert_allclose(found / most_read, scaled.reshape(12, SIDE, SIDE, channels)[int(item.id)], atol=1e-6)


def test_deep_grey_becomes_three_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes(tmp_path / "set", 1, "uint16", 60_000)
    out = tmp_path / "mine.yaml"
    with pytest.raises(SystemExit):
        main(["init", str(tmp_path / "set"), "--out", str(out)])
    data = load(str(out)).data
    assert (data.channels, data.value_range) == (3, (0, 65535))
    assert len(set(data.mean)) == 1
    train_two_steps(out)
    said = capsys.readouterr().out
    assert "images are grey" in said
    assert "images have 3 channels of 16 bits (uint16, values from 0 to" in said


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        (np.arange(64, dtype=np.uint16).reshape(8, 8, 1).repeat(3, 2), {"value_range": [0.0, 255.0]}),
        (np.linspace(-1, 1, 192, dtype=np.float32).reshape(8, 8, 3), {"value_range": [-1.0, 1.0]}),
        (np.full((8, 8, 2), 7, np.uint16), {"channels": 2, "value_range": [0.0, 255.0], "std": [0.001, 0.001]}),
        (np.dstack([np.full((8, 8, 3), 90, np.uint8), np.full((8, 8), 255, np.uint8)]), {}),  # opaque
        (np.full((8, 8, 4), 90, np.uint8), {"channels": 4, "mean": [0.3529] * 4}),
        (np.full((8, 8, 3), 90, np.uint8), {}),
        (np.full((8, 8), 90, np.uint8), {}),
    ],
)  # fmt: skip
def test_settings(tmp_path: Path, values: np.ndarray, settings: dict[str, object]) -> None:
    path = tiff(tmp_path / "a.tif", values)
    found, _ = pixel_settings([path])
    assert set(found) == ({"mean", "std", *settings} if settings else set())
    assert {key: found[key] for key in settings} == settings
    read_image(path, DataConfig.model_validate(found))


def test_no_data_values_do_not_stretch_the_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(100, 900, (100, 100, 5)).astype(np.float32)
    values[0, :10], values[1, :5] = -9999, np.nan
    found, said = pixel_settings([tiff(tmp_path / "a.tif", values)])
    low, high = found["value_range"]
    assert 100 <= low < 110 < 890 < high <= 900
    assert "where 99 % of them are (float32, values from -9999 to" in said[0]


def test_formats_with_alpha_and_images_that_differ(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 4), 90, np.uint8)).save(tmp_path / "alpha.png")
    assert pixel_settings([tmp_path / "alpha.png"]) == ({}, [])
    deep = np.full((8, 8, 4), 900, np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep)
    found, _ = pixel_settings([tmp_path / "deep.png"])
    assert (found["value_range"], len(found["mean"])) == ([0.0, 1023.0], 3)
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "grey.png")
    assert "some images are grey" in pixel_settings([tmp_path / "alpha.png", tmp_path / "grey.png"])[1][0]
    five = [tiff(tmp_path / f"{n}.tif", np.full((8, 8, 5), n, np.uint8)) for n in range(2)]
    picture(tmp_path / "photo.jpg", 0)
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    found, said = pixel_settings([*five, tmp_path / "alpha.png", tmp_path / "photo.jpg", tmp_path / "broken.tif"])
    assert found["channels"] == 5
    assert "images differ: 3 or 5 channels" in said[0]
    assert "1 images are JPEG" in said[1]
    assert pixel_settings([tmp_path / "photo.jpg"]) == pixel_settings([tmp_path / "broken.tif"]) == ({}, [])


@pytest.mark.parametrize(("deep", "flat", "value_range"), [(2, 5, None), (2, 2, None), (5, 2, [0.0, 1023.0])])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_commoner_depth_is_read_and_the_other_refused(
    tmp_path: Path, suffix: str, deep: int, flat: int, value_range: list[float] | None
) -> None:
    many = [tiff(tmp_path / f"deep{n}.tif", np.full((8, 8, 3), 900, np.uint16)) for n in range(deep)]
    few = [tmp_path / f"flat{n}.{suffix}" for n in range(flat)]
    for path in few:
        picture(path, 0)
    found, said = pixel_settings([*many, *few])
    assert found.get("value_range") == value_range
    assert f"about {deep} images have more than 8 bits a channel (such as deep0.tif), {flat} have 8" in said[0]
    data = DataConfig.model_validate(found)
    read, refused = (many, few) if value_range else (few, many)
    assert read_image(read[0], data).max() > 0
    with pytest.raises(UserError, match="all black; bring all" if value_range else "otherwise save it with 8 bits"):
        read_image(refused[0], data)
