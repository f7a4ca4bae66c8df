from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import Folder, refused

from u2pl_ray.data.image_files import read_image
from u2pl_ray.data.lists import read_list
from u2pl_ray.data.voc import open_split, open_training_splits, palette, read_classes, read_item, read_label, root_of


def test_items_are_in_the_order_of_the_split_file(folder: Folder) -> None:
    folder.split("labeled.txt", ["l2", "l0", "", "  l1  "])
    items = open_split(folder.config().data, "labeled")
    assert [item.id for item in items] == ["l2", "l0", "l1"]
    assert items[0].image == folder.image("l2")
    assert items[0].label == folder.label("l2")


def test_a_label_of_an_unlabeled_image_is_optional(folder: Folder) -> None:
    folder.label("u3").unlink()
    _, unlabeled = open_training_splits(folder.config().data)
    assert [item.label is None for item in unlabeled] == [name == 3 for name in range(7)]
    image, label = read_item(unlabeled[3], 3)
    assert label.shape == image.shape[:2]
    assert (label == 255).all()


def test_paths_with_a_slash_before_them_are_from_the_root(folder: Folder) -> None:
    """As DeepLab's train_aug.txt writes them; `/a/b.png` that is a file stays that file."""
    other = folder.root / "drawn anew"
    other.mkdir()
    folder.label("l1").rename(other / "one.png")
    elsewhere = folder.image("l2").rename(folder.root.parent / "l2.png")
    lines = ["/JPEGImages/l0.png /SegmentationClass/l0.png", "/JPEGImages/l1.png /drawn anew/one.png"]
    folder.split("labeled.txt", [*lines, f"{elsewhere}\t/SegmentationClass/l2.png"])
    for data in (folder.config().data, folder.config(images=str(folder.root / "JPEGImages")).data):
        items = open_split(data, "labeled")
        assert [item.label for item in items] == [folder.label("l0"), other / "one.png", folder.label("l2")]
        assert [item.image for item in items] == [folder.image("l0"), folder.image("l1"), elsewhere]
    folder.split("unlabeled.txt", ["/JPEGImages/l0"])
    with refused("'l0'", "labeled.txt", "unlabeled.txt"):  # one image has one id, however it is written
        open_training_splits(folder.config().data)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".png"])
def test_image_suffixes(folder: Folder, suffix: str) -> None:
    pixels = read_image(folder.image("l0"))
    folder.image("l0").unlink()
    Image.fromarray(pixels).save(folder.image("l0", suffix))
    assert open_split(folder.config().data, "labeled")[0].image == folder.image("l0", suffix)


def test_a_jpg_goes_before_a_png(folder: Folder) -> None:
    Image.fromarray(read_image(folder.image("l0"))).save(folder.image("l0", ".jpg"))
    assert open_split(folder.config().data, "labeled")[0].image.suffix == ".jpg"


def test_palette_and_grey_labels_read_alike(folder: Folder) -> None:
    grey = read_label(folder.label("l0"), 3)
    drawn = Image.fromarray(grey)
    drawn.putpalette(palette().tobytes())
    drawn.save(folder.label("l0"))
    assert Image.open(folder.label("l0")).mode == "P"
    np.testing.assert_array_equal(read_label(folder.label("l0"), 3), grey)
    assert set(np.unique(grey)) == {0, 1, 2, 255}


def test_palette_is_that_of_pascal_voc() -> None:
    assert palette()[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_images_of_other_modes_become_rgb(folder: Folder, mode: str) -> None:
    path = folder.image("l0", ".tiff")
    Image.open(folder.image("l0")).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (40, 50, 3)
    assert image.dtype == np.uint8


def test_missing_root(folder: Folder) -> None:
    with refused("data.root=/no/such/place", "no such folder"):
        root_of(folder.config(root="/no/such/place").data)
    with refused("data.root is empty"):
        root_of(folder.config(root="").data)


def test_a_root_without_the_layout(folder: Folder) -> None:
    (folder.root / "SegmentationClass").rename(folder.root / "labels")
    with refused("SegmentationClass", "is missing", "VOC layout"):
        root_of(folder.config().data)


def test_a_relative_root_becomes_absolute(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.root.parent)
    assert root_of(folder.config(root="set").data) == folder.root


def test_missing_and_empty_split_files(folder: Folder) -> None:
    with refused("data.val", "no.txt", "is missing"):
        open_split(folder.config(val="no.txt").data, "val")
    folder.split("labeled.txt", ["", " "])
    with refused("data.labeled", "labeled.txt", "is empty"):
        open_split(folder.config().data, "labeled")
    with refused("data.test is null", "--split val"):
        open_split(folder.config(test=None).data, "test")


def test_a_split_file_that_is_no_text(folder: Folder) -> None:
    with refused("data.val", "l0.png", "can't be read"):
        open_split(folder.config(val="JPEGImages/l0.png").data, "val")
    with refused("data.val", "JPEGImages", "can't be read"):
        open_split(folder.config(val="JPEGImages").data, "val")


def test_split_files_of_other_systems(folder: Folder) -> None:
    path = folder.root / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfl0\r\nl1\r\n")
    assert read_list(path) == ("l0", "l1")


def test_absent_images_and_labels(folder: Folder) -> None:
    folder.split("labeled.txt", ["l0", "nobody", "l1", "noone", "none"])
    with refused("labeled.txt", "'nobody'", "and 2 more", "JPEGImages/nobody", "absent"):
        open_split(folder.config().data, "labeled")
    folder.split("labeled.txt", ["l0", "l1"])
    folder.label("l1").unlink()
    with refused("labeled.txt", "'l1'", "SegmentationClass/l1.png", "absent"):
        open_split(folder.config().data, "labeled")


def test_an_id_twice(folder: Folder) -> None:
    folder.split("labeled.txt", ["l0", "l1", "l0"])
    with refused("labeled.txt", "'l0' 2 times"):
        open_split(folder.config().data, "labeled")


def test_an_id_in_both_training_splits(folder: Folder) -> None:
    folder.split("unlabeled.txt", ["u0", "l1", "l2"])
    with refused("'l1'", "and 1 more", "labeled.txt", "unlabeled.txt"):
        open_training_splits(folder.config().data)


def test_a_value_outside_the_classes(folder: Folder) -> None:
    Image.fromarray(np.full((40, 50), 7, np.uint8)).save(folder.label("l0"))
    with refused(str(folder.label("l0")), "label value 7", "3 classes"):
        read_label(folder.label("l0"), 3)


def test_an_rgb_label(folder: Folder) -> None:
    Image.open(folder.image("l0")).save(folder.label("l0"))
    with refused(str(folder.label("l0")), "RGB", "class indices"):
        read_label(folder.label("l0"), 3)


def test_label_and_image_of_different_size(folder: Folder) -> None:
    Image.fromarray(np.zeros((41, 50), np.uint8)).save(folder.label("l0"))
    item = open_split(folder.config().data, "labeled")[0]
    with refused(str(folder.label("l0")), "50x41", "50x40", str(folder.image("l0"))):
        read_item(item, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_images(folder: Folder, suffix: str) -> None:
    path = folder.image("l0", suffix)
    Image.fromarray(read_image(folder.image("l0"))).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with refused(str(path), "can't be read as an image"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_files_that_are_no_image(folder: Folder, content: bytes) -> None:
    folder.image("l0").write_bytes(content)
    folder.label("l0").write_bytes(content)
    with refused(str(folder.image("l0")), "can't be read as an image"):
        read_image(folder.image("l0"))
    with refused(str(folder.label("l0")), "can't be read as an image"):
        read_label(folder.label("l0"), 3)


def test_a_sixteen_bit_image(folder: Folder) -> None:
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(folder.image("l0"))
    with refused(str(folder.image("l0")), "I;16", "8 bits", "data.value_range"):
        read_image(folder.image("l0"))


def test_classes_from_the_config_go_first(folder: Folder) -> None:
    assert read_classes(folder.config().data) == ("background", "cat", "dog")
    assert read_classes(folder.config(classes=["a", "b"]).data) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ('{"a": 0}', "list of class names"),
        ('["a", 1]', "list of class names"),
        ('["a"]', "names 1 classes"),
        ('["a", "b", "a"]', "'a' twice"),
    ],
)
def test_bad_class_lists(folder: Folder, content: str, words: str) -> None:
    (folder.root / "classes.json").write_text(content)
    with refused("classes.json", words):
        read_classes(folder.config().data)


def test_missing_class_list(folder: Folder) -> None:
    (folder.root / "classes.json").unlink()
    with refused("classes.json is missing", "data.classes"):
        read_classes(folder.config().data)


def test_huge_images_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # 1200 are more than twice as many
    for read in (read_image, lambda it: read_label(it, 3)):
        with refused(str(path), "million pixels", "cut it into tiles"):
            read(path)
