import math
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image

from tests.tracking.search import image_files
from u2pl_ray.tracking.payload import edges, matrix_picture, row_again, row_for_client


def test_edges_end_at_the_maximum_beside_the_counts() -> None:
    metrics = {"diag/entropy/max": math.log(5)}
    for name in ("diag/entropy/hist", "diag/entropy/hist_wrong"):
        np.testing.assert_allclose(edges(name, 4, metrics), np.linspace(0, math.log(5), 5))


def test_edges_are_one_apart_without_a_maximum() -> None:
    assert edges("counts/hist", 3, {}).tolist() == [0, 1, 2, 3]


def test_values_keep_their_kind(tmp_path: Path) -> None:
    row = row_for_client({"a": 1, "b": 0.5, "c": "text", "d": None, "e": [3, 4], "f": [[1, 0], [1, 3]]}, tmp_path)
    assert (row["a"], row["b"], row["c"]) == (1, 0.5, "text")
    assert "d" not in row
    assert isinstance(row["e"], wandb.Histogram)
    assert row["e"].histogram == [3, 4]
    assert isinstance(row["f"], wandb.Image)


def test_paths_of_media_become_pictures(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    absolute = str(tmp_path / "two.png")
    row = row_for_client({"media/alone": "one.png", "media/several": ["one.png", absolute, "gone.png"]}, tmp_path)
    assert [picture._caption for picture in row["media/alone"]] == ["one"]
    assert [picture._caption for picture in row["media/several"]] == ["one", "two"]


def test_a_folder_becomes_overlays(tmp_path: Path) -> None:
    image_files(tmp_path / "images" / "epoch_00002")
    row = row_for_client({"media/images": "images/epoch_00002"}, tmp_path, ("sky", "sea"))
    assert row.keys() == {"media/images/val", "media/images/unlabeled"}
    first, second = row["media/images/val"]
    assert (first._caption, second._caption) == ("a", "c")
    assert (set(first._masks), set(second._masks)) == ({"truth", "prediction"}, {"truth"})
    assert first._masks["truth"]._val["class_labels"] == {0: "sky", 1: "sea"}
    [third] = row["media/images/unlabeled"]
    assert third._masks["reliable"]._val["class_labels"] == {0: "unreliable", 1: "reliable"}


def test_a_folder_that_was_removed_or_damaged_costs_its_images(tmp_path: Path) -> None:
    assert row_for_client({"a": 1, "media/images": "gone"}, tmp_path) == {"a": 1, "media/images": []}
    image_files(tmp_path / "here")
    (tmp_path / "here" / "val.0.a.truth.png").write_bytes(b"no picture")
    row = row_for_client({"media/images": "here"}, tmp_path)
    assert [image._caption for image in row["media/images/val"]] == ["c"]


def test_names_stand_before_the_rows_of_a_matrix() -> None:
    picture = matrix_picture(np.eye(3), ("one", "two", "a long name"), side=60)
    margin = picture.shape[1] - 60
    assert picture.shape == (60 + margin, 60 + margin, 3)
    dark = (picture == [8, 48, 107]).all(-1)
    assert dark.sum() == 3 * 20 * 20
    text = (picture < 128).all(-1) & ~dark
    assert text[margin:, :margin].any()  # at the left
    assert text[:margin, margin:].any()  # above
    assert (np.rot90(text[margin:, :margin]) == text[:margin, margin:]).all()  # the same order from the left


def test_a_matrix_is_white_at_zero_and_dark_at_a_whole_row() -> None:
    picture = matrix_picture(np.array([[4.0, 0.0], [1.0, 3.0]]), side=20)
    assert picture.shape == (20, 20, 3)
    assert picture[0, 0].tolist() == [8, 48, 107]
    assert picture[0, 19].tolist() == [255, 255, 255]
    assert picture[19, 19].sum() < picture[19, 0].sum()


def test_an_empty_row_of_a_matrix_is_white() -> None:
    assert (matrix_picture(np.zeros((3, 3))) == 255).all()


@pytest.mark.parametrize("missing", [False, True])
def test_a_row_read_back_can_be_logged_again(tmp_path: Path, missing: bool) -> None:
    if not missing:
        Image.new("RGB", (4, 3)).save(tmp_path / "p.png")
    logged = {
        "_step": 3,
        "_timestamp": 12.5,
        "x": 1.5,
        "h": {"_type": "histogram", "values": [1, 2], "bins": [0, 0.5, 1]},
        "p": {"_type": "image-file", "path": "p.png"},
        "ps": {"_type": "images/separated", "filenames": ["p.png"]},
    }
    row = row_again(logged, tmp_path)
    assert (row["x"], row["_timestamp"], row["h"].bins) == (1.5, 12.5, [0, 0.5, 1])
    assert "_step" not in row
    assert ("p" in row) is not missing
    assert len(row["ps"]) == (not missing)
