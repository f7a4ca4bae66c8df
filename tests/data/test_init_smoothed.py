"""Masks that were smoothed or saved with loss are refused; those with many or rare classes are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from plain_folder import picture
from voc_folder import refused

from u2pl_ray.data.init.coding import coding_of
from u2pl_ray.data.init.first_config import first_config
from u2pl_ray.data.init.smoothed import between
from u2pl_ray.data.init.survey import Survey, survey

SIDE = 96


def regions(seed: int, codes: list[Any]) -> np.ndarray:
    """A mask of 30 curved regions and three thin lines: uint8 [SIDE, SIDE], of colours [SIDE, SIDE, 3]."""
    rng, table = np.random.default_rng(seed), np.asarray(codes, np.uint8)
    places = np.moveaxis(np.mgrid[:SIDE, :SIDE], 0, 2)[:, :, None]
    centres, sizes = rng.integers(0, SIDE, (30, 2)), rng.random(30) * 500
    shown = rng.integers(0, len(table), 30)[(((places - centres) ** 2).sum(-1) - sizes).argmin(-1)].astype(np.int32)
    for _ in range(3):
        start, end = rng.integers(0, SIDE, (2, 2)).tolist()
        cv2.line(shown, start, end, int(rng.integers(0, len(table))), 1)
    return table[shown]


def circle(seed: int, top: int = 255) -> np.ndarray:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(drawn, (48, 48), 20 + seed, top, -1)
    return drawn


def jpeg(values: np.ndarray, quality: int) -> np.ndarray:
    done, stored = cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_UNCHANGED))


def resized(values: np.ndarray, side: int, how: int) -> np.ndarray:
    return cv2.resize(values, (side, side), interpolation=how)


def found(folder: Path, masks: list[np.ndarray]) -> Survey:
    for number, values in enumerate(masks):
        Image.fromarray(values).save(folder / f"{number}.png")
    return survey([(path, path) for path in sorted(folder.glob("*.png"))])


CAMVID = [*range(11), 255]
HEX = [[0, 0, 0], [128, 64, 128], [0, 0, 142], [250, 170, 30], [70, 130, 180], [220, 20, 60]]


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: cv2.GaussianBlur(circle(seed), (0, 0), 1),
        lambda seed: cv2.GaussianBlur(circle(seed), (0, 0), 12),  # more of it smooth than not
        lambda seed: resized(circle(seed), 48, cv2.INTER_AREA),  # 64, 128 and 191 are all that is new
        lambda seed: resized(circle(seed), 60, cv2.INTER_LINEAR),
        lambda seed: resized(circle(seed), 150, cv2.INTER_CUBIC),
        lambda seed: resized(circle(seed, 15), 60, cv2.INTER_LINEAR),  # PASCAL VOC's person, and nothing else
        lambda seed: jpeg(circle(seed), 60),
        lambda seed: jpeg(circle(seed), 95),
        lambda seed: resized(regions(seed, CAMVID), 60, cv2.INTER_LINEAR),
        lambda seed: jpeg(regions(seed, [0, 60, 120, 180, 240]), 90),
        lambda seed: jpeg(regions(seed, list(range(151))), 75),
        lambda seed: resized(regions(seed, list(range(151))), 70, cv2.INTER_LINEAR),
        lambda seed: resized(np.dstack([circle(seed)] * 3), 60, cv2.INTER_LINEAR),  # grey in three channels
        lambda seed: jpeg(np.dstack([circle(seed)] * 3), 95),
        lambda seed: resized(regions(seed, HEX[:3]), 48, cv2.INTER_AREA),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, make: Callable[[int], np.ndarray]) -> None:
    with refused(str(tmp_path), "smoothed or saved with loss", "nearest neighbour"):
        found(tmp_path, [make(seed) for seed in range(6)])


def with_specks(values: np.ndarray, code: int) -> np.ndarray:
    values[40, 40:43] = code
    return values


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (lambda seed: regions(seed, list(range(151))), 100),  # ADE20K
        (lambda seed: regions(seed, [*range(0, 182, 2), 255]), 80),  # as COCO-Stuff's, with gaps
        (lambda seed: regions(seed, list(range(34))), 34),  # Cityscapes' ids
        (lambda seed: regions(seed, list(range(8))), 8),  # LoveDA
        (lambda seed: regions(seed, CAMVID), 12),
        (lambda seed: regions(seed, [0, 60, 120, 180, 240]), 5),
        (lambda seed: regions(seed, HEX), 6),
        (lambda seed: resized(regions(seed, list(range(34))), 30, cv2.INTER_NEAREST), 34),
        (lambda seed: with_specks(circle(seed, 2), 1), 3),  # a class of three pixels
        (lambda seed: with_specks(with_specks(circle(seed, 9), 4), 7), 3),
        (lambda seed: cv2.line(circle(seed, 2), (0, 9 + seed), (95, 60), 1, 1), 3),  # a line across the border
        (lambda seed: np.random.default_rng(seed).integers(0, 9, (SIDE, SIDE)).astype(np.uint8), 9),  # noise
    ],
)
def test_accepted(tmp_path: Path, make: Callable[[int], np.ndarray], least: int) -> None:
    masks = [make(seed) for seed in range(8)]
    seen = found(tmp_path, masks)
    assert len(seen.pixels) >= least
    assert seen.sizes.total() == 8
    assert sum(seen.pixels.values()) == sum(values.shape[0] * values.shape[1] for values in masks)


def test_more_classes_than_a_byte_holds(tmp_path: Path) -> None:
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(tmp_path / "a.png")
    with refused(str(tmp_path), "400 different values", "at most 255"):
        survey([(tmp_path / "a.png", tmp_path / "a.png")])
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16).repeat(3, 0).repeat(3, 1) * 2).save(
        tmp_path / "a.png"
    )
    with refused("256 classes", "at most 255", "--ignore"):
        coding_of(survey([(tmp_path / "a.png", tmp_path / "a.png")]), None)


def test_between() -> None:
    row = np.array([[0, 0, 3, 5, 5, 0, 2, 2, 0]])
    assert between(row.repeat(3, 0))[1].tolist() == [column == 2 for column in range(9)]
    assert between(np.dstack([row, row, 0 * row])).tolist() == between(row).tolist()


def test_init_says_it_in_one_line(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "images" / f"{number}.png", number)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(cv2.GaussianBlur(circle(number), (0, 0), 2)).save(tmp_path / "masks" / f"{number}.png")
    with refused(str(tmp_path / "masks"), "smoothed"):
        first_config(tmp_path, None, tmp_path / "mine.yaml")
