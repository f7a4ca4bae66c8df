"""A word where val shows the scenes of the labeled images, but not those that the unlabeled images are of."""

from pathlib import Path

import pytest

from u2pl_ray.data.init.scenes import scene_of
from u2pl_ray.data.overlaps import same_scenes
from u2pl_ray.data.voc import Item


def warnings(labeled: str, unlabeled: str, val: str) -> list[str]:
    """What is said of images with these names; a name without a folder is in `images`."""

    def items(names: str) -> tuple[Item, ...]:
        paths = [Path(name if "/" in name else f"images/{name}") for name in names.split()]
        return tuple(Item(path.name, path.with_suffix(".png"), None) for path in paths)

    return same_scenes({"labeled": items(labeled), "unlabeled": items(unlabeled), "val": items(val)})


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "val"),
    [
        ("day_1 day_2", "day_4 rain_1 snow_2", "day_3"),
        ("day_1 fog_2", "day_4 rain_1 snow_2", "day_3"),  # half of the labeled ones
        ("train/day_1", "train/rain_1 train/snow_1", "val/day_3"),  # a folder for each split
        ("day/1", "day/2 rain/1 snow/1", "day/3"),  # a folder for each scene
    ],
)
def test_val_of_the_labeled_images_scenes_alone(labeled: str, unlabeled: str, val: str) -> None:
    (warning,) = warnings(labeled, unlabeled, val)
    elsewhere = len(unlabeled.split()) - sum("day" in name for name in unlabeled.split())
    assert f"{elsewhere} of {len(unlabeled.split())} unlabeled ones are of scenes in neither" in warning


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "val"),
    [
        ("fog_1 fog_2", "day_4 rain_1 snow_2", "day_3"),  # as CamVid's drives should be
        ("day_1 rain_1 snow_1", "day_4 rain_2 snow_2", "day_3 rain_3"),  # all scenes are labeled
        ("day_1 day_2", "day_4 day_5", "day_3"),  # one scene, or names that tell none
        ("day_1 rain_1", "day_4 rain_2 snow_2", "day_3 rain_3 snow_3"),  # val drawn from all, as VOC's years
        ("day_1 day_2", "", "day_3"),
        ("", "day_4 rain_1 snow_2", "day_3"),
        ("images/0001", "unlabeled/0100 unlabeled/0101", "images/0002"),  # folders that tell splits
        ("train2017/1", "unlabeled2017/1", "val2017/1"),
        ("train/a/1", "train/b/1 train/c/1", "val/d/1"),
        ("day_1 day_2", "DAY_4 Day_5", "day_3"),  # cameras and programs differ in case
    ],
)
def test_no_word(labeled: str, unlabeled: str, val: str) -> None:
    assert warnings(labeled, unlabeled, val) == []


def test_a_copy_is_of_its_images_scene() -> None:
    assert scene_of(Path("images/p00 (1).jpg")) == scene_of(Path("images/P00.jpg")) == ("images/p", 0)
    assert scene_of(Path("aachen_000012_000019_leftImg8bit.png")) == ("./aachen_000012_", 19)
