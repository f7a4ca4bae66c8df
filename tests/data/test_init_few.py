"""Few labeled images, and names that lists can't hold: what `init` writes can be trained, or it refuses."""

import os
from pathlib import Path

import numpy as np
import pytest
from plain_folder import SIDE, call, label, mask, picture
from voc_folder import refused

from u2pl_ray.data.init.draw import draw
from u2pl_ray.data.init.first_config import first_config


def folder(root: Path, masks: list[np.ndarray]) -> Path:
    for number in range(6):
        picture(root / "photos" / f"p{number}.jpg", number)
    for number, values in enumerate(masks):
        mask(root / "masks" / f"p{number}.png", values)
    return root / "photos"


def test_one_labeled_image_is_refused(tmp_path: Path) -> None:
    photos, out = folder(tmp_path, [label(0, 3)]), tmp_path / "mine.yaml"
    with refused("only 1 image has a mask: at least two are needed, one of them for validation"):
        first_config(photos, None, out)
    folder(tmp_path, [label(0, 3), label(1, 3)])
    for name, number in (("labeled", 0), ("val", 1)):
        (tmp_path / f"{name}.txt").write_text(f"p{number}.jpg\n")
    lists = {"labeled": tmp_path / "labeled.txt"}
    with refused("only 1 image is labeled: at least two"):
        first_config(photos, None, out, lists)
    assert first_config(photos, None, out, lists | {"val": tmp_path / "val.txt"}).lists["labeled"]


def test_nothing_is_said_to_be_drawn_that_is_not(tmp_path: Path) -> None:
    half = np.zeros((SIDE, SIDE), np.uint8)
    half[:20] = 1
    photos, out = folder(tmp_path, [half, 2 * half]), tmp_path / "mine.yaml"
    first = first_config(photos, None, out)
    assert first.tree["data"]["val"] is None
    assert not [line for line in first.said if "drawn" in line or "stays in training" in line]
    assert [line for line in first.said if "each of 2 labeled images alone shows a class: data.val is null" in line]
    call("init", photos, "--out", out)
    call("data", "check", out)


def test_draw_says_what_it_did() -> None:
    each = np.eye(10, dtype=bool)
    assert draw(each, np.arange(10), 0).notes == (
        "no image can be spared for val: each class needs a training image",
        "no image can be spared for test: each class needs a training image",
    )
    assert draw(each[:, :2] | True, np.zeros(10, int), 0).notes == (
        "no scene could be spared for val: single images were drawn",
        "no scene could be spared for test: single images were drawn",
    )


@pytest.mark.parametrize("name", [" lead", "\u3000wide", "x\ty", "a\nb", "a\u2028b", os.fsdecode(b"caf\xe9")])
@pytest.mark.parametrize("labeled", [False, True])
def test_names_that_lists_cannot_hold_are_refused(tmp_path: Path, name: str, labeled: bool) -> None:
    for number in range(4):
        picture(tmp_path / "set" / f"p{number}.png", number)
        mask(tmp_path / "set" / f"p{number}_mask.png", label(number, 3))
    picture(tmp_path / "set" / "new.jpg", 9)
    (tmp_path / "set" / "new.jpg").rename(tmp_path / "set" / f"{name}.jpg")
    if labeled:
        mask(tmp_path / "set" / "new_mask.png", label(9, 3))
        (tmp_path / "set" / "new_mask.png").rename(tmp_path / "set" / f"{name}_mask.png")
    with refused(f"{name!a}"[1:-1].split("\\udc")[0], "rename the file"):
        first_config(tmp_path / "set", None, tmp_path / "mine.yaml")


def test_odd_names_that_lists_hold(tmp_path: Path) -> None:
    names = ["trail ", "a,b", "c, d", "#hash", "50% [old]", "l'été", "日本", "very.many.dots.v2", "a  b", "in/ lead"]
    for number, name in enumerate(names):
        picture(tmp_path / "set" / f"{name}.jpg", number)
        mask(tmp_path / "set" / f"{name}_mask.png", label(number, 3))
    for number in range(3):
        picture(tmp_path / "set" / f"un, {number}.jpg", 20 + number)
    call("init", tmp_path / "set", "--out", tmp_path / "mine.yaml")
    call("data", "check", tmp_path / "mine.yaml")
