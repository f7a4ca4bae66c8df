"""Copies of data sets on a node: from a real S3 server, killed in the middle, by several processes, on a full disk."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from slow_source import Slow
from voc_folder import Folder, refused

from tests.search.s3 import s3_server
from u2pl_ray.config.data import DataConfig
from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.config.overrides import validate
from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.staging import copies, local, locks, transfer
from u2pl_ray.data.staging.copies import COMPLETE, lock_of, node_copy
from u2pl_ray.data.staging.sources import File, FolderSource
from u2pl_ray.data.voc import official, open_split, open_training_splits, root_of

SPLITS = {
    "labeled.txt": "ll",
    "unlabeled.txt": "uuu",
    "ImageSets/Segmentation/val.txt": "vv",
    "ImageSets/Segmentation/test.txt": "tt",
}
NOT_READ = ("JPEGImages/other.png", "SegmentationObject/l0.png", "runs/checkpoint.pt")
FILES = 9 * 2 + 5
"""Images, labels, lists and classes.json of the data set."""


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("bucket") as uri:
        yield uri


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's folder of copies."""
    monkeypatch.setenv(copies.VARIABLE, str(tmp_path / "copies"))
    return tmp_path / "copies"


def write(root: Path) -> Folder:
    """Write a data set, with things in it that no configuration reads."""
    made = Folder(root)
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "runs"):
        (root / name).mkdir(parents=True)
    (root / "classes.json").write_text('["background", "cat", "dog"]')
    for file, letters in SPLITS.items():
        ids = [f"{letter}{index}" for index, letter in enumerate(letters)]
        made.split(file, ids)
        for number, name in enumerate(ids):
            made.write(name, 40, 50, seed=100 * ord(name[0]) + number)
    for name in NOT_READ:
        (root / name).write_bytes(b"not asked for")
    return made


def upload(root: Path, uri: str, *names: str) -> None:
    from pyarrow import fs

    store, path = fs.FileSystem.from_uri(f"{uri}?allow_delayed_open=true")
    for name in names or [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]:
        with store.open_output_stream(f"{path}/{name}") as stream:
            stream.write((root / name).read_bytes())


@pytest.fixture(scope="module")
def source_set(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, str]:
    """A data set in a folder, and the same on the store."""
    folder = write(tmp_path_factory.mktemp("source") / "set")
    upload(folder.root, f"{bucket}/sets/set")
    return folder, f"{bucket}/sets/set"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A data set in a folder of this test's own."""
    return write(tmp_path / "set")


@pytest.fixture
def origin(source_set: tuple[Folder, str]) -> Folder:
    """The data set of `stored`, as it is on this machine; tests leave it as it is."""
    return source_set[0]


@pytest.fixture
def stored(source_set: tuple[Folder, str]) -> DataConfig:
    """The data set on the store; tests leave it as it is."""
    return source_set[0].config(root=source_set[1]).data


def content(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and file.name != COMPLETE and str(file.relative_to(root)) not in NOT_READ
    }


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


def start(data: DataConfig, staged: Path, seconds: float, some: int) -> subprocess.Popen[str]:
    """Let another process copy, until it has copied `some` files."""
    setting = staged.with_name("data.json")
    setting.write_text(data.model_dump_json())
    program = [sys.executable, str(Path(__file__).with_name("slow_source.py")), str(setting), str(staged), str(seconds)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    while len(arrived(staged)) < some:
        assert process.poll() is None
        time.sleep(0.02)
    return process


def arrived(staged: Path) -> list[Path]:
    return [file for file in staged.glob("*/**/*") if file.is_file() and not file.name.startswith(".")]


def test_killed_in_the_middle_and_gone_on_with(origin: Folder, stored: DataConfig, staged: Path) -> None:
    process = start(stored, staged, 0.1, some=5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = {file: file.stat().st_mtime_ns for file in arrived(staged)}
    assert 5 <= len(there) < FILES
    (copy,) = staged.glob("*/")
    (copy / f".left.png{copies.PARTIAL}").touch()
    source = Slow(stored)
    assert node_copy(source, staged, silent)[0] == copy
    assert source.opened == FILES - len(there)
    assert {file: file.stat().st_mtime_ns for file in there} == there
    assert list(staged.rglob(f"*{copies.PARTIAL}")) == []
    assert content(copy / source.root) == content(origin.root)


def test_two_processes_copy_once(stored: DataConfig, staged: Path) -> None:
    process = start(stored, staged, 0.05, some=3)
    source, said = Slow(stored), list[str]()
    node_copy(source, staged, said.append)
    assert process.wait(30) == 0
    assert source.opened == 0
    assert said
    assert all(f"waiting for another copy of the same data (process {process.pid}: " in line for line in said)


def test_a_process_that_is_stuck_is_not_waited_for_for_ever(
    folder: Folder, staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FolderSource(folder.config().data)
    copy, _ = node_copy(source, staged, silent)
    next(copy.rglob("*.png")).unlink()
    with locks.Turn(lock_of(copy), silent):
        monkeypatch.setattr(locks.Turn.__init__, "__defaults__", (0.5,))
        with refused("waited", f"process {os.getpid()}: begins", "data.stage=never"):
            node_copy(source, staged, silent)


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


def test_what_is_wrong_with_the_store_is_one_line(folder: Folder, bucket: str, staged: Path) -> None:
    for root, words in (
        ("s3://no-such-bucket/set", "there is no such bucket"),
        (f"{bucket}/nothing", "there is nothing at this place"),
        ("s3://key:secret@bucket/set", "holds credentials"),
    ):
        with refused("data.root=s3://", words):
            resolve(folder.config(root=root))
    with pytest.raises(UserError, match=r"data.stage=never: data.root=s3://a/b can be read from a copy alone"):
        validate({"data": {"root": "s3://a/b", "stage": "never"}})


def test_what_is_missing_is_named_as_it_is_on_the_store(folder: Folder, stored: DataConfig, staged: Path) -> None:
    with refused(f"data.labeled: split file {stored.root}/none.txt is missing"):
        resolve(folder.config(root=stored.root, labeled="none.txt"))
    with refused(f"{stored.root}/SegmentationClassAug is missing"):
        resolve(folder.config(root=stored.root, labels="SegmentationClassAug"))
    folder.split("more.txt", ["l0", "l99"])
    upload(folder.root, stored.root, "more.txt")
    with refused(f"split file {stored.root}/more.txt lists 'l99'"):
        resolve(folder.config(root=stored.root, labeled="more.txt"))
    config = resolve(folder.config(root=stored.root, test="none.txt"))
    assert len(open_split(config.data, "val")) == 2


def test_wrong_credentials_are_one_line(folder: Folder, stored: DataConfig, staged: Path) -> None:
    def ask(times: str) -> None:
        """Let the server ask for credentials, which nobody has, after so many requests."""
        url, plain = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, times.encode(), plain, method="POST")).close()

    class Expiring(Slow):
        def open(self, file: File) -> BinaryIO:
            ask("0")
            return super().open(file)

    try:
        with refused(f"data.root={stored.root}: ", "cannot be read (the store refuses these credentials (AWS Error "):
            node_copy(Expiring(stored), staged, silent)
        with refused(f"data.root={stored.root}: the store refuses these credentials (AWS Error "):
            node_copy(Slow(stored), staged, silent)
    finally:
        ask("inf")
    node_copy(Slow(stored), staged, silent)


@pytest.mark.slow  # pyarrow asks three times
def test_a_store_that_does_not_answer_is_an_outage(
    folder: Folder, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    from u2pl_ray.search.execution.failures import classify, interruption

    with pytest.raises(LostError, match=r"the store does not answer \(AWS Error NETWORK_CONNECTION\)") as lost:
        resolve(folder.config(root=f"{bucket}/set"))
    assert classify(lost.value).reason == "error"
    why = interruption(lost.value)  # so a trial waits, and is started again
    assert why is not None
    assert why.what == "cannot reach the storage"


def test_the_configuration_keeps_the_source(origin: Folder, stored: DataConfig, staged: Path) -> None:
    config = origin.config(root=f"{stored.root}/")
    resolved = resolve(config)
    assert resolved.data.root == stored.root
    assert resolved.data.classes == ("background", "cat", "dog")
    assert resolve(resolved) == resolved
    assert str(root_of(resolved.data)).startswith(str(staged))
    assert len(list(staged.glob("*/"))) == 1  # the classes that are filled in make no other copy


def test_doctor_compares_what_nodes_see_and_copies_nothing(origin: Folder, stored: DataConfig, staged: Path) -> None:
    from u2pl_ray.doctor.node import data

    seen = data(origin.config(root=stored.root))
    assert seen == data(origin.config(root=stored.root))
    assert seen["data.root"].startswith(f"{FILES} files, 0.00 GB, ")
    assert data(origin.config(root=stored.root, test=None)) != seen
    assert "there is no such bucket" in data(origin.config(root="s3://no-such-bucket/set"))["data.root"]
    assert not staged.exists()


def test_a_training_from_s3_is_that_from_the_folder(origin: Folder, stored: DataConfig, staged: Path) -> None:
    import torch

    from u2pl_ray.train.loop import Worker
    from u2pl_ray.train.session import LocalSession

    def epochs(root: str) -> list[str]:
        tree = origin.config(root=root).model_dump()
        tree["model"] |= {"encoder": "tu-resnet10t", "representation_dim": 8, "encoder_weights": None}
        tree["train"] |= {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "unlabeled_batch_size": 2}
        tree["method"] |= {"warmup_epochs": 0}
        tree["tracking"] |= {"images": 0}
        reports: list[str] = []

        def keep(metrics: dict[str, object]) -> None:
            rest = {name: value for name, value in metrics.items() if not name.startswith("perf/")}
            reports.append(json.dumps(rest, sort_keys=True))

        config: Config = resolve(validate(tree))
        Worker(config, LocalSession(on_report=keep), torch.device("cpu")).run()
        return reports

    there, here = epochs(stored.root), epochs(str(origin.root))
    assert there == here
    assert "train/loss/contrastive" in here[0]


@pytest.fixture
def nfs(folder: Folder, staged: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """The folder's parent is on NFS, as the system says; the copies are on a disk."""

    def mounted(point: Path) -> None:
        monkeypatch.setattr(local, "file_system", lambda path: "nfs4" if path.is_relative_to(point) else "ext4")

    return mounted


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


HANGS = """
import sys
from pathlib import Path
from u2pl_ray.config.data import DataConfig
from u2pl_ray.config.errors import LostError
from u2pl_ray.data.staging import copies, sources, transfer
transfer.PATIENCE, transfer.WORDS, transfer._GRACE = float(sys.argv[3]), 0.1, 0.2
source = sources.FolderSource(DataConfig.model_validate_json(sys.argv[1]))
try:
    copies.node_copy(source, Path(sys.argv[2]), print)
except LostError as error:
    sys.exit(str(error))
"""


def start_hanging(folder: Folder, staged: Path, patience: float) -> "subprocess.Popen[str]":
    """Let another process copy a folder, one file of which nobody ever writes."""
    folder.image("u1").unlink()
    os.mkfifo(folder.image("u1"))
    data = folder.config().data.model_dump_json()
    program = [sys.executable, "-c", HANGS, data, str(staged), str(patience)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_file_server_that_falls_silent_is_given_up(folder: Folder, staged: Path) -> None:
    """The process ends, though its thread still waits for the file; what came before is kept."""
    with start_hanging(folder, staged, 2.0) as process:
        heard, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == (
        f"data.root={folder.root}: nothing has come from there for 2 s, with {FILES - 1} of {FILES} files copied, and "
        f"not {folder.image('u1')}: does the store or file server answer?\n"
    )
    assert f"{FILES - 1} of {FILES} files" in heard
    assert len(arrived(staged)) == FILES - 1
    assert list(staged.rglob(f"*{copies.PARTIAL}")) == []


@pytest.mark.slow
def test_a_copy_that_hangs_can_be_interrupted(folder: Folder, staged: Path) -> None:
    with start_hanging(folder, staged, 600.0) as process:
        while len(arrived(staged)) < FILES - 1:
            assert process.poll() is None
            time.sleep(0.02)
        for _ in range(10):  # Python loses one that arrives while it cleans something up
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break
        assert process.poll() is not None
        _, said = process.communicate(timeout=5)
    assert "KeyboardInterrupt" in said


def test_a_val_list_that_training_does_not_open_needs_no_masks(folder: Folder, bucket: str, staged: Path) -> None:
    for name in ("v0", "v1"):
        folder.label(name).unlink()
    uri = f"{bucket}/unmasked/set"
    upload(folder.root, uri)
    with refused(f"split file {uri}/ImageSets/Segmentation/val.txt lists 'v0' (and 1 more), but its label"):
        resolve(folder.config(root=uri))
    data = resolve(folder.config(root=uri, selection="holdout")).data
    here = folder.config(selection="holdout").data
    for split in ("labeled", "unlabeled", "val"):
        there = [(item.id, item.image.relative_to(root_of(data)), bool(item.label)) for item in open_split(data, split)]
        assert there == [(item.id, item.image.relative_to(folder.root), True) for item in open_split(here, split)]
    with refused(f"split file {uri}/ImageSets/Segmentation/val.txt lists 'v0' (and 1 more), but its label"):
        open_split(official(data), "val")


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
