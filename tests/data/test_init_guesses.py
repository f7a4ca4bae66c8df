"""What `init` guesses: the coding of masks, class names, scenes, and who is drawn for evaluation."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.data.init.coding import coding_of
from u2pl_ray.data.init.draw import draw
from u2pl_ray.data.init.names import Code, Names, find_names
from u2pl_ray.data.init.proposal import Seen, propose
from u2pl_ray.data.init.scenes import group
from u2pl_ray.data.init.survey import Survey, survey
from u2pl_ray.data.voc import read_label

BLACK, RED, BLUE = (0, 0, 0), (255, 0, 0), (0, 0, 255)
SKY = ("sky", "sea")
THREE = Names(("a", "b", "c"), (), "classes.txt")


def seen(*codes: Code) -> Survey:
    color = any(isinstance(code, tuple) for code in codes)
    return Survey(color, dict.fromkeys(codes, 10), (frozenset(codes),), {}, Counter())


@pytest.mark.parametrize(
    ("codes", "names", "ignore", "expected", "settings"),
    [
        ((0, 1, 2), None, None, (0, 1, 2), {}),
        ((0, 1, 255), None, None, (0, 1, 255), {}),
        ((0, 255), None, None, (0, 1), {"label_map": {255: 1}}),
        ((0, 128, 255), THREE, None, (0, 1, 2), {"label_map": {128: 1, 255: 2}}),
        ((0, 50, 100, 255), None, None, (0, 1, 2, 255), {"label_map": {50: 1, 100: 2}}),
        ((1, 2, 3), None, None, (0, 1, 2), {"reduce_zero_label": True}),
        ((0, 1, 2), None, 0, (255, 0, 1), {"ignore_value": 0, "reduce_zero_label": True}),
        ((0, 1, 2, 200), None, None, (0, 1, 2, 255), {"ignore_value": 200}),
        ((0, 2), THREE, None, (0, 2), {}),
        ((5, 9), Names(("x", "y"), (5, 9), "classes.json"), None, (0, 1), {"label_map": {5: 0, 9: 1}}),
    ],
)
def test_values(
    tmp_path: Path,
    codes: tuple[int, ...],
    names: Names | None,
    ignore: int | None,
    expected: tuple[int, ...],
    settings: dict[str, object],
) -> None:
    coding = coding_of(seen(*codes), names, ignore=ignore)
    assert coding.settings == settings
    assert tuple(coding.labels[code] for code in codes) == expected
    # and the reader does the same with these settings
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([codes], np.uint8)).save(path)
    data = DataConfig.model_validate(coding.settings)
    assert tuple(read_label(path, len(coding.classes), data)[0].tolist()) == expected


@pytest.mark.parametrize(
    ("names", "ignore", "classes", "colors", "ignored"),
    [
        (None, None, ("black", "blue", "red"), [BLACK, BLUE, RED], []),
        (None, BLACK, ("blue", "red"), [BLUE, RED], [BLACK]),
        (Names(("sea", "roof"), (), "names.txt"), None, ("sea", "roof"), [BLUE, RED], [BLACK]),
        (Names(("roof", "sea"), (RED, BLUE), "class_dict.csv"), None, ("roof", "sea"), [RED, BLUE], [BLACK]),
        (Names(("void", "r", "s"), (BLACK, RED, BLUE), "x.csv"), None, ("r", "s"), [RED, BLUE], [BLACK]),
    ],
)
def test_colors(
    names: Names | None, ignore: Code | None, classes: tuple[str, ...], colors: list[Code], ignored: list[Code]
) -> None:
    coding = coding_of(seen(BLACK, BLUE, RED), names, ignore=ignore)
    assert coding.classes == classes
    assert [tuple(color) for color in coding.settings["colors"]] == colors
    assert [tuple(color) for color in coding.settings.get("ignore_colors", [])] == ignored


def test_palettes_that_differ_are_read_by_colour(tmp_path: Path) -> None:
    for number, palette in enumerate(([*RED, *BLUE], [*BLUE, *RED])):
        indexed = Image.fromarray(np.array([[0, 1]], np.uint8).repeat(4, 0), mode="P")
        indexed.putpalette(palette)
        indexed.save(tmp_path / f"{number}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    found = survey([(path, path) for path in paths])
    assert found.color
    assert found.pixels == {RED: 8, BLUE: 8}
    alone = survey([(paths[0], paths[0])])
    assert not alone.color
    assert alone.palette == {0: RED, 1: BLUE}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("classes.json", '["a", "b"]', Names(("a", "b"), (), "classes.json")),
        ("classes.json", '{"b": 7, "a": 3}', Names(("a", "b"), (3, 7), "classes.json")),
        ("class_dict.csv", "name,r,g,b\nsky,255,0,0\nsea,0,0,255\n", Names(SKY, (RED, BLUE), "class_dict.csv")),
        ("label_colors.txt", "255 0 0\tsky\n0 0 255\tsea\n", Names(SKY, (RED, BLUE), "label_colors.txt")),
        ("labelmap.txt", "# label\nsky:255,0,0::\nsea:0,0,255::\n", Names(SKY, (RED, BLUE), "labelmap.txt")),
        ("classes.txt", "0: sky\n1: open sea\n", Names(("sky", "open sea"), (), "classes.txt")),
    ],
)  # fmt: skip
def test_files_of_names(tmp_path: Path, name: str, text: str, expected: Names) -> None:
    (tmp_path / name).write_text(text)
    assert find_names([tmp_path]) == (expected, [])


def photos(folder: Path, names: list[str], alike: dict[str, str] | None = None) -> list[Path]:
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC).save(folder / name)
    for copy, original in (alike or {}).items():
        Image.open(folder / original).resize((80, 80)).save(folder / copy)
    return [folder / name for name in names]


def test_scenes_by_name_and_near_duplicates(tmp_path: Path) -> None:
    names = [f"street{scene}_{frame:04}.png" for scene in "abcdef" for frame in range(3)]
    groups = group(photos(tmp_path, names)).of.tolist()
    assert groups == [number // 3 for number in range(18)]
    joined = group(photos(tmp_path, names, {names[0]: names[17]})).of.tolist()
    assert joined[:3] == joined[15:] == [joined[0]] * 3
    assert len(set(joined)) == 5


def test_one_long_scene_is_cut_into_runs(tmp_path: Path) -> None:
    groups = group(photos(tmp_path, [f"IMG_{number:04}.png" for number in range(60)])).of.tolist()
    assert groups == [number // 3 for number in range(60)]


@given(st.integers(2, 40), st.integers(2, 6), st.integers(1, 12), st.integers(0, 5))
def test_draw_keeps_every_class_in_training_and_groups_whole(images: int, classes: int, groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    presence, of = rng.random((images, classes)) < 0.4, rng.integers(0, groups, images)
    drawn = draw(presence, of, seed)
    assert sorted((*drawn.train, *drawn.val, *drawn.test)) == list(range(images))
    assert drawn.train
    assert (presence[list(drawn.train)].any(axis=0) == presence.any(axis=0)).all()
    if not drawn.notes:  # else single images were drawn, and it says so
        sides = [set(of[list(rows)].tolist()) for rows in (drawn.train, drawn.val, drawn.test)]
        assert sum(map(len, sides)) == len(set().union(*sides))
    assert len(drawn.val) <= 1.5 * max(1, round(0.2 * images)) + 0.5
    assert draw(presence, of, seed) == drawn


@pytest.mark.parametrize(
    ("pixels", "side", "rare"),
    [
        ((970, 25, 5), 1000, ["dog"]),
        ((994, 4, 2), 1000, ["dog", "cat"]),
        ((994, 4, 2), 100, []),  # the crop shows nearly the whole image
        ((500, 490, 10), 1000, []),  # 1 % is not rare
        ((950, 50), 1000, ["cat"]),  # of two classes, 10 % is rare
        ((1000, 0, 0), 1000, []),
    ],
)
def test_rare_classes_get_ohem_and_crops(pixels: tuple[int, ...], side: int, rare: list[str]) -> None:
    seen = Seen(("ground", "cat", "dog")[: len(pixels)], np.array(pixels), Counter({(side, side): 3}), 5)
    tree, why = propose(seen)
    config = Config.model_validate(tree)
    assert list(config.data.rare_classes) == rare
    assert config.data.rare_crops == (0.33 if rare else 0.0)
    assert (config.method.supervised_loss == "ohem") == any("OHEM" in line for line in why)
    assert (config.method.supervised_loss == "ohem") >= bool(rare)
    assert any("rare_crops 0.33" in line and "switches it off" in line for line in why) == bool(rare)
