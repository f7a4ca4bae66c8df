"""Images and masks are turned once, as their orientation tag says, whatever wrote and compressed them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.image_files import read_image, read_size, read_values
from u2pl_ray.data.near_duplicates import hashes
from u2pl_ray.data.voc import Item, read_item, read_label

H, W = 32, 48
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
"""By the TIFF 6.0 specification: which stored row and column is shown at the top and at the left."""
Writer = Callable[[Path, np.ndarray, int], None]


def by_pillow(compression: str | None) -> Writer:
    def write(path: Path, values: np.ndarray, orientation: int) -> None:
        Image.fromarray(values).save(path, tiffinfo={274: orientation}, compression=compression)

    return write


def by_tifffile(compression: str | None, tile: tuple[int, int] | None = None) -> Writer:
    def write(path: Path, values: np.ndarray, orientation: int) -> None:
        kind = "rgb" if values.shape[2:] == (3,) else "minisblack"
        tags = [(274, "H", 1, orientation, True)]
        layout: dict[str, Any] = {"planarconfig": "contig"} if values.ndim == 3 else {}
        tifffile.imwrite(path, values, photometric=kind, compression=compression, tile=tile, extratags=tags, **layout)

    return write


WRITERS = {
    "Pillow": by_pillow(None),
    "Pillow, LZW": by_pillow("tiff_lzw"),
    "tifffile": by_tifffile(None),
    "tifffile, deflate, tiled": by_tifffile("zlib", (16, 16)),
}


def noise(*channels: int, most: int = 256, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, most, (H, W, *channels)).astype(dtype)


def settings(**data: object) -> DataConfig:
    return DataConfig.model_validate(data)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("writer", WRITERS)
def test_tiffs(tmp_path: Path, writer: str, orientation: int) -> None:
    write, upright = WRITERS[writer], UPRIGHT[orientation]
    image, grey, deep, alpha = (tmp_path / f"{name}.tif" for name in ("image", "grey", "deep", "alpha"))
    colors, values, wide, four = noise(3), noise(most=5), noise(most=60_000, dtype="uint16"), noise(4)
    for path, content in ((image, colors), (grey, values), (deep, wide), (alpha, four)):
        write(path, content, orientation)
        assert read_size(path) == upright(content).shape[:2]
        np.testing.assert_array_equal(read_values(path).reshape(content.shape), content)  # as stored
    np.testing.assert_array_equal(read_image(image), upright(colors))
    np.testing.assert_array_equal(read_image(grey, settings(channels=1))[..., 0], upright(values))
    np.testing.assert_array_equal(read_image(alpha, settings(channels=4)), upright(four))
    for channels, path, content, most in ((3, image, colors, 255), (1, deep, wide[..., None], 65_535)):
        found = read_image(path, settings(channels=channels, value_range=(0, most)))
        np.testing.assert_allclose(found * most, upright(content), atol=0.01)
    np.testing.assert_array_equal(read_label(grey, 5), upright(values))
    coded = settings(label_map={int(value): int(value) % 5 for value in range(60_000)})
    np.testing.assert_array_equal(read_label(deep, 5, coded), upright(wide % 5))
    pixels, label = read_item(Item("a", image, grey), 5)
    np.testing.assert_array_equal(pixels, upright(colors))
    np.testing.assert_array_equal(label, upright(values))
    Image.fromarray(upright(values).copy()).save(tmp_path / "upright.png")
    assert (hashes([grey]) == hashes([tmp_path / "upright.png"])).all()


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("said", [None, "upright", "stored"])
@pytest.mark.parametrize("drawn_on", ["upright", "stored"])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_image_and_mask_are_both_upright(
    tmp_path: Path, suffix: str, drawn_on: str, said: Any, orientation: int
) -> None:
    """Whatever the mask was drawn on, where the sizes or the settings tell it; a mask's own tag goes before."""
    image, mask = tmp_path / f"a.{suffix}", tmp_path / "a_mask.png"
    exif = Image.Exif()
    exif[274] = orientation
    more: dict[str, Any] = {"tiffinfo": {274: orientation}} if suffix == "tif" else {"exif": exif}
    Image.fromarray(noise(3)).save(image, **more)
    upright, stored = UPRIGHT[orientation](noise(most=5)), noise(most=5)
    Image.fromarray(np.ascontiguousarray(upright if drawn_on == "upright" else stored)).save(mask)
    data = settings(label_orientation=said)
    if said not in (None, drawn_on) and orientation >= 5:
        with pytest.raises(UserError, match="must be of one size"):
            read_item(Item("a", image, mask), 5, data)
        return
    pixels, label = read_item(Item("a", image, mask), 5, data)
    np.testing.assert_array_equal(pixels, UPRIGHT[orientation](noise(3)))
    if said == drawn_on or (said is None and (drawn_on == "upright" or orientation >= 5)):
        np.testing.assert_array_equal(label, upright)
    Image.fromarray(stored).save(mask, exif=exif)
    np.testing.assert_array_equal(read_item(Item("a", image, mask), 5, data)[1], upright)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_channels_that_pillow_does_not_know(tmp_path: Path, orientation: int) -> None:
    six = noise(6)
    by_tifffile(None)(tmp_path / "a.tif", six, orientation)
    upright = UPRIGHT[orientation](six)
    assert read_size(tmp_path / "a.tif") == upright.shape[:2]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", settings(channels=6)), upright)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_other_formats(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(noise(3)).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(noise(most=5)).save(tmp_path / "label.png", exif=exif)
    upright = UPRIGHT[orientation]
    for data in (settings(), settings(value_range=(0, 255))):
        scale = 1 if data.value_range is None else 255
        np.testing.assert_allclose(scale * read_image(tmp_path / "a.png", data), upright(noise(3)), atol=1e-3)
    np.testing.assert_array_equal(read_label(tmp_path / "label.png", 5), upright(noise(most=5)))
    assert read_size(tmp_path / "a.png") == upright(noise(3)).shape[:2]
