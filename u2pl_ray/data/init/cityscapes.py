"""Cityscapes' classes: their names, colours and label ids."""

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.data.init.draft import Draft
from u2pl_ray.data.init.survey import Survey

NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
COLORS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def by_ids(found: Survey) -> Draft:
    """Return how masks of label ids are read.

    Args:
        found: what they hold.
    """
    values = sorted({*range(34), *(code for code in found.pixels if isinstance(code, int))})
    places = {value: _IDS.index(value) if value in _IDS else IGNORE for value in values}
    note = "masks hold Cityscapes' label ids: mapped to its 19 classes, the rest is ignored"
    return Draft(list(_IDS), {"label_map": places}, [note])
