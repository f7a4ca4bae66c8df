"""Copies of data sets on a node: byte for byte the source, kept while they are used, on a disk that is full."""

import os
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest
from slow_source import Slow
from staged_set import FILES, arrived, content, silent, upload
from voc_folder import Folder, refused

from u2pl_ray.config.data import DataConfig
from u2pl_ray.data.staging import copies, local, transfer
from u2pl_ray.data.staging.copies import COMPLETE, node_copy
from u2pl_ray.data.staging.sources import File, FolderSource


def test_the_copy_is_the_source_byte_for_byte(origin: Folder, stored: DataConfig, staged: Path) -> None:
    source = Slow(stored)
    said: list[str] = []
    copy, _ = node_copy(source, staged, said.append)
    expected = content(origin.root)
    assert content(copy / source.root) == expected
    assert len(expected) == source.opened == FILES
    assert said == [f"copying {stored.root} to {copy}: {copies.size_of(source.files())}"]
    assert list(staged.rglob("*.partial")) == []
    lines = {f"{len(read)}\t{source.root}/{name}" for name, read in expected.items()}
    assert set((copy / COMPLETE).read_text().splitlines()) == lines

    again = Slow(stored)
    assert node_copy(again, staged, said.append)[0] == copy
    assert (again.opened, len(said)) == (0, 1)


def test_a_file_that_went_missing_is_copied_again(stored: DataConfig, staged: Path) -> None:
    """What clears up temporary folders deletes single old files."""
    copy, _ = node_copy(Slow(stored), staged, silent)
    victims = sorted(copy.rglob("*.png"))[:2]
    whole = [victim.read_bytes() for victim in victims]
    victims[0].unlink()
    victims[1].write_bytes(b"")
    source = Slow(stored)
    assert node_copy(source, staged, silent)[0] == copy
    assert source.opened == 2
    assert [victim.read_bytes() for victim in victims] == whole


def test_a_changed_source_has_another_copy(folder: Folder, bucket: str, staged: Path) -> None:
    uri = f"{bucket}/changed/set"
    upload(folder.root, uri)
    data = folder.config(root=uri).data
    old, _ = node_copy(Slow(data), staged, silent)
    before = content(old)
    folder.write("l1", 40, 50, seed=99)
    upload(folder.root, uri, "JPEGImages/l1.png", "SegmentationClass/l1.png")
    source = Slow(data)
    new, _ = node_copy(source, staged, silent)
    assert new != old
    assert content(new / source.root) == content(folder.root)
    assert content(old) == before


def test_progress_is_told_now_and_then(stored: DataConfig, staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "WORDS", 0.2)
    monkeypatch.setattr(transfer, "THREADS", 4)
    said: list[str] = []
    node_copy(Slow(stored, 0.1), staged, said.append)
    assert 2 <= len(said) <= 8
    assert all(f" of {FILES} files, 0.00 of 0.00 GB copied, " in line for line in said[1:])


def test_a_disk_that_is_too_small_is_refused_before(folder: Folder, staged: Path) -> None:
    source = FolderSource(folder.config().data)
    need = sum(file.size for file in source.files().values())
    with refused(f"{copies.RESERVE + need - 1} bytes are free", f"needs {need}", copies.VARIABLE):
        node_copy(source, staged, silent, free=lambda folder: copies.RESERVE + need - 1)
    assert arrived(staged) == []
    node_copy(source, staged, silent, free=lambda folder: copies.RESERVE + need)


def test_copies_that_nobody_uses_make_room(folder: Folder, staged: Path) -> None:
    source, made = FolderSource(folder.config().data), []
    for turn in range(3):
        folder.write("l0", 40, 50, seed=50 + turn)
        made.append(node_copy(source, staged, silent))
        os.utime(made[-1][0] / COMPLETE, (turn, turn))
    for _, lock in made[1:]:
        os.close(lock)  # the first one is in use, and the second the longest unused
    (staged / "not-ours").mkdir()
    (staged / f".half-deleted{copies.PARTIAL}").mkdir()
    folder.write("l0", 40, 50, seed=60)
    last, _ = node_copy(source, staged, silent, free=lambda disk: 0 if len(list(disk.glob("set-*/"))) > 3 else 2**60)
    left = {copy.name for copy in staged.iterdir() if copy.is_dir()}
    assert left == {made[0][0].name, made[2][0].name, last.name, "not-ours"}


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
def test_a_disk_that_fills_up_is_one_line(folder: Folder, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=36k", "none", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        source = FolderSource(folder.config().data)
        with refused(f"{disk}/set-", "its disk is full, with ", " bytes copied from /", copies.VARIABLE):
            node_copy(source, disk, silent, free=lambda folder: 2**60)
        assert list(disk.rglob(f"*{copies.PARTIAL}")) == []
        assert arrived(disk)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_changes_while_it_is_copied_is_refused(folder: Folder, staged: Path) -> None:
    class Changing(FolderSource):
        def open(self, file: File) -> BinaryIO:
            os.utime(folder.image("l0"))
            return super().open(file)

    with refused("was changed while it was copied"):
        node_copy(Changing(folder.config().data), staged, silent)
    assert arrived(staged) == []

    class Growing(FolderSource):
        def open(self, file: File) -> BinaryIO:
            folder.image("l0").write_bytes(b"longer" * 10000)
            return super().open(file)

    with refused("was changed while it was copied"):
        node_copy(Growing(folder.config().data), staged, silent)
    assert list(staged.rglob(COMPLETE)) == []


class Vanishing(FolderSource):
    """A folder from which the image l0 goes as soon as it was opened."""

    def open(self, file: File) -> BinaryIO:
        stream = super().open(file)
        if file.path.endswith("/l0.png") and not os.path.islink(file.path):
            os.unlink(file.path)
            os.symlink("gone.png", file.path)
        return stream


def test_an_image_that_vanishes_is_named_and_not_the_cache(folder: Folder, staged: Path) -> None:
    with refused(f"data.root={folder.root}: {folder.root}/", "/l0.png cannot be read (No such file or directory)"):
        node_copy(Vanishing(folder.config().data), staged, silent)
    assert list(staged.rglob(COMPLETE)) == []


def test_where_copies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(copies.VARIABLE, raising=False)
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    temporary = tmp_path / "temporary" / f"u2pl_ray_data_{os.getuid()}"
    for home, other, expected in (
        ("ext4", "ext4", tmp_path / "home/data"),
        ("nfs", "xfs", temporary),
        ("tmpfs", "xfs", temporary),
        ("nfs", "tmpfs", None),
    ):
        kinds = {"home": home, "temporary": other}
        monkeypatch.setattr(local, "file_system", lambda path, kinds=kinds: kinds[path.relative_to(tmp_path).parts[0]])
        assert local.cache_folder() == expected
    monkeypatch.setenv(copies.VARIABLE, str(tmp_path / "scratch"))
    assert local.cache_folder() == tmp_path / "scratch"
