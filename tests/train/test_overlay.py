from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.overlay import NOT_BLACK, class_colors, overlay, with_legend
from u2pl_ray.data.voc import palette
from u2pl_ray.train.overlay import image_files, write_prediction

COLORS = class_colors(DataConfig())


def test_overlay_tints_by_class_and_leaves_ignored_pixels() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    tinted = overlay(image, labels, COLORS, opacity=0.5)
    assert tinted[1, 1].tolist() == [100, 100, 100]
    for row, column, index in ((0, 0, 0), (0, 1, 1), (1, 0, 2)):
        assert tinted[row, column].tolist() == pytest.approx((50 + COLORS[index] / 2).tolist(), abs=1)


def test_black_is_drawn_light_and_colours_follow_the_configuration() -> None:
    assert (COLORS[1:] == palette()[1:]).all()
    assert COLORS[0].tolist() == list(NOT_BLACK)
    given = class_colors(DataConfig(colors=((9, 8, 7), (0, 0, 0))))
    assert given[:3].tolist() == [[9, 8, 7], list(NOT_BLACK), palette()[2].tolist()]


def test_legend_names_only_what_is_there() -> None:
    picture, labels = np.zeros((60, 40, 3), np.uint8), np.full((60, 40), 1, np.uint8)
    sheet = with_legend(picture, labels, ["sky", "road", "tree"], COLORS)
    assert (sheet[:60, :40] == picture).all()
    swatch = COLORS[1]
    assert (sheet[:, 40:] == swatch).all(2).any()
    assert not (sheet[:, 40:] == COLORS[2]).all(2).any()


def test_written_files_round_trip_and_are_not_overwritten(tmp_path: Path) -> None:
    labels = np.array([[0, 3], [255, 2]], np.uint8)
    data = DataConfig(classes=("a", "b", "c", "d"), colors=((0, 0, 0), (1, 2, 3), (4, 5, 6), (7, 8, 9)))
    arguments = (tmp_path / "out", Path("street.jpg"), np.zeros((2, 2, 3), np.uint8), labels, data)
    first, second = write_prediction(*arguments, force=False)
    assert (first.name, second.name) == ("street_overlay.png", "street_labels.png")
    assert (np.array(Image.open(second)) == labels).all()
    assert np.array(Image.open(second).convert("RGB"))[0].tolist() == [list(NOT_BLACK), [7, 8, 9]]
    with pytest.raises(UserError, match=r"street_overlay\.png: exists already"):
        write_prediction(*arguments, force=False)
    write_prediction(*arguments, force=True)


def test_folders_are_searched_for_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in image_files([tmp_path])] == ["a.JPG", "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        image_files([tmp_path / "empty"])
    with pytest.raises(UserError, match="no such image"):
        image_files([tmp_path / "absent.png"])
