"""Images of any number of channels and any depth: what is read, and what is refused."""

import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from pydantic import ValidationError
from voc_folder import refused

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.image_files import as_picture, read_image, read_size, read_values
from u2pl_ray.data.transforms import WeakAugmentation, normalise
from u2pl_ray.data.voc import read_label

H, W = 24, 31


def noise(channels: int, dtype: str = "uint8", most: int = 256) -> np.ndarray:
    values = np.random.default_rng(channels).integers(0, most, (H, W, channels))
    return (values[..., 0] if channels == 1 else values).astype(dtype)


def tiff(path: Path, values: np.ndarray, **options: Any) -> None:
    layout: dict[str, Any] = {"planarconfig": "contig"} if values.ndim == 3 else {}
    tifffile.imwrite(path, values, photometric="minisblack", **layout, **options)


def data(**settings: Any) -> DataConfig:
    return DataConfig(**settings)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 13])
def test_eight_bit_channels_are_read_as_they_are(tmp_path: Path, channels: int) -> None:
    values = noise(channels)
    tiff(tmp_path / "a.TIFF", values)
    if channels <= 4:
        Image.fromarray(values).save(tmp_path / "a.png")
    for path in tmp_path.iterdir():
        found = read_image(path, data(channels=channels))
        np.testing.assert_array_equal(found, values.reshape(H, W, channels))
        assert read_size(path) == (H, W)


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [("uint16", (0, 65535)), ("uint16", (100, 4095)), ("int16", (-5, 9)), ("float32", (0, 4000)), ("uint8", (0, 255))],
)
def test_values_are_scaled_as_stated(tmp_path: Path, dtype: str, value_range: tuple[float, float]) -> None:
    for channels in (1, 3, 4, 5):
        values = noise(channels, dtype, 256 if dtype == "uint8" else 30_000)
        low, high = value_range
        expected = np.clip((values.reshape(H, W, channels).astype(np.float64) - low) / (high - low), 0, 1)
        tiff(tmp_path / f"{channels}.tif", values)
        if dtype.startswith("u") and channels <= 4:
            swapped = values[..., [2, 1, 0, 3][:channels]] if channels > 1 else values  # OpenCV writes blue first
            assert cv2.imwrite(str(tmp_path / f"{channels}.png"), swapped)
        for path in tmp_path.glob(f"{channels}.*"):
            found = read_image(path, data(channels=channels, value_range=value_range))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_planes_apart_and_compressed(tmp_path: Path) -> None:
    values = noise(5, "uint16", 4096)
    planes = np.moveaxis(values, 2, 0).copy()
    tifffile.imwrite(tmp_path / "planar.tif", planes, photometric="minisblack", planarconfig="separate")
    tifffile.imwrite(tmp_path / "pages.tif", planes, photometric="minisblack")
    tiff(tmp_path / "deflate.tif", values, compression="zlib")
    for name in ("planar", "pages", "deflate"):
        found = read_image(tmp_path / f"{name}.tif", data(channels=5, value_range=(0, 4095)))
        np.testing.assert_allclose(found, values / 4095, atol=1e-6)
    assert cv2.imwrite(str(tmp_path / "lzw.tif"), values[..., :3], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    found = read_image(tmp_path / "lzw.tif", data(value_range=(0, 4095)))
    np.testing.assert_allclose(found, values[..., 2::-1] / 4095, atol=1e-6)


def test_no_data_is_zero(tmp_path: Path) -> None:
    values = noise(1, "float32", 100)
    values[0, 0], values[0, 1] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    found = read_image(tmp_path / "a.tif", data(channels=1, value_range=(0, 99)))
    assert (found[0, 0, 0], found[0, 1, 0]) == (0, 1)


def test_three_channels_are_read_as_ever(tmp_path: Path) -> None:
    grey, alpha = noise(1), noise(4)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), alpha[..., :3])
    for name in ("grey", "alpha"):  # and with a range in the same way
        found = read_image(tmp_path / f"{name}.png", data(value_range=(0, 255)))
        np.testing.assert_allclose(255 * found, read_image(tmp_path / f"{name}.png"), atol=1e-4)


def test_colours_become_luminance(tmp_path: Path) -> None:
    values = noise(3)
    Image.fromarray(values).save(tmp_path / "a.png")
    expected = values @ np.array([0.299, 0.587, 0.114])
    assert abs(read_image(tmp_path / "a.png", data(channels=1))[..., 0] - expected).max() <= 0.51
    scaled = read_image(tmp_path / "a.png", data(channels=1, value_range=(0, 255)))
    np.testing.assert_allclose(255 * scaled[..., 0], expected, atol=1e-3)


def test_refusals_say_what_to_set(tmp_path: Path) -> None:
    tiff(tmp_path / "six.tif", noise(6))
    tifffile.imwrite(tmp_path / "deep.tif", noise(1, "uint16", 9999))
    Image.fromarray(noise(3)).save(tmp_path / "rgb.png")
    cases: tuple[dict[str, Any], ...] = (
        {"channels": 4},
        {"value_range": (0, 255)},
        {"channels": 1, "value_range": (0, 255)},
    )
    for settings in cases:
        with refused("six.tif", "data.channels=6"):
            read_image(tmp_path / "six.tif", data(**settings))
    with refused("six.tif", "data.channels"):
        read_image(tmp_path / "six.tif")
    with refused("rgb.png", "has 3 channels", "data.channels=4"):
        read_image(tmp_path / "rgb.png", data(channels=4))
    for channels in (1, 3):
        with refused("deep.tif", "data.value_range"):
            read_image(tmp_path / "deep.tif", data(channels=channels))
    (tmp_path / "bad.tif").write_bytes((tmp_path / "six.tif").read_bytes()[:700])
    with refused("bad.tif"):
        read_image(tmp_path / "bad.tif", data(channels=6))


def test_a_file_cut_off_anywhere_is_one_line(tmp_path: Path) -> None:
    """Pillow and tifffile raise a different error for each place."""
    path = tmp_path / "a.tif"
    for channels in (3, 6):
        tiff(path, noise(channels))
        whole = path.read_bytes()
        reads = (read_size, partial(read_image, data=data(channels=channels)), partial(read_label, num_classes=2))
        for length in [*range(0, 400, 7), len(whole) // 2, len(whole) - 1]:
            path.write_bytes(whole[:length])
            for read in reads:
                with suppress(UserError):  # what is left may be whole
                    read(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "deflate.tif", "planar.tif"])
def test_sixteen_bit_colours_are_not_cut_to_eight(tmp_path: Path, name: str) -> None:
    for channels in (3, 4):
        values, path = noise(channels, "uint16", 4096), tmp_path / name
        if name == "a.png":
            assert cv2.imwrite(str(path), values)
        else:
            planar = name == "planar.tif"
            tifffile.imwrite(
                path,
                np.moveaxis(values, 2, 0).copy() if planar else values,
                photometric="rgb",
                planarconfig="separate" if planar else "contig",
                compression="zlib" if name == "deflate.tif" else None,
            )
        for asked in {1, 3, channels}:
            with refused(name, "data.value_range"):
                read_image(path, data(channels=asked))


def test_a_bitmap_of_sixteen_bits_a_pixel_has_eight_a_channel(tmp_path: Path) -> None:
    rows = np.array([[0b11111_000000_00000, 0b00000_111111_00000], [0b00000_000000_11111, 0]], np.uint16)
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    header = struct.pack("<IiiHHIIiiII", 40, 2, -2, 1, 16, 3, rows.nbytes, 0, 0, 0, 0)
    size = 14 + len(header) + len(masks)
    path = tmp_path / "a.bmp"
    path.write_bytes(b"BM" + struct.pack("<IHHI", size + rows.nbytes, 0, 0, size) + header + masks + rows.tobytes())
    assert read_image(path).tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]]
    np.testing.assert_array_equal(read_values(path), read_image(path))


def test_settings_that_do_not_go_together() -> None:
    assert data(channels=2).mean == (0.449, 0.449)
    assert data(channels=1).std == (0.226,)
    assert data(channels=1, mean=[0.3]).mean == (0.3,)
    assert data().mean == (0.485, 0.456, 0.406)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"channels": 4, "mean": [0.5] * 3}, "data.mean has 3 values"),
        ({"mean": [0.5]}, "data.mean has 1 values"),
        ({"value_range": (3, 3)}, "data.value_range"),
        ({"channels": 1, "dataset": "synthetic"}, "generated images have 3"),
    )
    for settings, words in cases:
        with pytest.raises(ValidationError, match=words):
            data(**settings)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("value_range", [None, (0.0, 255.0)])
def test_augmented_and_shown(channels: int, value_range: tuple[float, float] | None) -> None:
    settings = data(channels=channels, crop=64, value_range=value_range, mean=[0.5] * channels, std=[0.25] * channels)
    stored = noise(channels).reshape(H, W, channels)
    image = (stored / 255).astype(np.float32) if value_range else stored
    pixels, mask = WeakAugmentation(settings)(image, np.zeros((H, W), np.uint8), 3)
    assert pixels.shape == (channels, 64, 64)
    assert 0 < (mask == 255).float().mean() < 1
    assert abs(pixels[:, mask == 255]).max() < 0.02  # the mean colour
    assert pixels[:, mask == 0].std() > 0.5
    whole = normalise(image, settings)
    assert whole.shape == (channels, 32, 32)
    expected = ((stored / 255 - 0.5) / 0.25).transpose(2, 0, 1)
    np.testing.assert_allclose(whole[:, :H, :W].numpy(), expected, atol=1e-5)
    shown = as_picture(image)
    assert (shown.dtype, shown.shape) == (np.uint8, (H, W, 3))
    np.testing.assert_array_equal(shown[..., 0], stored[..., 0])


def test_depth_changes_no_draw_of_the_augmentation() -> None:
    image, label = noise(3), np.random.default_rng(0).integers(0, 5, (H, W)).astype(np.uint8)
    plain = WeakAugmentation(data(crop=32))(image, label, 7)
    deep = WeakAugmentation(data(crop=32, value_range=(0, 255)))((image / 255).astype(np.float32), label, 7)
    np.testing.assert_array_equal(plain[1], deep[1])
    assert abs(plain[0] - deep[0]).max() < 0.02  # 8-bit rounding of the rescaled image
