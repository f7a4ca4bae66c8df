"""Images turned by their tag, and masks without one: what their sizes tell of what the masks were drawn on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.voc_folder import Folder
from u2pl_ray.data.check import check
from u2pl_ray.data.init.first_config import first_config
from u2pl_ray.data.turned_masks import look, setting

H, W = 20, 30


def _pair(
    folder: Path, name: str, tag: int, mask: tuple[int, int], size: tuple[int, int] = (H, W)
) -> tuple[Path, Path]:
    exif = Image.Exif()
    exif[0x0112] = tag
    image, label = folder / f"{name}.jpg", folder / f"{name}.png"
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(image, exif=exif)
    Image.fromarray(np.zeros(mask, np.uint8)).save(label)
    return image, label


def test_what_sizes_tell(tmp_path: Path) -> None:
    stored, upright = _pair(tmp_path, "a", 6, (H, W)), _pair(tmp_path, "b", 8, (W, H))
    unclear = [_pair(tmp_path, "c", 3, (H, W)), _pair(tmp_path, "d", 5, (H, H), (H, H))]
    plain, other, absent = _pair(tmp_path, "e", 1, (H, W)), _pair(tmp_path, "f", 6, (3, 3)), (tmp_path / "x",) * 2
    assert look([stored, *unclear, plain, other, absent]).agreed == "stored"
    assert look([upright, *unclear]).agreed == "upright"
    assert look([stored, upright]).agreed is None
    found = look([plain, *unclear, other])
    assert (found.agreed, found.counts["unclear"], found.example) == (None, 2, unclear[0][0])


def test_init_writes_what_the_other_masks_tell(tmp_path: Path) -> None:
    stored, unclear = _pair(tmp_path, "a", 6, (H, W)), _pair(tmp_path, "c", 3, (H, W))
    found, (said,) = setting([stored, unclear])
    assert found == {"label_orientation": "stored"}
    assert "stored pixels, as the sizes of 1 tell: so are those of 1 images" in said
    upright = _pair(tmp_path, "b", 8, (W, H))
    for pairs in ([stored], [unclear], [stored, upright, unclear], [_pair(tmp_path, "e", 1, (H, W))]):
        assert setting(pairs) == ({}, [])
    for number, tag in enumerate((6, 3, 3)):
        image, mask = _pair(tmp_path, f"set{number}", tag, (H, W))
        values = np.zeros((H, W), np.uint8)
        values[:, : W // 2 + number] = 1
        Image.fromarray(values).save(mask)
        for path, folder in ((image, "images"), (mask, "masks")):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            path.rename(tmp_path / "set" / folder / path.name)
    first = first_config(tmp_path / "set", None, tmp_path / "mine.yaml")
    assert first.tree["data"]["label_orientation"] == "stored"
    assert any("stored pixels" in line for line in first.said)


@pytest.mark.parametrize("split", ["l", "v"])
def test_the_check_says_where_sizes_do_not_tell(folder: Folder, split: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    image = folder.image(f"{split}0")
    Image.open(image).save(image, exif=exif)
    (warning,) = [text for text in check(folder.config()).warnings if "orientation" in text]
    assert f"1 images with masks (such as {image.name})" in warning
    assert "data.label_orientation=upright or stored" in warning
    for said in ("upright", "stored"):
        assert not [text for text in check(folder.config(label_orientation=said)).warnings if "orientation" in text]
