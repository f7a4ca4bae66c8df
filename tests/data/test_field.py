"""List formats, folders and mask codings as they are passed around."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError
from voc_folder import Folder, refused

from u2pl_ray.config.overrides import apply, load
from u2pl_ray.data.check import check, examine
from u2pl_ray.data.image_files import read_image
from u2pl_ray.data.transforms import WeakAugmentation
from u2pl_ray.data.voc import open_split, open_training_splits, read_item, read_label

LINES = {
    "id with suffix": "{}.png",
    "path": "JPEGImages/{}.png",
    "path without suffix": "JPEGImages/{}",
    "pair": "JPEGImages/{0}.png SegmentationClass/{0}.png",
    "tabs": "JPEGImages/{0}.png\tSegmentationClass/{0}.png",
    "commas": "JPEGImages/{0}.png, SegmentationClass/{0}.png",
    "pair of ids": "{0} {0}",
}


@pytest.mark.parametrize("line", LINES.values(), ids=list(LINES))
def test_list_formats(folder: Folder, line: str) -> None:
    for file, ids in (("labeled.txt", ["l2", "l0"]), ("unlabeled.txt", ["u1", "u0"])):
        folder.split(file, [line.format(name) for name in ids])
    labeled, unlabeled = open_training_splits(folder.config().data)
    assert [(item.id, item.image, item.label) for item in labeled] == [
        (name, folder.image(name), folder.label(name)) for name in ("l2", "l0")
    ]
    assert [item.id for item in unlabeled] == ["u1", "u0"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_encodings(folder: Folder, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (folder.root / "labeled.txt").write_bytes((mark + "l0\r\nl1\r\n").encode(encoding))
    assert [item.id for item in open_split(folder.config().data, "labeled")] == ["l0", "l1"]


def test_nested_upper_case_and_decomposed_names(folder: Folder) -> None:
    name = unicodedata.normalize("NFC", "town/müll é")
    for path, suffix in ((folder.image("l0"), ".JPG"), (folder.label("l0"), ".PNG")):
        target = path.parent / (unicodedata.normalize("NFD", name) + suffix)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    folder.split("labeled.txt", [name, "l1"])
    assert [item.id for item in open_split(folder.config().data, "labeled")] == [name, "l1"]


def test_mask_codings(folder: Folder) -> None:
    truth = read_label(folder.label("l0"), 3)
    colors = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0]], np.uint8)
    rgb = np.where((truth == 255)[..., None], 0, colors[np.minimum(truth, 2)]).astype(np.uint8)
    raw = np.where(truth == 255, 7, truth * 20 + 1).astype(np.uint8)
    shifted = np.where(truth == 255, 0, truth + 1).astype(np.uint8)
    cases = (
        (rgb, {"label_coding": "color", "colors": colors.tolist(), "ignore_colors": [[0, 0, 0]]}),
        (raw, {"label_map": {1: 0, 21: 1, 41: 2}, "ignore_value": 7}),
        (shifted, {"reduce_zero_label": True}),
        (raw.astype(np.uint16), {"label_map": {1: 0, 21: 1, 41: 2}, "ignore_value": 7}),
    )
    for values, settings in cases:
        Image.fromarray(values).save(folder.label("l0"))
        np.testing.assert_array_equal(read_label(folder.label("l0"), 3, folder.config(**settings).data), truth)
    Image.fromarray(rgb).save(folder.label("l0"))
    data = folder.config(label_coding="color", colors=colors.tolist()).data
    with refused("[0, 0, 0]", "data.ignore_colors"):
        read_label(folder.label("l0"), 3, data)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(folder: Folder, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = read_image(folder.image("l0"))
    Image.fromarray(stored).save(folder.image("l0"), exif=exif)
    label = read_label(folder.label("l0"), 3)
    item = open_split(folder.config().data, "labeled")[0]
    image, turned = read_item(item, 3)  # a mask of the stored pixels: both are turned
    assert image.shape[:2] == turned.shape == ((50, 40) if turn >= 5 else (40, 50))
    Image.fromarray(label).save(folder.label("l0"), exif=exif)
    image, turned = read_item(item, 3)
    assert image.shape[:2] == turned.shape == ((50, 40) if turn >= 5 else (40, 50))


def test_binary_masks_are_refused_with_the_cure(folder: Folder) -> None:
    for path in folder.root.glob("SegmentationClass/*"):
        Image.fromarray(np.where(read_label(path, 3) == 0, 0, 255).astype(np.uint8)).save(path)
    with refused("one class (background)", "data.label_map={255: 1}"):
        check(folder.config())
    report = check(folder.config(label_map={255: 1}, classes=["background", "thing"]))
    assert all(report.splits[0].pixels)


def test_every_bad_file_is_named(folder: Folder) -> None:
    for name in ("l1", "u4", "v2"):
        folder.image(name).write_bytes(b"")
    _, problems = examine(folder.config())
    assert [name in line for name, line in zip(("l1", "u4", "v2"), problems, strict=True)] == [True] * 3
    with refused(str(folder.image("l1")), "2 more bad files"):
        check(folder.config())


def test_mean_and_std_of_0_to_255_are_refused(folder: Folder) -> None:
    for key in ("mean", "std"):
        with pytest.raises(ValidationError, match=rf"data\.{key}=.*divide by 255"):
            folder.config(**{key: [123.7, 116.3, 103.5]})


@pytest.mark.parametrize("size", [(1, 900), (900, 2), (3, 5), (1, 1)])
def test_tiny_images_train(folder: Folder, size: tuple[int, int]) -> None:
    augment = WeakAugmentation(folder.config(scale=[0.05, 1.5]).data)
    for seed in range(5):
        pixels, mask = augment(np.full((*size, 3), 9, np.uint8), np.zeros((*size, 2), np.uint8), seed)
        assert pixels.shape == (3, 32, 32)
        assert mask.shape == (32, 32, 2)


@pytest.mark.parametrize("settings", [{"val": None}, {"selection": "holdout"}])
def test_validation_images_are_held_out(folder: Folder, settings: dict[str, object]) -> None:
    data = folder.config(holdout=0.34, **settings).data
    labeled, val = open_split(data, "labeled"), open_split(data, "val")
    assert sorted(item.id for item in labeled + val) == ["l0", "l1", "l2"]
    assert len(val) == 1
    assert open_split(data, "val") == val


def test_jpeg_masks_are_refused_whatever_their_name(folder: Folder) -> None:
    with folder.label("l0").open("wb") as file:
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(file, "JPEG")
    with refused(str(folder.label("l0")), "JPEG", "save it as PNG"):
        read_label(folder.label("l0"), 3)


@pytest.mark.parametrize("line", ["l0", "JPEGImages/l0.png", "JPEGImages/l0.png SegmentationClass/l0.jpg"])
def test_jpeg_masks_are_refused_whatever_the_list_says(folder: Folder, line: str) -> None:
    folder.label("l0").rename(folder.root / "kept.png")
    jpeg = folder.label("l0").with_suffix(".jpg")
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(jpeg)
    folder.split("labeled.txt", [line, "l1"])
    with refused(str(jpeg), "JPEG", "save it as PNG"):
        check(folder.config())
    folder.split("labeled.txt", ["l1"])
    folder.split("unlabeled.txt", ["l0", "u1"])
    check(folder.config())  # an unlabeled image needs no mask


def test_tiff_masks_of_any_depth(folder: Folder) -> None:
    truth = read_label(folder.label("l0"), 3)
    path = folder.label("l0").with_suffix(".TIF")
    for dtype in (np.uint8, np.uint16, np.int32):
        Image.fromarray(truth.astype(dtype)).save(path, "TIFF")
        np.testing.assert_array_equal(read_label(path, 3), truth)
    Image.fromarray(np.where(truth == 255, -1, truth.astype(np.int32)).astype(np.int32)).save(path, "TIFF")
    with refused(str(path), "-1", "negative"):  # it used to be class 0
        read_label(path, 3)


def test_relative_weights_belong_to_the_folder_of_the_config(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    here = folder.root.parent
    config = here / "mine.yaml"
    monkeypatch.chdir(folder.root)
    for given, expected in (
        ("nets/a.pth", f"{here}/nets/a.pth"),
        ("a.safetensors", f"{here}/a.safetensors"),
        ("/elsewhere/a.pth", "/elsewhere/a.pth"),
        ("~/a.pth", "~/a.pth"),
        ("imagenet", "imagenet"),
        ("package", "package"),
        (None, None),
    ):
        config.write_text(yaml.safe_dump({"model": {"encoder_weights": given}}))
        assert load(config).model.encoder_weights == expected
    config.write_text("model: {encoder: 'tu-local-dir:nets/a'}\n")
    assert load(config).model.encoder == f"tu-local-dir:{here}/nets/a"
    # on the command line they belong to where it is typed
    assert load(config, ["model.encoder_weights=b.pth"]).model.encoder_weights == f"{folder.root}/b.pth"


def test_relative_paths_belong_to_the_folder_of_the_config(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder.root.parent / "configs" / "mine.yaml"
    config.parent.mkdir()
    (config.parent / "few.txt").write_text("l1\n")
    config.write_text("data: {root: ../set, labeled: ../configs/few.txt}\n")
    elsewhere = folder.root.parent / "elsewhere"
    elsewhere.mkdir()
    for place in (elsewhere, config.parent, folder.root):
        monkeypatch.chdir(place)
        data = load(os.path.relpath(config, place)).data
        assert [item.image for item in open_split(data, "labeled")] == [folder.image("l1")]


def test_files_from_other_editors(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte order mark and CRLF in the configuration and in classes.json, and a list in the home folder."""
    names = folder.root / "classes.json"
    names.write_bytes(names.read_text().encode("utf-8-sig"))
    (tmp_path / "few.txt").write_text("l1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "mine.yaml"
    config.write_bytes("data:\r\n  root: set\r\n  labeled: ~/few.txt\r\n".encode("utf-8-sig"))
    report = check(load(config))
    assert report.classes == ("background", "cat", "dog")
    assert report.splits[0].images == 1


def test_supervised_needs_no_unlabeled_list(folder: Folder) -> None:
    plain = folder.config(unlabeled=None)
    with refused("data.unlabeled is null", "method.name=supervised"):
        check(plain)
    check(apply(plain, {"method.name": "supervised"}))


def test_labels_without_a_class_are_a_warning_beside_others(folder: Folder) -> None:
    """Images labeled 255 all over enter nothing; where all are, nothing could be learned."""
    for name in ("l0", "l1"):
        blank = np.full_like(np.asarray(Image.open(folder.label(name))), 255)
        Image.fromarray(blank).save(folder.label(name))
    assert sum(check(folder.config()).splits[0].pixels) > 0
    folder.split("labeled.txt", ["l0", "l1"])
    with refused("all labeled pixels are of no class"):
        check(folder.config())
