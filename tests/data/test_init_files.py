"""Which files `init` finds: names of masks as programs export them, and kinds that it does not read."""

from pathlib import Path

import pytest
from plain_folder import label, mask, picture
from voc_folder import refused

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.init.first_config import first_config
from u2pl_ray.data.init.pairing import find_pairs


@pytest.mark.parametrize(
    ("photo", "drawn"),
    [
        ("p{}.jpg", "p{}.jpg.png"),
        ("p{}.JPG", "p{}.jpg.png"),
        ("p{}.jpg", "p{}.jpg_mask.png"),
        ("p{}.jpg", "mask_p{}.png"),
        ("p{}.jpg", "Mask-p{}.png"),
        ("p{}.jpg", "label_p{}.png"),
        ("p{}.jpg", "label-p{}.tif"),
        ("mask_p{}.jpg", "mask_p{}.png"),
        ("p{}.jpg.jpg", "p{}.jpg.png"),
    ],
)
def test_names_of_exported_masks(tmp_path: Path, photo: str, drawn: str) -> None:
    folders = [("two/photos", "two/masks")]
    if Path(photo).stem != Path(drawn).stem:  # else one folder can't tell them apart
        folders.append(("one", "one"))
    for photos, masks in folders:
        for number in range(4):
            picture(tmp_path / photos / photo.format(number), number)
            if number < 3:
                mask(tmp_path / masks / drawn.format(number), label(number, 3))
        found = find_pairs(tmp_path / photos.split("/")[0], None)
        assert [(a.name, b.name) for a, b in found.labeled] == [(photo.format(n), drawn.format(n)) for n in range(3)]
        assert [image.name for image in found.unlabeled] == [photo.format(3)]


def photos(root: Path) -> Path:
    for number in range(4):
        picture(root / "photos" / f"p{number}.jpg", number)
    (root / "masks").mkdir()
    return root / "masks"


def test_folders_without_masks_are_named(tmp_path: Path) -> None:
    masks, out = photos(tmp_path), tmp_path / "mine.yaml"
    for number in range(4):
        (masks / f"p{number}.json").write_text("{}")
    polygons = f"{masks}: holds no masks, but 4 .json files: export polygons as masks (PNG)"
    with refused(polygons):
        first_config(tmp_path / "photos", masks, out)
    with refused(polygons):
        first_config(tmp_path / "photos", None, out)
    with refused("4 .json files: export polygons"):
        first_config(tmp_path, None, out)
    for path in masks.iterdir():
        path.rename(path.with_suffix(".npy"))
    with refused(f"{masks}: holds no masks, but 4 .npy files: save masks as PNG"):
        first_config(tmp_path / "photos", masks, out)
    for path in masks.iterdir():
        path.unlink()
    with refused(f"{masks}: holds no masks"):
        first_config(tmp_path / "photos", masks, out)


def test_polygons_beside_their_images(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "photos" / "p0.xml").write_text("<annotation/>")
    with refused(f"{tmp_path / 'photos'}: holds no masks, but 1 .xml files: export polygons"):
        first_config(tmp_path / "photos", None, tmp_path / "mine.yaml")


def test_masks_of_val_alone_are_no_missing_folder(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "images" / ("val" if number < 2 else "train") / f"{number}.jpg", number)
        if number < 2:
            mask(tmp_path / "masks" / "val" / f"{number}.png", label(number, 3))
    with refused("all 2 images with masks are for val or test"):
        first_config(tmp_path, None, tmp_path / "mine.yaml")


def test_photographs_of_other_kinds_are_counted(tmp_path: Path) -> None:
    masks = photos(tmp_path)
    for number in range(4):
        mask(masks / f"p{number}.png", label(number, 3))
    for name in ("q0.HEIC", "q1.heic", "q2.cr2", "q3.gif", "p0.NEF"):  # p0 is there as JPEG too
        (tmp_path / "photos" / name).write_bytes(b"\0")
    said = first_config(tmp_path / "photos", masks, tmp_path / "mine.yaml").said
    assert "4 files of other kinds (.cr2, .gif, .heic) are not read: convert them to JPEG or PNG" in said
    for path in (tmp_path / "photos").glob("*.jpg"):
        path.unlink()
    with refused("holds no images", "5 files of other kinds (.cr2, .gif, .heic, .nef) are not read"):
        first_config(tmp_path / "photos", masks, tmp_path / "mine.yaml")


def test_all_photographs_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "images" / f"p{number}.jpg", number)
        if number < 4:
            mask(tmp_path / "masks" / f"p{number}.png", label(number, 3))
    for name in ("p5", "p7"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"p5\.jpg: can't be read .*take it out \(and 1 more: p7\.jpg\)"):
        first_config(tmp_path, None, tmp_path / "mine.yaml")
