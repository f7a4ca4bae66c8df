"""Masks that show nothing: `init` counts them, as the images may never have been annotated."""

from pathlib import Path

import numpy as np
import pytest
from plain_folder import SIDE, label, mask, picture

from u2pl_ray.data.init.first_config import first_config

COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 0]], np.uint8)


def said(root: Path, drawn: list[np.ndarray], **given: object) -> list[str]:
    """What `init` says of masks that show less than they could."""
    for number, values in enumerate(drawn):
        picture(root / "photos" / f"p{number:02}.jpg", number)
        mask(root / "masks" / f"p{number:02}.png", values)
    first = first_config(root / "photos", None, root / "mine.yaml", **given)  # type: ignore[arg-type]
    return [line for line in first.said if "masks show" in line]


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (np.arange(3, dtype=np.uint8), "class_0"),
        (np.array([0, 255, 255], np.uint8), "background"),
        (COLORS, "black"),
    ],
)
def test_black_masks_are_counted(tmp_path: Path, table: np.ndarray, name: str) -> None:
    drawn = [table[label(number, 3)] for number in range(8)] + [table[np.zeros((SIDE, SIDE), int)]] * 4
    (line,) = said(tmp_path, drawn)
    assert line.startswith(f"4 of 12 masks show {name} alone (such as p08.png): right where nothing is to be seen")
    assert "remove these masks, and their images are unlabeled" in line


def test_masks_without_a_class_are_counted(tmp_path: Path) -> None:
    drawn = [label(number, 3) for number in range(6)] + [np.zeros((SIDE, SIDE), np.uint8)] * 2
    (line,) = said(tmp_path, drawn, ignore=0)
    assert line.startswith("2 of 8 masks show no class at all (such as p06.png)")


def test_one_class_that_is_not_black_is_no_blank_mask(tmp_path: Path) -> None:
    drawn = [label(number, 3) for number in range(6)] + [np.full((SIDE, SIDE), 2, np.uint8)] * 2
    assert said(tmp_path, drawn) == []
