"""Data sets in a folder on a network file system: copied to the node, or read in place."""

from collections.abc import Callable
from pathlib import Path

import pytest
from staged_set import content
from voc_folder import Folder, refused

from u2pl_ray.data.registry import resolve
from u2pl_ray.data.staging import copies
from u2pl_ray.data.voc import open_split, open_training_splits, root_of


def test_a_network_file_system_is_copied_from(folder: Folder, staged: Path, nfs: Callable[[Path], None]) -> None:
    data = resolve(folder.config()).data
    assert root_of(data) == folder.root
    nfs(folder.root)
    assert resolve(folder.config()).data == data
    copy = root_of(data)
    assert copy.is_relative_to(staged)
    assert content(copy) == content(folder.root)
    assert root_of(data.model_copy(update={"stage": "never"})) == folder.root

    def items(stage: str) -> list[tuple[str, bytes]]:
        both = open_training_splits(data.model_copy(update={"stage": stage}))
        return [(item.id, item.image.read_bytes()) for split in both for item in split]

    assert items("auto") == items("never")


def test_lists_beside_the_root_are_copied_too(folder: Folder, staged: Path, nfs: Callable[[Path], None]) -> None:
    """`init` writes them beside the configuration, which may lie beside the images."""
    nfs(folder.root.parent)
    (folder.root.parent / "mine.lists").mkdir()
    (folder.root / "labeled.txt").rename(folder.root.parent / "mine.lists" / "labeled.txt")
    data = folder.config(labeled="../mine.lists/labeled.txt").data
    assert [item.id for item in open_split(data, "labeled")] == ["l0", "l1"]
    assert all(item.image.is_relative_to(staged) for item in open_split(data, "labeled"))
    assert (root_of(data) / data.labeled).is_file()


def test_without_room_a_network_file_system_is_read_in_place(
    folder: Folder, staged: Path, nfs: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    nfs(folder.root)
    monkeypatch.setattr(copies, "RESERVE", 2**60)
    said: list[str] = []
    config = resolve(folder.config(), said.append)
    assert root_of(config.data) == folder.root
    (line,) = said
    assert line.startswith(f"warning: {folder.root} is read over the network ({staged}: ")


def test_a_missing_list_is_said_as_without_a_copy(folder: Folder, staged: Path, nfs: Callable[[Path], None]) -> None:
    nfs(folder.root)
    (folder.root / "labeled.txt").unlink()
    data = resolve(folder.config()).data
    with refused(f"data.labeled: split file {folder.root}/labeled.txt is missing"):
        open_split(data, "labeled")


@pytest.mark.parametrize(("target", "reason"), [("gone.png", "No such file or"), ("l0.png", "Too many levels of")])
def test_a_folder_that_cannot_be_listed_is_read_in_place(
    folder: Folder, staged: Path, nfs: Callable[[Path], None], target: str, reason: str
) -> None:
    """`os.stat` fails, as it does with ESTALE or EIO on a file server."""
    nfs(folder.root)
    folder.image("l0").unlink()
    folder.image("l0").symlink_to(target)
    said: list[str] = []
    assert root_of(folder.config().data, said.append) == folder.root
    (line,) = said
    assert line.startswith(f"warning: {folder.root} is read over the network (data.root={folder.root}: ")
    assert f"{folder.image('l0')} cannot be read ({reason}" in line


def test_a_share_of_the_labeled_images_is_that_of_the_source(
    folder: Folder, staged: Path, nfs: Callable[[Path], None]
) -> None:
    ids = [f"l{index}" for index in range(8)]
    folder.split("labeled.txt", ids)
    for number, name in enumerate(ids):
        folder.write(name, 40, 50, seed=number)
    nfs(folder.root)

    def drawn(stage: str, **settings: object) -> list[str]:
        labeled, unlabeled = open_training_splits(resolve(folder.config(stage=stage, **settings)).data)
        assert all(item.image.is_relative_to(folder.root) == (stage == "never") for item in labeled + unlabeled)
        return [item.id for item in labeled]

    parts = set()
    for seed in range(4):
        for selection, count in (("val", 4), ("holdout", 3)):
            settings = {"labeled_share": 0.5, "holdout_seed": seed, "selection": selection}
            part = drawn("auto", **settings)
            assert part == drawn("never", **settings)
            assert len(part) == count
            parts.add(tuple(part))
    assert len(parts) > 2  # the seed decides, so equal parts say something
    assert len(list(staged.glob("*/"))) == 1  # of all labeled images; a share makes no other copy
