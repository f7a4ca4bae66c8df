"""Which folders are taken for images, masks and parts by their names, and what is never taken for an image."""

from pathlib import Path

import numpy as np
import pytest
from plain_folder import call, label, mask, picture

from u2pl_ray.config.overrides import load
from u2pl_ray.data.init.first_config import FirstConfig, first_config
from u2pl_ray.data.init.folders import role_and_place
from u2pl_ray.data.init.pairing import find_pairs
from u2pl_ray.data.voc import open_split

PARTS = {"train": 6, "val": 3, "test": 2}


def segnet(root: Path, images: str, masks: str, unlabeled: int = 0) -> Path:
    """Parts as folders, each with its masks beside it; the names of files are the same in all parts."""
    for seed, (part, count) in enumerate(PARTS.items()):
        for number in range(count):
            picture(root / images.format(part) / f"{number:03}.png", 10 * seed + number)
            mask(root / masks.format(part) / f"{number:03}.png", label(10 * seed + number, 3))
    for number in range(unlabeled):
        picture(root / images.format("train") / f"more{number}.png", 100 + number)
    return root


def lines(first: FirstConfig) -> dict[str, int]:
    return {name: len(rows) for name, rows in first.lists.items()}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}", "{}annot"),
        ("{}", "{}_labels"),
        ("{}_images", "{}_masks"),
        ("{}-image", "{}-label"),
        ("{}_img", "{}_Mask"),
        ("pictures/{}", "annotations/{}"),
    ],
)
def test_parts_with_their_masks_beside_them(tmp_path: Path, images: str, masks: str) -> None:
    root = segnet(tmp_path / "set", images, masks, unlabeled=4)
    out = tmp_path / "mine.yaml"
    call("init", root, "--out", out)
    call("data", "check", out)
    config = load(str(out), [])
    for part, name in (("train", "labeled"), ("val", "val"), ("test", "test")):
        items = open_split(config.data, name)
        assert {item.image.parent for item in items} == {root / images.format(part)}
        assert [item.label for item in items] == [
            root / masks.format(part) / f"{number:03}.png" for number in range(PARTS[part])
        ]
    assert [item.image.stem for item in open_split(config.data, "unlabeled", False)] == [f"more{n}" for n in range(4)]


def test_one_folder_of_several(tmp_path: Path) -> None:
    root = segnet(tmp_path / "set", "{}", "{}annot", unlabeled=4)
    out = tmp_path / "mine.yaml"
    found = find_pairs(root / "val", None)
    assert found.masks == root / "valannot"
    assert (len(found.labeled), found.unlabeled) == (3, ())
    first = first_config(root, root / "trainannot", out)
    assert lines(first) == {"labeled": 5, "val": 1, "unlabeled": 4}
    assert "5 files in other folders of masks are not used (such as testannot/000.png)" in first.said
    assert "5 images in folders for val or test have no mask: not used" in first.said


def test_masks_under_a_strange_name_are_no_images(tmp_path: Path) -> None:
    root = segnet(tmp_path / "set", "{}", "{}Truth", unlabeled=4)
    for path in sorted(
        root.glob("*/0*.png")
    ):  # names that differ between the parts, as these folders' names say nothing
        path.rename(path.with_stem(f"{path.parent.name.removesuffix('Truth')}_{path.stem}"))
    first = first_config(root, root / "trainTruth", tmp_path / "mine.yaml")
    assert lines(first) == {"labeled": 5, "val": 1, "unlabeled": 4}
    assert not any("Truth" in line for line in first.lists["unlabeled"])
    for name in ("val", "test"):
        assert f"{name}Truth/ looks like masks of images beside it: not used as images" in first.said


def test_frames_of_another_scene_with_the_same_numbers_are_images(tmp_path: Path) -> None:
    for number in range(5):
        for scene in ("one", "two"):
            picture(tmp_path / "set" / scene / f"{number:03}.png", number + 10 * len(scene))
        mask(tmp_path / "drawn" / "one" / f"{number:03}.png", label(number, 3))
    found = find_pairs(tmp_path / "set", tmp_path / "drawn")
    assert [image.parent.name for image, _ in found.labeled] == ["one"] * 5
    assert [image.parent.name for image in found.unlabeled] == ["two"] * 5
    mask(tmp_path / "set" / "two" / "004.png", np.zeros((8, 8), np.uint8))  # one dark frame
    assert len(find_pairs(tmp_path / "set", tmp_path / "drawn").unlabeled) == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trainannot", ("masks", "train")),
        ("train_annot", ("masks", "train")),
        ("Annot", ("masks", "")),
        ("VAL_LABELS", ("masks", "val")),
        ("_mask", ("", "_mask")),
        ("SegmentationClass", ("masks", "")),
        ("test_images", ("images", "test")),
        ("JPEGImages", ("images", "")),
        ("aachen", ("", "aachen")),
    ],
)
def test_names_of_folders(name: str, expected: tuple[str, str]) -> None:
    assert role_and_place(name) == expected
