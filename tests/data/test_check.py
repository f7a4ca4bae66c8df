import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import Folder, refused

from u2pl_ray.config.schema import Config
from u2pl_ray.data import check as module
from u2pl_ray.data.check import check
from u2pl_ray.data.voc import read_label


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the folder were too large to be read whole by the fast check."""
    monkeypatch.setattr(module, "SMALL", 5)


def test_few_validation_images_are_a_warning(folder: Folder) -> None:
    assert check(folder.config()).warnings == ()
    folder.split("ImageSets/Segmentation/val.txt", ["v0", "v1"])
    (warning,) = check(folder.config()).warnings
    assert warning.startswith("val has 2 images: what is better on so few")
    folder.split("ImageSets/Segmentation/val.txt", ["v0"])
    assert check(folder.config()).warnings[0].startswith("val has 1 image:")


def test_counts(folder: Folder) -> None:
    report = check(folder.config())
    assert report.root == str(folder.root)
    assert report.warnings == ()
    by_name = {split.name: split for split in report.splits}
    assert {name: split.images for name, split in by_name.items()} == {
        "labeled": 3,
        "unlabeled": 7,
        "val": 5,
        "test": 2,
    }
    labels = np.concatenate([read_label(folder.label(f"v{i}"), 3).ravel() for i in range(5)])
    assert by_name["val"].pixels == tuple(int((labels == value).sum()) for value in range(3))
    assert by_name["val"].ignored == 5


def test_report_as_text_and_json(folder: Folder) -> None:
    report = check(folder.config())
    text = "\n".join(report.lines())
    for word in ("3 classes", "unlabeled", "7 images", "cat", "share of labeled pixels"):
        assert word in text
    assert json.loads(json.dumps(report.to_dict()))["splits"][0]["images"] == 3


def test_a_class_no_labeled_image_shows_is_a_warning(folder: Folder) -> None:
    for name in ("l0", "l1", "l2"):
        label = read_label(folder.label(name), 3)
        Image.fromarray(np.where(label == 2, 0, label).astype(np.uint8)).save(folder.label(name))
    (warning,) = check(folder.config(), full=False).warnings
    assert "labeled.txt" in warning
    assert "dog" in warning
    assert "\n" not in warning


def test_overlap_of_training_and_evaluation_is_a_warning(folder: Folder) -> None:
    folder.split("ImageSets/Segmentation/val.txt", ["l1", "v0", "u2", "u3", "t0"])
    warnings = check(folder.config()).warnings
    assert [warning.split(":")[0] for warning in warnings] == [
        "1 of the images in data.val are in data.labeled too (such as l1)",
        "2 of the images in data.val are in data.unlabeled too (such as u2)",
        "1 of the images in data.test are in data.val too (such as t0)",
    ]


def test_a_missing_test_list_is_a_warning(folder: Folder) -> None:
    (folder.root / "ImageSets/Segmentation/test.txt").unlink()
    report = check(folder.config())
    assert [split.name for split in report.splits] == ["labeled", "unlabeled", "val"]
    assert "test.txt is missing" in report.warnings[0]


def test_unlabeled_images_without_labels(folder: Folder) -> None:
    folder.label("u0").unlink()
    assert check(folder.config()).splits[1].labels == 6
    for path in folder.root.glob("SegmentationClass/u*"):
        path.unlink()
    split = check(folder.config()).splits[1]
    assert (split.labels, split.pixels, split.ignored) == (0, (), 0)


@pytest.mark.parametrize("name", ["l2", "u6", "v4", "t1"])
@pytest.mark.parametrize("full", [True, False])
def test_mistakes_in_any_split_are_found(folder: Folder, name: str, full: bool) -> None:
    """A small set is read whole, also by the fast check."""
    good = folder.image(name).read_bytes()
    folder.image(name).write_bytes(good[:-300])
    with refused(str(folder.image(name)), "can't be read"):
        check(folder.config(), full)
    folder.image(name).write_bytes(good)
    Image.fromarray(np.full_like(read_label(folder.label(name), 3), 9)).save(folder.label(name))
    with refused(str(folder.label(name)), "label value 9"):
        check(folder.config(), full)
    folder.label(name).write_bytes(folder.label("l0" if name == "v4" else "l1").read_bytes())
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder.label(name))
    with refused(str(folder.label(name)), "9x9"):
        check(folder.config(), full)
    folder.image(name).unlink()
    with refused(f"'{name}'", "absent"):
        check(folder.config(), full)


@pytest.mark.usefixtures("large")
def test_the_fast_check_reads_headers_only(folder: Folder) -> None:
    label = read_label(folder.label("v4"), 3)
    Image.fromarray(np.full_like(label, 9)).save(folder.label("v4"))
    report = check(folder.config(), full=False)
    assert [bool(split.pixels) for split in report.splits] == [True, False, False, False]
    with refused("label value 9"):
        check(folder.config())
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder.label("v4"))
    with refused(str(folder.label("v4")), "9x9"):
        check(folder.config(), full=False)


@pytest.mark.usefixtures("large")
def test_the_fast_check_reads_the_labeled_split(folder: Folder) -> None:
    folder.image("l2").write_bytes(folder.image("l2").read_bytes()[:-300])
    with refused(str(folder.image("l2")), "can't be read"):
        check(folder.config(), full=False)


def test_the_first_mistake_in_the_order_of_the_split_is_named(folder: Folder) -> None:
    for name in ("u1", "u4", "u6"):
        folder.image(name).write_bytes(b"")
    with refused(str(folder.image("u1"))):
        check(folder.config())


def test_settings_that_do_not_go_with_the_classes(folder: Folder) -> None:
    config = folder.config()
    method = config.method.model_copy(
        update={"contrastive": config.method.contrastive.model_copy(update={"low_rank": 3})}
    )
    with refused("method.contrastive.low_rank=3", "3 classes"):
        check(config.model_copy(update={"method": method}))


def test_camvid_agrees_with_its_statistics(camvid: Path) -> None:
    report = check(
        Config.model_validate(
            {
                "data": {
                    "root": str(camvid),
                    "labeled": "splits/1_4/labeled.txt",
                    "unlabeled": "splits/1_4/unlabeled.txt",
                },
                "method": {"contrastive": {"low_rank": 2}},
            }
        )
    )
    expected = json.loads((camvid / "stats.json").read_text())["sets"]
    by_name = {split.name: split for split in report.splits}
    for name in ("val", "test"):
        split = by_name[name]
        for label, pixels in zip(report.classes, split.pixels, strict=True):
            share = 100 * pixels / sum(split.pixels)
            assert share == pytest.approx(expected[name]["class_pct_of_valid"][label], abs=6e-4)
    assert report.warnings == ()
