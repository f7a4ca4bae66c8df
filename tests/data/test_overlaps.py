"""A word where val shows the scenes of the labeled images, but not those that the unlabeled images are of."""

from pathlib import Path

import pytest

from u2pl_ray.data.overlaps import same_scenes
from u2pl_ray.data.voc import Item


def split(*names: str) -> tuple[Item, ...]:
    return tuple(Item(name, Path("images") / f"{name}.png", None) for name in names)


NOT_VALS = ("day_4", "rain_1", "snow_2")


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "val", "warned"),
    [
        (("day_1", "day_2"), NOT_VALS, ("day_3",), True),
        (("day_1", "fog_2"), NOT_VALS, ("day_3",), True),  # half of the labeled ones
        (("fog_1", "fog_2"), NOT_VALS, ("day_3",), False),  # as CamVid's drives should be
        (("day_1", "day_2"), ("day_4", "day_5"), ("day_3",), False),  # one scene, or names that tell none
        (("day_1", "rain_1"), NOT_VALS, ("day_3", "rain_3", "snow_3"), False),  # val drawn from all, as VOC's years
        (("day_1", "day_2"), (), ("day_3",), False),
        ((), NOT_VALS, ("day_3",), False),
    ],
)
def test_scenes_of_labeled_images_in_val(
    labeled: tuple[str, ...], unlabeled: tuple[str, ...], val: tuple[str, ...], warned: bool
) -> None:
    warnings = same_scenes({"labeled": split(*labeled), "unlabeled": split(*unlabeled), "val": split(*val)})
    assert len(warnings) == warned
    if warned:
        assert "(such as day_1)" in warnings[0]
        assert "2 of 3 unlabeled ones are not" in warnings[0]
