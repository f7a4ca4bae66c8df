"""Which values of masks `init` takes for classes, and that no class is ignored without a word."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_folder import label, mask, picture
from voc_folder import refused

from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.init.first_config import FirstConfig, first_config
from u2pl_ray.data.voc import read_label

ASK = "if it is a class, name all with --classes"


def drawn(root: Path, codes: list[Any], names: object = None, start: int = 0, count: int = 6) -> None:
    """Photographs whose masks hold these values or colours, and a file of names beside them."""
    for number in range(start, start + count):
        picture(root / "photos" / f"p{number}.jpg", number)
        mask(root / "masks" / f"p{number}.png", np.array(codes, np.uint8)[label(number, len(codes))])
    if names is not None:
        (root / "classes.json").write_text(json.dumps(names))


def looked_at(root: Path, **given: Any) -> FirstConfig:
    return first_config(root / "photos", None, root / "mine.yaml", **given)


def labels(root: Path, first: FirstConfig, codes: list[int]) -> list[int]:
    """The class of each value, as masks are read with what was written."""
    mask(root / "all.png", np.array([codes], np.uint8))
    data = DataConfig.model_validate(first.tree["data"] | {"root": str(root)})
    return [int(value) for value in read_label(root / "all.png", len(data.classes), data)[0]]


@pytest.mark.parametrize(
    ("codes", "given", "expected", "said"),
    [
        ([0, 127, 255], {}, [0, 1, 2], "evenly spaced up to 255"),
        ([0, 128, 255], {}, [0, 1, 2], "evenly spaced up to 255"),
        ([0, 85, 170, 255], {}, [0, 1, 2, 3], "evenly spaced up to 255"),
        ([85, 170, 255], {}, [0, 1, 2], "evenly spaced up to 255"),
        ([0, 127, 255], {"classes": ["a", "b", "c"]}, [0, 1, 2], "evenly spaced up to 255"),
        ([0, 127, 255], {"classes": ["a", "b"]}, [0, 1, 255], "value 255 is ignored"),
        ([0, 127, 255], {"ignore": 255}, [0, 1, 255], "mapped in order (0, 127)"),
        ([0, 50, 100, 255], {}, [0, 1, 2, 255], f"value 255 is ignored; {ASK}"),
        ([0, 50, 100, 255], {"classes": ["a", "b", "c", "d"]}, [0, 1, 2, 3], "mapped in order (0, 50, 100, 255)"),
        ([0, 1, 2, 255], {}, [0, 1, 2, 255], "value 255 is ignored"),
        ([0, 1, 255], {"classes": ["a", "b", "c"]}, [0, 1, 255], "value 255 is ignored"),  # c is not seen
        ([0, 50, 200], {}, [0, 1, 255], f"value 200, far above the others, is ignored; {ASK}"),
        ([0, 50, 200], {"classes": ["a", "b", "c"]}, [0, 1, 2], "mapped in order (0, 50, 200)"),
        ([0, 1, 2, 200], {"classes": ["a", "b", "c"]}, [0, 1, 2, 255], "value 200, far above"),
        ([0, 1, 5], {"classes": ["a", "b", "c"]}, [0, 1, 2], "mapped in order (0, 1, 5)"),
        ([1, 3], {"classes": ["a", "b"]}, [0, 1], "mapped in order (1, 3)"),
        ([1, 2, 3], {"classes": ["a", "b", "c"]}, [0, 1, 2], "class n is value n + 1"),
    ],
)
def test_no_class_is_ignored_silently(
    tmp_path: Path, codes: list[int], given: dict[str, Any], expected: list[int], said: str
) -> None:
    drawn(tmp_path, codes)
    first = looked_at(tmp_path, **given)
    assert labels(tmp_path, first, codes) == expected
    assert any(said in line for line in first.said)
    assert len(first.tree["data"]["classes"]) == max(len(given.get("classes", ())), len({*expected} - {255}))


VOID = {"background": 0, "road": 1, "car": 2, "void": 255}


@pytest.mark.parametrize(
    ("codes", "names", "ignore", "classes", "expected"),
    [
        ([0, 1, 2, 255], VOID, None, ["background", "road", "car"], [0, 1, 2, 255]),
        ([0, 1, 2], VOID, None, ["background", "road", "car"], [0, 1, 2]),
        ([0, 1, 2], {"void": 0, "road": 1, "car": 2}, 0, ["road", "car"], [255, 0, 1]),
        ([0, 1, 2], {"Void": 0, "road": 1, "car": 2}, None, ["road", "car"], [255, 0, 1]),
        ([0, 1, 2], {"sky": 0, "road": 1, "car": 2}, 1, ["sky", "car"], [0, 255, 1]),
        ([0, 1, 2, 255], {"sky": 0, "road": 1, "car": 2, "edge": 255}, None, ["sky", "road", "car"], [0, 1, 2, 255]),
        ([0, 127, 255], {"sky": 0, "road": 127, "car": 255}, None, ["sky", "road", "car"], [0, 1, 2]),
        ([0, 1, 255], {"sky": 0, "road": 1, "car": 255}, None, ["sky", "road", "car"], [0, 1, 2]),
        ([0, 1, 255], {"sky": 0, "road": 1, "car": 255}, 255, ["sky", "road"], [0, 1, 255]),
        ([0, 255], {"sky": 0, "car": 255}, None, ["sky", "car"], [0, 1]),
        ([0, 1, 2, 7], {"sky": 0, "cell": 1, "boundary": 2}, None, ["sky", "cell", "boundary"], [0, 1, 2, 255]),
        ([0, 1, 2, 255], ["sky", "road", "car", "void"], None, ["sky", "road", "car"], [0, 1, 2, 255]),
    ],
)
def test_named_values_without_a_class(
    tmp_path: Path, codes: list[int], names: object, ignore: int | None, classes: list[str], expected: list[int]
) -> None:
    drawn(tmp_path, codes, names)
    first = looked_at(tmp_path, ignore=ignore)
    assert first.tree["data"]["classes"] == classes
    assert labels(tmp_path, first, codes) == expected
    shares = [line.split() for line in first.said if line.startswith("  ")]
    told = {row[1]: row[-1] for row in shares if "ignored:" not in row}
    assert told == {name: str(code) for code, at in zip(codes, expected, strict=True) if at < 255
                    for name in [classes[at]]}  # fmt: skip


def test_what_a_file_says_of_void_is_told(tmp_path: Path) -> None:
    drawn(tmp_path, [0, 1, 2, 7, 255], VOID)
    said = looked_at(tmp_path).said
    assert "void, value 255, is ignored" in said
    assert "values that classes.json does not name are ignored: 7" in said


def test_names_that_are_too_few(tmp_path: Path) -> None:
    drawn(tmp_path, [0, 1, 5])
    with refused("--classes names 2 classes, but the masks hold 3, up to 5: 0, 1, 5; name them all"):
        looked_at(tmp_path, classes=["a", "b"])
    drawn(tmp_path, [0, 1, 5], ["a", "b"])
    with refused("classes.json names 2 classes", "if classes.json is no list of these classes"):
        looked_at(tmp_path)
    with refused("--classes names 300 classes: at most 255"):
        looked_at(tmp_path, classes=[f"c{number}" for number in range(300)])


@pytest.mark.parametrize("count", [40, 300])
def test_lists_of_images_are_no_class_names(tmp_path: Path, count: int) -> None:
    drawn(tmp_path, [0, 1, 2])
    (tmp_path / "labels.txt").write_text("".join(f"photos/p{number:02}.jpg\n" for number in range(count)))
    first = looked_at(tmp_path)
    assert first.tree["data"]["classes"] == ["class_0", "class_1", "class_2"]
    assert any("labels.txt names images (such as photos/p00.jpg): not taken" in line for line in first.said)


def test_more_names_than_classes_are_passed_over(tmp_path: Path) -> None:
    drawn(tmp_path, [0, 1, 2])
    (tmp_path / "names.txt").write_text("".join(f"person {number}\n" for number in range(300)))
    (tmp_path / "codes.txt").write_text("sky\nroad\ncar\n")
    first = looked_at(tmp_path)
    assert any("names.txt has 300 names, more than can be classes" in line for line in first.said)
    assert first.tree["data"]["classes"] == ["sky", "road", "car"]
