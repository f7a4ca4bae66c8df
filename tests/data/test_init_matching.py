"""Which mask `init` gives to which image, and what it refuses to choose."""

from pathlib import Path

import pytest
from plain_folder import label, mask, picture
from voc_folder import refused

from u2pl_ray.data.init.first_config import FirstConfig, first_config
from u2pl_ray.data.init.pairing import find_pairs


def folder(root: Path, photos: list[str], masks: list[str]) -> Path:
    for seed, name in enumerate(photos):
        picture(root / "photos" / name, seed)
    for seed, name in enumerate(masks):
        mask(root / "masks" / name, label(seed, 3))
    return root


def names(start: int, end: int, text: str) -> list[str]:
    return [text.format(number) for number in range(start, end)]


def pairs(root: Path) -> dict[str, str]:
    """The mask of each image, below their folders."""
    found = find_pairs(root / "photos", root / "masks").labeled
    return {str(a.relative_to(root / "photos")): str(b.relative_to(root / "masks")) for a, b in found}


def looked_at(root: Path) -> FirstConfig:
    return first_config(root / "photos", None, root / "mine.yaml")


@pytest.mark.parametrize("places", [("car", "person"), ("round1", "round2")])
def test_masks_of_one_image_in_several_folders_are_refused(tmp_path: Path, places: tuple[str, str]) -> None:
    masks = [f"{places[0]}/{name}" for name in names(0, 6, "p{}.png")]
    root = folder(tmp_path, names(0, 10, "p{}.jpg"), [*masks, f"{places[1]}/p1.png", f"{places[1]}/P0.png"])
    with refused(f"p0.jpg has 2 masks: masks/{places[0]}/p0.png, masks/{places[1]}/P0.png: merge", "--masks"):
        looked_at(root)
    first = first_config(root / "photos", root / "masks" / places[0], root / "mine.yaml")
    assert sum(map(len, first.lists.values())) == 10


def test_lists_that_name_the_masks_decide(tmp_path: Path) -> None:
    masks = [f"{place}/{name}" for place in ("round1", "round2") for name in names(0, 4, "p{}.png")]
    root = folder(tmp_path, names(0, 6, "p{}.jpg"), masks)
    rows = tmp_path / "labeled.txt"
    rows.write_text("".join(f"photos/p{n}.jpg masks/round2/p{n}.png\n" for n in range(4)))
    first = first_config(root, None, root / "mine.yaml", {"labeled": rows})
    assert all("round2" in line for line in (*first.lists["labeled"], *first.lists["val"]))
    rows.write_text("".join(f"photos/p{n}.jpg\n" for n in range(4)))
    with refused("p0.jpg has 2 masks"):
        first_config(root, None, root / "mine.yaml", {"labeled": rows})


def test_masks_that_are_not_used_are_counted(tmp_path: Path) -> None:
    both = [*names(0, 6, "p{}.png"), *names(0, 6, "p{}_mask.png")]
    root = folder(tmp_path, names(0, 8, "p{}.jpg"), both)
    said = looked_at(root).said
    assert (
        "6 masks are not used, as their images have others (such as masks/p0.png: masks/p0_mask.png is taken)" in said
    )


def test_masks_of_the_same_folder_name_go_before_others(tmp_path: Path) -> None:
    masks = [f"{site}/{n}.png" for site in "ab" for n in range(4)]
    root = folder(tmp_path, names(0, 4, "b/{}.jpg"), masks)
    assert pairs(root) == {f"b/{n}.jpg": f"b/{n}.png" for n in range(4)}


def test_vocs_two_folders_are_one_choice(tmp_path: Path) -> None:
    """Masks of SBD are in `SegmentationClassAug`, where PASCAL VOC's own are often too."""
    for number in range(6):
        picture(tmp_path / "JPEGImages" / f"{number}.jpg", number)
        mask(tmp_path / "SegmentationClassAug" / f"{number}.png", label(number, 3))
        if number < 2:
            mask(tmp_path / "SegmentationClass" / f"{number}.png", label(number, 3))
    found = find_pairs(tmp_path, None)
    assert not found.several
    assert [drawn.parent.name for _, drawn in found.labeled] == ["SegmentationClass"] * 2 + ["SegmentationClassAug"] * 4


@pytest.mark.parametrize(
    ("photos", "masks", "expected"),
    [
        (["p0.jpg", "P0.jpg"], ["p0.png"], {"p0.jpg": "p0.png"}),
        (["p0.jpg", "P0.jpg"], ["P0_MASK.png"], {"P0.jpg": "P0_MASK.png"}),
        (["p0.jpg", "P0.jpg"], ["p0.png", "P0.png"], {"p0.jpg": "p0.png", "P0.jpg": "P0.png"}),
        (["p0.jpg", "p0_rgb.jpg"], ["p0_rgb.png"], {"p0_rgb.jpg": "p0_rgb.png"}),
        (["p0.jpg", "p0_rgb.jpg"], ["p0_rgb_mask.png"], {"p0_rgb.jpg": "p0_rgb_mask.png"}),
        (["p0.jpg", "p0_img.jpg"], ["p0_mask.png"], {"p0.jpg": "p0_mask.png"}),
        (["p0_img.jpg", "P0.jpg"], ["p0.png"], {"P0.jpg": "p0.png"}),
        (["p0_img.jpg"], ["P0.png"], {"p0_img.jpg": "P0.png"}),
        (["p0.jpg"], ["p0.png", "p0_rgb.png"], {"p0.jpg": "p0.png"}),
        (["a/p0.jpg", "b/P0.jpg"], ["a/P0.png"], {"a/p0.jpg": "a/P0.png"}),  # the folder goes first
    ],
)
def test_the_exact_name_goes_first(tmp_path: Path, photos: list[str], masks: list[str], expected: object) -> None:
    assert pairs(folder(tmp_path, photos, masks)) == expected


def test_several_images_of_one_folder_are_refused(tmp_path: Path) -> None:
    with refused("masks/p0.png", "belongs to 2 images", "exact name"):
        pairs(folder(tmp_path, ["p0_img.jpg", "p0_rgb.jpg"], ["p0.png"]))


def test_images_with_an_end_are_no_masks(tmp_path: Path) -> None:
    """An end such as `_rgb` says that a file is an image, also where another has the name without it."""
    for number in range(4):
        picture(tmp_path / f"p{number}_rgb.png", number)
        mask(tmp_path / f"p{number}_mask.png", label(number, 3))
    picture(tmp_path / "p0.png", 9)
    found = find_pairs(tmp_path, None)
    assert [image.name for image, _ in found.labeled] == ["p0.png", *names(1, 4, "p{}_rgb.png")]
    assert [image.name for image in found.unlabeled] == ["p0_rgb.png"]


def test_folders_of_other_names_are_told(tmp_path: Path) -> None:
    root = folder(tmp_path, names(0, 4, "siteA/{}.jpg"), names(0, 4, "siteB/{}.png"))
    said = "4 masks are in folders of other names than their images' (such as masks/siteB/0.png, of photos/siteA/0.jpg)"
    assert any(line.startswith(said) for line in looked_at(root).said)
    for place in ("siteA", "extra"):
        (root / "masks" / "siteB").rename(root / "masks" / "x")
        (root / "masks" / "x").rename(root / "masks" / place)
        assert any("other names" in line for line in looked_at(root).said) == (place != "siteA")
        (root / "masks" / place).rename(root / "masks" / "siteB")
