"""What training and evaluation should not have in common: images, near-duplicates, scenes."""

import itertools
from pathlib import Path

from u2pl_ray.data import near_duplicates
from u2pl_ray.data.init.scenes import scene_of
from u2pl_ray.data.voc import Item

Splits = dict[str, tuple[Item, ...]]
"""Images by split: labeled, unlabeled, val, and test where there is one."""


def same_images(splits: Splits) -> list[str]:
    """Return a warning for each pair of splits that share images, beyond labeled and unlabeled."""
    ids = {name: {item.id for item in items} for name, items in splits.items()}
    warnings = []
    for first, second in (
        ("labeled", "val"),
        ("unlabeled", "val"),
        ("labeled", "test"),
        ("unlabeled", "test"),
        ("val", "test"),
    ):
        shared = sorted(ids[first] & ids.get(second, set()))
        if shared:
            warnings.append(
                f"{len(shared)} of the images in data.{second} are in data.{first} too (such as {shared[0]}): "
                f"scores on {second} will be too good"
            )
    return warnings


def near_duplicates_across(splits: Splits) -> list[str]:
    """Return a warning for each training and each evaluated split that show nearly the same, beyond files in both."""
    if (count := sum(len(items) for items in splits.values())) > near_duplicates.MOST:
        return [f"near-duplicates were not searched for: {count} images are more than {near_duplicates.MOST}"]
    images = {name: [item.image for item in items] for name, items in splits.items()}
    hashes = {name: near_duplicates.hashes(paths) for name, paths in images.items()}
    warnings = []
    for first, second in itertools.product(("labeled", "unlabeled"), ("val", "test")):
        if second not in images:
            continue
        both = set(images[first]) & set(images[second])
        close = near_duplicates.first_close(hashes[first], hashes[second])
        found = {row: other for row, other in close.items() if images[first][row] not in both}
        if found:
            row, other = next(iter(found.items()))
            warnings.append(
                f"{len(found)} of the images in data.{first} are near-duplicates of images in data.{second} (such as "
                f"{splits[first][row].id}, like {splits[second][other].id}): scores on {second} may be too good; "
                "u2pl-ray init keeps them apart"
            )
    return warnings


def same_scenes(splits: Splits) -> list[str]:
    """Return a warning if half of the labeled images show scenes of val, and a third of the unlabeled ones others.

    Others: scenes that neither val nor the labeled images show. Supervised training is then flattered on val, and
    what the unlabeled images teach about other scenes is hardly seen there. Images are of one scene if their names are
    the same up to the last number, and their folders, unless each split has folders of its own.
    """
    folders = {name: {item.image.parent for item in items} for name, items in splits.items()}
    apart = folders["val"].isdisjoint(folders["labeled"]) or folders["unlabeled"].isdisjoint(
        folders["labeled"] | folders["val"]
    )
    scenes = {
        name: [scene_of(Path(item.image.name) if apart else item.image)[0] for item in items]
        for name, items in splits.items()
    }
    val, known = set(scenes["val"]), {*scenes["val"], *scenes["labeled"]}
    shared, other = sum(it in val for it in scenes["labeled"]), sum(it not in known for it in scenes["unlabeled"])
    if not shared or not other or 2 * shared < len(scenes["labeled"]) or 3 * other < len(scenes["unlabeled"]):
        return []
    example = next(item.id for item, it in zip(splits["labeled"], scenes["labeled"], strict=True) if it in val)
    return [
        f"{shared} of {len(scenes['labeled'])} labeled images (such as {example}) are, by their names, of scenes that "
        f"are in data.val too, but {other} of {len(scenes['unlabeled'])} unlabeled ones are of scenes in neither: val "
        "hardly shows what the unlabeled images bring; label images of other scenes, or draw val from all scenes"
    ]
