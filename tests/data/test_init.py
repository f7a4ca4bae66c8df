"""`u2pl-ray init` on folders as people have them: what it writes loads, passes the check, and trains."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from plain_folder import SIDE, TINY, label, mask, picture, read_one_batch, train_two_steps, use, written
from voc_folder import refused

from u2pl_ray.cli import main
from u2pl_ray.config.overrides import load
from u2pl_ray.config.schema import Config
from u2pl_ray.data.check import check
from u2pl_ray.data.init.first_config import first_config
from u2pl_ray.data.voc import open_split, read_item
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid_240"


def snapshot(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def sizes(config: Config) -> dict[str, int]:
    splits = ("labeled", "unlabeled", "val", "test")
    data = config.data
    return {name: len(open_split(data, name, name != "unlabeled")) for name in splits if getattr(data, name)}


def test_folder_pair_with_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colors = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 255], [250, 170, 30]], np.uint8)
    for number in range(30):
        picture(tmp_path / "set" / "photos" / f"town{number % 6}" / f"IMG {number:03}.JPG", number)
        if number < 12:
            path = tmp_path / "set" / "masks" / f"town{number % 6}" / f"img {number:03}_mask.PNG"
            mask(path, colors[label(number, 4)])
    before = snapshot(tmp_path / "set")
    config = written(tmp_path, str(tmp_path / "set" / "photos"), used=True)
    assert snapshot(tmp_path / "set") == before
    # two of six scenes are evaluated: their unlabeled images, three each, are left out
    assert sizes(config) == {"labeled": 8, "unlabeled": 12, "val": 2, "test": 2}
    towns = {name: {Path(item.id).parent for item in open_split(config.data, name, name != "unlabeled")}
             for name in ("labeled", "unlabeled", "val", "test")}  # fmt: skip
    assert not (towns["labeled"] | towns["unlabeled"]) & (towns["val"] | towns["test"])
    assert config.data.colors == ((0, 0, 0), (0, 0, 255), (128, 64, 128), (250, 170, 30))
    assert config.data.classes == ("black", "blue", "color_804080", "color_faaa1e")
    item = open_split(config.data, "val")[0]
    assert item.label is not None
    sheet = tmp_path / "sheet.png"
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", str(tmp_path / "out" / "mine.yaml"), "--sheet", str(sheet)])
    assert ended.value.code == 0
    drawn = {tuple(pixel) for pixel in np.asarray(Image.open(sheet)).reshape(-1, 3).tolist()}
    assert {(192, 192, 192), (0, 0, 255), (128, 64, 128), (250, 170, 30)} <= drawn, "the legend's colours"
    decoded = np.array(config.data.colors, np.uint8)[read_item(item, 4, config.data)[1]]
    assert np.array_equal(decoded, np.asarray(Image.open(item.label)))
    said = capsys.readouterr().out
    for words in (
        "30 images, 12 with masks",
        "--ignore 0,0,0",
        "next: u2pl-ray data check",
        "every class stays",
        "6 unlabeled images are of scenes in val or test",
    ):
        assert words in said


def test_binary_masks_beside_their_images(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / "set" / f"{number}.png", number)
        if number < 6:
            value = np.zeros((SIDE, SIDE), np.uint8)
            value[:6, : 8 * (1 + number % 3)] = 255
            mask(tmp_path / "set" / f"{number}_mask.png", value)
    config = written(tmp_path, str(tmp_path / "set"), used=True)
    assert config.data.label_map == {255: 1}
    assert config.data.classes == ("background", "foreground")
    assert sizes(config) == {"labeled": 5, "unlabeled": 4, "val": 1}
    assert config.method.supervised_loss == "ohem"
    assert (config.data.rare_crops, config.data.rare_classes) == (0.0, ())  # a crop shows the whole image
    ranks = config.method.contrastive
    assert (ranks.low_rank, ranks.high_rank) == (1, 2)


@pytest.mark.parametrize("kind", ["labelTrainIds", "labelIds"])
def test_cityscapes_tree(tmp_path: Path, kind: str) -> None:
    root, ids = tmp_path / "cityscapes", np.array([7, 8, 11, 26, 4], np.uint8)
    trains = np.array([0, 1, 2, 13, 255], np.uint8)
    for part, count in (("train", 4), ("val", 2), ("test", 2), ("train_extra", 5)):
        for number in range(count):
            stem = f"aachen_{number:06}_000019"
            seed = 10 * len(part) + number
            picture(root / "leftImg8bit" / part / "aachen" / f"{stem}_leftImg8bit.png", seed)
            if part != "train_extra":
                found = label(seed, 5) if part != "test" else np.full((SIDE, SIDE), 4)
                table = trains if kind == "labelTrainIds" else ids
                mask(root / "gtFine" / part / "aachen" / f"{stem}_gtFine_{kind}.png", table[found])
                mask(
                    root / "gtFine" / part / "aachen" / f"{stem}_gtFine_color.png", np.zeros((SIDE, SIDE, 3), np.uint8)
                )
    out = tmp_path / "out" / "mine.yaml"
    first = first_config(root, None, out)
    assert {name: len(lines) for name, lines in first.lists.items()} == {"labeled": 4, "unlabeled": 5, "val": 2}
    with pytest.raises(SystemExit) as ended:
        main(["init", str(root), "--out", str(out)])
    assert ended.value.code == 0
    config = load(str(out), [])
    assert (config.data.classes[13], config.data.colors[13]) == ("car", (0, 0, 142))
    assert len(config.data.classes) == 19
    pixels = Counter(dict(enumerate(check(config).splits[0].pixels)))
    assert {index for index, count in pixels.items() if count} == {0, 1, 2, 13}
    if kind == "labelTrainIds":
        use(tmp_path, train_two_steps(out))
    else:
        read_one_batch(out)


def voc(root: Path, masks: int) -> None:
    for number in range(16):
        picture(root / "JPEGImages" / f"2007_{number:06}.jpg", number)
        if number < masks:
            indexed = Image.fromarray(label(number, 3), mode="P")
            indexed.putpalette([10, 20, 30, 128, 0, 0, 0, 128, 0])
            (root / "SegmentationClass").mkdir(exist_ok=True)
            indexed.save(root / "SegmentationClass" / f"2007_{number:06}.png")
            picture(root / "SegmentationObject" / f"2007_{number:06}.png", number)


def test_voc_tree_and_its_lists(tmp_path: Path) -> None:
    voc(tmp_path / "VOC", 10)
    (tmp_path / "VOC" / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, rows in (("train", range(6)), ("val", range(6, 10))):
        lines = "".join(f"2007_{number:06}\n" for number in rows)
        (tmp_path / "VOC" / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(lines)
    (tmp_path / "VOC" / "classes.txt").write_text("background\nplane\nboat\n")
    config = written(tmp_path, str(tmp_path / "VOC"), trains=False)
    assert sizes(config) == {"labeled": 6, "unlabeled": 6, "val": 4}
    assert config.data.classes == ("background", "plane", "boat")
    assert config.data.colors == ((10, 20, 30), (128, 0, 0), (0, 128, 0))
    assert config.data.label_coding == "index"


@pytest.mark.parametrize("slash", ["", "/"])
def test_lists_of_image_and_mask(tmp_path: Path, slash: str) -> None:
    """UniMatch's, and DeepLab's with a slash before each path."""
    voc(tmp_path / "VOC", 12)
    files = {}
    for name, rows in (("labeled", range(4)), ("unlabeled", range(4, 10)), ("val", range(10, 12))):
        pair = slash + "JPEGImages/2007_{0:06}.jpg " + slash + "SegmentationClass/2007_{0:06}.png\n"
        files[name] = tmp_path / f"{name}.txt"
        files[name].write_text("".join(pair.format(number) for number in rows))
    lists = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    config = written(tmp_path, str(tmp_path / "VOC"), *lists, trains=False)
    assert sizes(config) == {"labeled": 4, "unlabeled": 6, "val": 2}


def test_all_images_have_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        picture(tmp_path / "set" / "images" / f"{number}.png", number)
        mask(tmp_path / "set" / "labels" / f"{number}.png", label(number, 3) + 1)
    config = written(tmp_path, str(tmp_path / "set"))
    assert config.method.name == "supervised"
    assert config.data.reduce_zero_label
    told = capsys.readouterr().out
    assert "nothing unlabeled" in told
    assert "with 8 labeled images each" in told
    for word in ("8 unlabeled", "warm-up", "rank window", "memory bank"):  # it trains without them
        assert word not in told


@pytest.mark.parametrize("classes", [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 5))])
def test_contrastive_loss_lives_with_few_classes(tmp_path: Path, classes: int) -> None:
    for number in range(12):
        picture(tmp_path / "set" / "images" / f"{number}.png", number)
        if number < 8:
            mask(tmp_path / "set" / "masks" / f"{number}.png", label(number, classes))
    out = tmp_path / "mine.yaml"
    with pytest.raises(SystemExit):
        main(["init", str(tmp_path / "set"), "--out", str(out)])
    reports: list[dict[str, float]] = []
    longer = [*TINY, "train.steps_per_epoch=4", "train.epochs=3", "method.contrastive.anchor_threshold=0"]
    Worker(load(str(out), longer), LocalSession(on_report=reports.append), torch.device("cpu")).run()
    assert reports[-1]["train/loss/contrastive"] > 0.1


def test_camvid_as_a_plain_folder_pair(tmp_path: Path) -> None:
    if not CAMVID.is_dir():
        pytest.skip("camvid_240 is not here")
    rng = np.random.default_rng(0)
    names = sorted(path.stem for path in (CAMVID / "JPEGImages").iterdir())
    chosen = [names[row] for row in sorted(rng.choice(len(names), 200, replace=False).tolist())]
    colors = rng.permutation(2**24)[:256]
    table = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for name in chosen:
        source = next((CAMVID / "JPEGImages").glob(f"{name}.*"))
        os.symlink(source, tmp_path / "photos" / source.name)
    for name in rng.permutation(chosen)[:60].tolist():
        values = np.asarray(Image.open(CAMVID / "SegmentationClass" / f"{name}.png"))
        Image.fromarray(table[values]).save(tmp_path / "masks" / f"{name}.png")
    names = json.loads((CAMVID / "classes.json").read_text())
    rows = [f"{red} {green} {blue} {name}" for (red, green, blue), name in zip(table.tolist(), names, strict=False)]
    (tmp_path / "label_colors.txt").write_text("\n".join(rows))
    config = written(tmp_path, str(tmp_path / "photos"), trains=False)
    # nine of the 140 photographs without a mask are near-duplicates of val or test images
    assert sizes(config) == {"labeled": 36, "unlabeled": 131, "val": 12, "test": 12}
    assert list(config.data.classes) == names
    item = open_split(config.data, "labeled")[0]
    truth = np.asarray(Image.open(CAMVID / "SegmentationClass" / f"{Path(item.id).name}.png"))
    assert np.array_equal(read_item(item, len(names), config.data)[1], truth)


def test_what_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        picture(tmp_path / "set" / "images" / f"{number}.png", number)
        mask(tmp_path / "set" / "masks" / f"{number}.png", label(number, 3))
    out = tmp_path / "mine.yaml"
    out.write_text("seed: 7\n")
    for force, code in ((), 2), (("--force",), 0):
        with pytest.raises(SystemExit) as ended:
            main(["init", str(tmp_path / "set"), "--out", str(out), *force])
        assert ended.value.code == code
        assert (yaml.safe_load(out.read_text()) == {"seed": 7}) == (code == 2)
    assert "--force" in capsys.readouterr().err


def test_masks_that_cannot_be_understood(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "a" / "images" / f"{number}.png", number)
        picture(tmp_path / "a" / "masks" / f"{number}.png", number)  # thousands of colours
        picture(tmp_path / "b" / "images" / f"{number}.png", number)
        mask(tmp_path / "b" / "masks" / f"other{number}.png", label(number, 3))
        mask(tmp_path / "c" / "masks" / f"{number}.jpg", label(number, 3))
        picture(tmp_path / "c" / "images" / f"{number}.png", number)
        picture(tmp_path / "d" / f"{number}.png", number)
    out = tmp_path / "mine.yaml"
    for folder, words in (
        ("a", ("different colours", "PNG")),
        ("b", ("none of 4 masks", "other0.png")),
        ("c", ("0.jpg", "lose the exact classes")),
        ("d", ("no image has a mask", "--masks")),
    ):
        with refused(*words):
            first_config(tmp_path / folder, None, out)
    with refused("--classes names 2 classes", "hold 3"):
        mask(tmp_path / "b" / "masks" / "0.png", label(0, 3))
        first_config(tmp_path / "b", None, out, classes=["x", "y"])
