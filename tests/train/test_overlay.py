import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.config.schema import DataConfig
from u2pl_ray.data.lists import IMAGE_SUFFIXES, list_files
from u2pl_ray.data.overlay import NOT_BLACK, class_colors, overlay, with_legend
from u2pl_ray.data.voc import palette
from u2pl_ray.train.overlay import refuse_existing, write_prediction
from u2pl_ray.train.photographs import find_photographs, views_for

COLORS = class_colors(DataConfig())


def test_overlay_tints_by_class_and_leaves_ignored_pixels() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    tinted = overlay(image, labels, COLORS, opacity=0.5)
    assert tinted[1, 1].tolist() == [100, 100, 100]
    for row, column, index in ((0, 0, 0), (0, 1, 1), (1, 0, 2)):
        assert tinted[row, column].tolist() == pytest.approx((50 + COLORS[index] / 2).tolist(), abs=1)


def test_a_large_overlay_takes_little_memory_and_no_other_pixels() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (2000, 1501, 3), np.uint8)
    labels = random.integers(0, 21, (2000, 1501), np.uint8)
    labels[::7] = 255
    tracemalloc.start()
    tinted = overlay(image, labels, COLORS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * labels.size
    whole = (image * (1.0 - 0.55) + COLORS[labels] * 0.55).round().astype(np.uint8)
    assert (tinted == np.where((labels == 255)[..., None], image, whole)).all()


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
    target = tmp_path / "out" / "town" / "street.v2"  # a dot in a name is no suffix
    refuse_existing([target])
    first, second = write_prediction(target, np.zeros((2, 2, 3), np.uint8), labels, data)
    assert (first.name, second.name) == ("street.v2_overlay.png", "street.v2_labels.png")
    assert (np.array(Image.open(second)) == labels).all()
    assert np.array(Image.open(second).convert("RGB"))[0].tolist() == [list(NOT_BLACK), [7, 8, 9]]
    with pytest.raises(UserError, match=r"street\.v2_overlay\.png \(and 1 more\): exists already"):
        refuse_existing([target.with_name("other"), target])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", "town/c.webp", "town/deep/a.tif", ".hidden/d.png", "out/a_overlay.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    return tmp_path / "in"


def test_folders_are_searched_and_keep_their_order_below(folder: Path) -> None:
    output = folder / "out"  # in the folder itself: what is in it is no photograph
    found = {str(it.path.relative_to(folder)): it.target for it in find_photographs([folder], output)}
    assert found == {
        "a.JPG": output / "a",
        "b.png": output / "b",
        "town/c.webp": output / "town" / "c",
        "town/deep/a.tif": output / "town" / "deep" / "a",
    }
    (single,) = find_photographs([folder / "town" / "c.webp"], output)
    assert single.target == output / "c"


def test_the_output_is_no_photograph_however_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [it.path for it in find_photographs([folder], folder / "out")]
    monkeypatch.chdir(folder / "town")
    assert [it.path for it in find_photographs([folder], Path("../out"))] == expected
    for same in (folder, Path(".."), folder / "town" / ".."):
        with pytest.raises(UserError, match=r"--output .*name another folder"):
            find_photographs([folder], same)


def test_a_link_in_a_circle_is_not_followed(folder: Path) -> None:
    expected = [it.path for it in find_photographs([folder], folder / "out")]
    ids = list_files(folder, IMAGE_SUFFIXES)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "back").symlink_to(folder)
    (elsewhere / "e.png").touch()
    (folder / "town" / "loop").symlink_to(folder)
    (folder / "z").symlink_to(elsewhere)  # followed, but not back from there
    assert [it.path for it in find_photographs([folder], folder / "out")] == [*expected, folder / "z" / "e.png"]
    assert list_files(folder, IMAGE_SUFFIXES) == {**ids, "z/e": folder / "z" / "e.png"}


def test_images_that_cannot_be_told_apart_are_refused(folder: Path) -> None:
    (folder / "b.jpg").touch()
    with pytest.raises(UserError, match=r"b\.jpg and .*b\.png would both be written to"):
        find_photographs([folder], folder / "out")
    same = find_photographs([folder / "b.png", folder / "b.png"], folder / "out")
    assert len(same) == 1
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        find_photographs([folder / "empty"], folder / "out")
    with pytest.raises(UserError, match="no such image"):
        find_photographs([folder / "absent.png"], folder / "out")


def test_large_images_are_seen_by_windows() -> None:
    views = EvaluationConfig(flip=True)
    assert views_for(2048, 2048, views) == views
    assert views_for(2049, 2048, views) == EvaluationConfig(flip=True, window=1024)
    assert views_for(2048, 1500, EvaluationConfig(scales=(0.5, 1.5))).window == 1024
    assert views_for(9000, 9000, EvaluationConfig(window=512)).window == 512
