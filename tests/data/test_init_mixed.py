"""Masks of one set in two codings: refused where that is sure, told where it may be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plain_folder import label, picture
from voc_folder import refused

from u2pl_ray.data.init.first_config import first_config

RGB = [[0, 0, 0], [255, 0, 0], [0, 128, 0]]
GREY = [[0, 0, 0], [128, 128, 128], [255, 0, 0]]


def looked_at(root: Path, *kinds: Any, mode: str | None = None, **given: Any) -> list[str]:
    """What `init` says of masks of each kind, three of each."""
    for number in range(3 * len(kinds)):
        picture(root / "photos" / f"p{number}.jpg", number)
        table = np.array(kinds[number // 3], np.uint8)
        (root / "masks").mkdir(exist_ok=True)
        drawn = Image.fromarray(table[label(number, len(table))])
        (drawn.convert(mode) if mode and number < 3 else drawn).save(root / "masks" / f"p{number}.png")
    return list(first_config(root / "photos", None, root / "mine.yaml", **given).said)


@pytest.mark.parametrize("mode", [None, "RGB"])
@pytest.mark.parametrize("numbers", [[0, 1, 2], [0, 2, 9]])
def test_numbers_and_colours_are_refused(tmp_path: Path, numbers: list[int], mode: str | None) -> None:
    with refused("3 masks have class numbers (such as p0.png), 3 have colours (such as p3.png): bring them to one"):
        looked_at(tmp_path, numbers, RGB, mode=mode)


@pytest.mark.parametrize(
    ("kinds", "mode"),
    [
        (([0, 0], RGB), None),  # blank masks in one channel
        (([0, 128], GREY), None),  # colours that a program stored as grey
        (([0, 1, 2], [0, 1, 2]), "RGB"),  # numbers in three channels, and in one
        ((RGB, GREY), "P"),
        (([0, 255], [[0, 0, 0], [255, 255, 255], [9, 9, 255]]), None),
        (([0, 255], GREY), None),
    ],
)
def test_what_agrees_is_read(tmp_path: Path, kinds: Any, mode: str | None) -> None:
    said = looked_at(tmp_path, *kinds, mode=mode)
    assert any("masks are coded by colour" in line for line in said)
    assert not any("one coding" in line for line in said)


@pytest.mark.parametrize("mode", [None, "1", "RGB"])
def test_two_scales_of_two_classes_are_refused(tmp_path: Path, mode: str | None) -> None:
    kinds = ([0, 255], [0, 1]) if mode != "1" else ([0, 255], [0, 255])
    words = ("3 masks hold 0 and 255 alone", "3 hold values up to 1 and no 255", "one coding", "--ignore 255")
    with refused(*words):
        looked_at(tmp_path, *kinds, mode=mode)
    if mode is None:
        assert not any("one coding" in line for line in looked_at(tmp_path, *kinds, ignore=255))


def test_two_scales_of_more_classes_are_told(tmp_path: Path) -> None:
    said = looked_at(tmp_path, [0, 255], [0, 1, 2])
    line = "3 masks hold 0 and 255 alone (such as p0.png), 3 hold values up to 2 and no 255 (such as p3.png): if 255 is"
    assert any(told.startswith(line) for told in said)


def test_borders_of_255_are_no_second_scale(tmp_path: Path) -> None:
    said = looked_at(tmp_path, [0, 255], [0, 1, 2], [0, 1, 255])
    assert not any("one coding" in line for line in said)
