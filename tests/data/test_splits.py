from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import Folder, refused

from u2pl_ray.data.lists import read_list
from u2pl_ray.data.splits import make_splits, presence, unlisted
from u2pl_ray.data.voc import open_training_splits

SOURCE = "train.txt"


@pytest.fixture
def train(folder: Folder) -> list[str]:
    """40 training images; classes 1 and 2 are in two of them each, never together."""
    ids = [f"x{i:02d}" for i in range(40)]
    for number, name in enumerate(ids):
        folder.write(name, 8, 8)
        label = np.zeros((8, 8), np.uint8)
        label[4:] = {5: 1, 33: 1, 11: 2, 21: 2}.get(number, 255)
        Image.fromarray(label).save(folder.label(name))
    folder.split(SOURCE, ids)
    return ids


def labeled(folder: Path) -> set[str]:
    return set(read_list(folder / "labeled.txt"))


def test_files(folder: Folder, train: list[str]) -> None:
    folders = make_splits(folder.config().data, ["1/8", "20", "0.1"], source=SOURCE)
    assert [path.relative_to(folder.root).as_posix() for path in folders] == ["splits/1_8", "splits/20", "splits/1_10"]
    for path, count in zip(folders, (5, 20, 4), strict=True):
        first, second = read_list(path / "labeled.txt"), read_list(path / "unlabeled.txt")
        assert len(first) == count
        assert sorted((*first, *second)) == train
        assert list(first) == sorted(first), "in the order of the training list"


def test_they_are_nested(folder: Folder, train: list[str]) -> None:
    small, middle, large = make_splits(folder.config().data, ["3", "8", "20"], source=SOURCE)
    assert labeled(small) < labeled(middle) < labeled(large)


@pytest.mark.parametrize("seed", range(5))
def test_they_show_every_class(folder: Folder, train: list[str], seed: int) -> None:
    (path,) = make_splits(folder.config().data, ["2"], seed, SOURCE)
    assert labeled(path) & {"x05", "x33"}
    assert labeled(path) & {"x11", "x21"}


def test_the_seed_decides(folder: Folder, train: list[str], tmp_path: Path) -> None:
    def split(seed: int, name: str) -> set[str]:
        return labeled(make_splits(folder.config().data, ["10"], seed, SOURCE, str(tmp_path / name))[0])

    assert split(0, "a") == split(0, "b") != split(1, "c")


def test_nothing_is_overwritten(folder: Folder, train: list[str]) -> None:
    make_splits(folder.config().data, ["1/8"], source=SOURCE)
    before = sorted(folder.root.rglob("*.txt"))
    with refused("splits/1_8/labeled.txt", "exists already"):
        make_splits(folder.config().data, ["1/4", "1/8"], source=SOURCE)
    assert sorted(folder.root.rglob("*.txt")) == before


def test_what_was_made_can_be_trained_on(folder: Folder, train: list[str]) -> None:
    from u2pl_ray.data.voc import open_training_splits

    make_splits(folder.config().data, ["1/8"], source=SOURCE)
    data = folder.config(labeled="splits/1_8/labeled.txt", unlabeled="splits/1_8/unlabeled.txt").data
    assert [len(items) for items in open_training_splits(data)] == [5, 35]


@pytest.mark.parametrize("size", ["", "much", "1/0", "-3", "0", "1.5", "0.001", "40", "400", "1/1", "nan", "inf"])
def test_bad_sizes(folder: Folder, train: list[str], size: str) -> None:
    with refused(f"split size {size!r}"):
        make_splits(folder.config().data, [size], source=SOURCE)
    assert not (folder.root / "splits").exists()


def test_one_size_twice(folder: Folder, train: list[str]) -> None:
    with refused("1/8, 0.125", "the same split"):
        make_splits(folder.config().data, ["1/8", "0.125"], source=SOURCE)


def test_missing_list_label_and_value(folder: Folder, train: list[str]) -> None:
    with refused("ImageSets/Segmentation/train.txt", "missing"):
        make_splits(folder.config().data, ["1/8"])
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(folder.label("x03"))
    with refused(str(folder.label("x03")), "label value 77"):
        make_splits(folder.config().data, ["1/8"], source=SOURCE)


def test_images_without_a_mask_are_unlabeled(folder: Folder, train: list[str]) -> None:
    for name in train[10:]:
        folder.label(name).unlink()
    data = folder.config().data
    for path, count in zip(make_splits(data, ["1/2", "10"], source=SOURCE), (5, 10), strict=True):
        assert len(labeled(path)) == count
        assert labeled(path) <= set(train[:10])
        assert sorted((*labeled(path), *read_list(path / "unlabeled.txt"))) == train
    with refused("split size '11'", "between 1 and 10 fit"):
        make_splits(data, ["11"], source=SOURCE)
    for name in train[:10]:
        folder.label(name).unlink()
    with refused(SOURCE, "none of its 40 images has a mask"):
        make_splits(data, ["1/4"], source=SOURCE)


def test_images_in_no_list_are_counted(folder: Folder, train: list[str]) -> None:
    folder.split("val.txt", ["v0"])
    everything = {path.stem for path in (folder.root / "JPEGImages").iterdir()}
    assert unlisted(folder.config().data, SOURCE) == len(everything - {*train, "v0"}) > 0


def test_a_folder_that_cannot_be_written(folder: Folder, train: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused(str(tmp_path / "file"), "can't be written"):
        make_splits(folder.config().data, ["1/8"], source=SOURCE, out=str(tmp_path / "file"))


def test_camvid(camvid: Path, tmp_path: Path) -> None:
    from u2pl_ray.config.schema import DataConfig

    (path,) = make_splits(DataConfig(root=str(camvid)), ["1/16"], out=str(tmp_path))
    assert len(labeled(path)) == 23


def test_a_share_of_the_labels_is_nested_and_shows_every_class(folder: Folder, train: list[str]) -> None:
    make_splits(folder.config().data, ["8"], source="train.txt")
    config = folder.config(labeled="splits/8/labeled.txt", unlabeled="splits/8/unlabeled.txt")
    parts = []
    for share in (0.25, 0.5, 1.0):
        data = config.data.model_copy(update={"labeled_share": share})
        labeled, unlabeled = open_training_splits(data)
        assert len(labeled) == 8 * share
        assert len(unlabeled) == len(train) - 8
        parts.append([item.id for item in labeled])
    assert set(parts[0]) < set(parts[1]) < set(parts[2])
    assert parts[1] == [name for name in parts[2] if name in parts[1]]  # in the list's order
    half = config.data.model_copy(update={"labeled_share": 0.5})
    assert presence(half, open_training_splits(half)[0]).any(0).all()
