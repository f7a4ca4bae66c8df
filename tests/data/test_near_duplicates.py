"""Images that show nearly the same stay on one side: in what `init` draws, and by a word of `data check`."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from voc_folder import Folder

from u2pl_ray.data import near_duplicates
from u2pl_ray.data.check import check
from u2pl_ray.data.init.apart import set_apart
from u2pl_ray.data.init.parts import Parts
from u2pl_ray.data.init.scenes import scene_of


def photo(path: Path, seed: int, brighter: int = 0, size: int = 80) -> Path:
    """Smooth blotches; the same seed gives the same scene."""
    noise = np.random.default_rng(seed).integers(40, 200, (6, 6, 3)).astype(np.uint8)
    picture = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    Image.fromarray((np.asarray(picture) + brighter).astype(np.uint8)).save(path)
    return path


def test_copies_are_found_in_another_format_size_and_brightness(tmp_path: Path) -> None:
    originals = [photo(tmp_path / f"{seed}.png", seed) for seed in range(20)]
    copies = [photo(tmp_path / f"{seed}.jpg", seed, brighter=20, size=50) for seed in (3, 7)]
    copies.append(photo(tmp_path / "other.jpg", 99))
    found = near_duplicates.first_close(near_duplicates.hashes(copies), near_duplicates.hashes(originals))
    assert found == {0: 3, 1: 7}
    assert near_duplicates.pairs([*originals, *copies]) == [(3, 20), (7, 21)]


def test_hashes_of_deep_images_with_many_channels(tmp_path: Path) -> None:
    eight = tmp_path / "a.png"
    Image.open(photo(eight, 1)).convert("L").save(eight)
    values = np.asarray(Image.open(eight))
    five = np.repeat(values.astype(np.uint16)[None] * 16, 5, axis=0)
    tifffile.imwrite(tmp_path / "b.tif", five, photometric="minisblack")
    Image.fromarray(values.astype(np.uint16) * 256).save(tmp_path / "c.png")
    assert near_duplicates.pairs([eight, tmp_path / "b.tif", tmp_path / "c.png"]) == [(0, 1), (0, 2), (1, 2)]


def test_the_distance_is_that_of_the_bits() -> None:
    rng = np.random.default_rng(0)
    first = rng.random((300, 256)) < 0.5
    second = first[:40].copy()
    for row in range(40):  # row 20 differs in 20 bits, row 21 in 21
        second[row, rng.choice(256, row, replace=False)] ^= True
    assert near_duplicates.first_close(second, first) == {row: row for row in range(21)}


def parts(folder: Path, val_seed: int = 0) -> Parts:
    pair = [(photo(folder / f"town{n}_{n}.png", 10 + n), Path("mask")) for n in range(2)]
    held = (photo(folder / "sea_1.png", val_seed), Path("mask"))
    unlabeled = [photo(folder / f"town0_{n}.png", 20 + n) for n in range(5)]
    unlabeled += [photo(folder / "copy.png", val_seed, brighter=9), photo(folder / "sea_2.png", 40)]
    return Parts(tuple(pair), tuple(unlabeled), (held,), None, ())


@pytest.mark.parametrize(
    ("scenes", "given", "left", "words"),
    [
        (False, False, {"copy.png"}, "1 unlabeled images are near-duplicates of val or test images (such as copy.png"),
        (True, False, {"copy.png", "sea_2.png"}, "1 unlabeled images are of scenes in val or test: not used"),
        (True, True, set(), "they stay, as the list is yours"),
    ],
)
def test_unlabeled_images_are_kept_apart(tmp_path: Path, scenes: bool, given: bool, left: set[str], words: str) -> None:
    before = parts(tmp_path)
    after, notes = set_apart(before, scenes, given)
    assert {path.name for path in set(before.unlabeled) - set(after.unlabeled)} == left
    assert any(words in note for note in notes)
    assert (after.labeled, after.val) == (before.labeled, before.val)


def test_a_set_that_looks_alike_keeps_its_unlabeled_images(tmp_path: Path) -> None:
    alike = [photo(tmp_path / f"{n}.png", 5, brighter=n) for n in range(6)]
    before = Parts(((alike[0], Path("mask")),), tuple(alike[2:]), ((alike[1], Path("mask")),), None, ())
    after, notes = set_apart(before, False, False)
    assert after == before
    assert "most of them" in notes[0]


def test_too_many_images_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Folder) -> None:
    monkeypatch.setattr(near_duplicates, "MOST", 7)
    before = parts(tmp_path)
    after, notes = set_apart(before, False, False)
    assert after == before
    assert "more than 7 images" in notes[0]
    assert any("17 images are more than 7" in line for line in check(folder.config()).warnings)


def test_data_check_names_near_duplicates(folder: Folder) -> None:
    assert not [line for line in check(folder.config()).warnings if "near-duplicates" in line]
    photo(folder.image("v1"), 3, size=40)
    photo(folder.image("u4"), 3, size=40, brighter=5)
    photo(folder.image("t0"), 4, size=40)
    photo(folder.image("l2"), 4, size=40, brighter=5)
    for name in ("v1", "u4", "t0", "l2"):
        Image.fromarray(np.random.default_rng(0).integers(0, 3, (40, 40)).astype(np.uint8)).save(folder.label(name))
    found = [line for line in check(folder.config()).warnings if "near-duplicates" in line]
    assert len(found) == 2
    assert (
        "1 of the images in data.labeled are near-duplicates of images in data.test (such as l2, like t0)" in found[0]
    )
    assert (
        "1 of the images in data.unlabeled are near-duplicates of images in data.val (such as u4, like v1)" in found[1]
    )
    assert not [line for line in check(folder.config(), full=False).warnings if "near-duplicates" in line]


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("IMG_0012.jpg", ("img_", 12)),
        ("0016E5_08370.png", ("0016e5_", 8370)),
        ("aachen_000000_000019_leftImg8bit.png", ("aachen_000000_", 19)),
        ("cat.png", ("cat", 0)),
    ],
)
def test_scenes_by_name(name: str, scene: tuple[str, int]) -> None:
    assert scene_of(Path("x") / name) == (f"x/{scene[0]}", scene[1])
