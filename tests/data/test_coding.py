"""Masks as files hold them: few bits a pixel, and formats that are not what their suffix says."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_folder import label, mask, picture
from voc_folder import refused

from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.init.first_config import first_config
from u2pl_ray.data.init.survey import survey
from u2pl_ray.data.voc import read_label


def packed(values: np.ndarray, bits: int) -> list[bytes]:
    """The rows of a grey image of 1, 2 or 4 bits a pixel, the first pixel in the highest bits."""
    digits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [row.tobytes() for row in np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1)]


def write_png(path: Path, values: np.ndarray, bits: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + row for row in packed(values, bits)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def write_tiff(path: Path, values: np.ndarray, bits: int, deflate: bool) -> None:
    height, width = values.shape
    content = b"".join(packed(values, bits))
    content = zlib.compress(content) if deflate else content
    # width, height, bits, compression, black is zero, where, channels, rows in it, bytes of it
    tags = {256: width, 257: height, 258: bits, 259: 8 if deflate else 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1}
    tags |= {278: height, 279: len(content)}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4) + content)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", ["png", "raw.tif", "deflate.tif"])
def test_grey_of_few_bits_is_read_as_stored(tmp_path: Path, bits: int, kind: str) -> None:
    """Pillow stretches it to 0..255; `init` and the reader see the same values."""
    values = np.random.default_rng(0).integers(0, 2**bits, (8, 16)).astype(np.uint8)
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        write_png(path, values, bits)
    else:
        write_tiff(path, values, bits, deflate=kind == "deflate.tif")
    with Image.open(path) as file:
        assert bits == 1 or np.asarray(file).max() == 255
    np.testing.assert_array_equal(read_label(path, 2**bits), values)
    assert set(survey([(path, path)]).pixels) == set(range(2**bits))
    shown = read_label(path, 2, DataConfig.model_validate({"label_map": dict.fromkeys(range(1, 2**bits), 1)}))
    np.testing.assert_array_equal(shown, values > 0)


def test_init_refuses_what_the_reader_refuses(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"{number}.png", number)
        mask(tmp_path / "masks" / f"{number}.png", label(number, 3))
    drawn = tmp_path / "masks" / "1.png"
    Image.fromarray(label(1, 3)).save(drawn, format="JPEG")  # named .png
    with refused("1.png", "is a JPEG"):
        read_label(drawn, 3)
    with refused("1.png", "is a JPEG"):
        first_config(tmp_path, None, tmp_path / "mine.yaml")
    drawn.unlink()
    Image.fromarray(label(1, 3).astype(np.int32) - 1).save(drawn.with_suffix(".tif"))
    with refused("1.tif", "-1 is negative"):
        read_label(drawn.with_suffix(".tif"), 3)
    with refused("1.tif", "-1 is negative"):
        first_config(tmp_path, None, tmp_path / "mine.yaml")
