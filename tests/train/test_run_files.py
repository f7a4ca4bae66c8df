"""Ray Train's list of checkpoints, and the checkpoints themselves, damaged in every way; Ray's own class reads them."""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from pyarrow.fs import LocalFileSystem

from u2pl_ray.train import checkpoint
from u2pl_ray.train.run_files import mend, newest

LIST = "checkpoint_manager_snapshot.json"
WHOLE = {checkpoint.FILE, checkpoint.CHECKSUM}


def manager(folder: Path) -> Any:
    """What a Ray Train controller makes of the run."""
    from ray.train import CheckpointConfig
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
    from ray.train.v2._internal.execution.storage import StorageContext

    context = StorageContext(storage_path=str(folder.parent), experiment_dir_name=folder.name)
    return CheckpointManager(CheckpointConfig(num_to_keep=2), context)


def latest(folder: Path) -> str | None:
    result = manager(folder).latest_checkpoint_result
    return None if result is None else Path(result.checkpoint.path).name


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, listed by Ray."""
    folder = tmp_path / "train"
    for epoch in (3, 4):
        checkpoint.save(folder / f"epoch_{epoch:05d}", {"weights": torch.arange(100.0), "epochs_done": epoch})
    mend(str(folder))
    assert latest(folder) == "epoch_00004"
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("epoch_*"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


DAMAGE = [cut, zero, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / "epoch_00004" / checkpoint.FILE)
    first, last = mend(str(run))
    assert first.startswith(f"{run}/epoch_00004: ")
    assert last == f"{run}: continues from epoch_00003"
    assert latest(run) == "epoch_00003"
    assert mend(str(run)) == []


def test_a_deleted_checkpoint(run: Path) -> None:
    for file in (run / "epoch_00004").iterdir():
        file.unlink()
    (run / "epoch_00004").rmdir()
    assert mend(str(run)) == [f"{run}/epoch_00004: is gone", f"{run}: continues from epoch_00003"]
    assert latest(run) == "epoch_00003"


@pytest.mark.parametrize("damage", DAMAGE)
def test_none_is_whole(run: Path, damage: Callable[[Path], None]) -> None:
    for epoch in (3, 4):
        damage(run / f"epoch_{epoch:05d}" / checkpoint.CHECKSUM)
    assert mend(str(run))[-1] == f"{run}: continues from the beginning, as no checkpoint is whole"
    assert latest(run) is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_rays_list_is_made_anew(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / LIST)
    notes = mend(str(run))
    assert notes == ([] if damage is Path.unlink else [f"{run}/{LIST}: damaged; written anew", *notes[1:]])
    assert latest(run) == "epoch_00004"


def test_a_list_of_another_version_of_ray(run: Path) -> None:
    (run / LIST).write_text(json.dumps({"ray_version": "1.0", "results": []}))
    assert mend(str(run))
    assert latest(run) == "epoch_00004"


def test_stored_and_not_listed_yet(run: Path) -> None:
    checkpoint.save(run / "epoch_00005", {"epochs_done": 5})
    (run / "epoch_00006").mkdir()  # storing it had begun
    assert mend(str(run)) == []
    assert latest(run) == "epoch_00005"


def test_what_a_kill_kept_from_being_deleted_goes(run: Path) -> None:
    """Ray strikes a checkpoint off its list, then deletes it: a kill in between left the whole or a part of it."""
    (run / "epoch_00000").mkdir()
    (run / "epoch_00001").mkdir()
    (run / "epoch_00001" / checkpoint.CHECKSUM).write_text("0")
    checkpoint.save(run / "epoch_00002", {"epochs_done": 2})
    assert mend(str(run)) == []
    assert names(run) == ["epoch_00002", "epoch_00003", "epoch_00004"]
    assert latest(run) == "epoch_00004"
    asyncio.run(store(run, manager(run), 5))
    assert names(run) == ["epoch_00004", "epoch_00005"]


def test_what_cannot_be_deleted_ends_no_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LocalFileSystem()

    class Refusing:
        def delete_dir(self, folder: str) -> None:
            raise PermissionError(13, "Permission denied", folder)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    (run / "epoch_00001").mkdir()
    monkeypatch.setattr("pyarrow.fs.FileSystem", Mock(from_uri=lambda uri: (Refusing(), uri)))
    assert mend(str(run)) == []
    assert (run / "epoch_00001").exists()


def test_weights_are_never_deleted(run: Path) -> None:
    """Neither those that lost their checksum, nor what a user keeps beside the checkpoints."""
    (run / "epoch_00003" / checkpoint.CHECKSUM).unlink()
    (run / "epoch_00001_best").mkdir()
    (run / "epoch_00001_best" / checkpoint.FILE).write_bytes(b"1")
    checkpoint.save(run / "epoch_00005_mine", {"epochs_done": 5})
    (run / "a_notes").mkdir()
    assert mend(str(run))[0].startswith(f"{run}/epoch_00003: stored only in part")
    assert mend(str(run)) == []
    assert latest(run) == newest(str(run)) == "epoch_00004"
    for epoch in (5, 6, 7):
        asyncio.run(store(run, manager(run), epoch))
        assert mend(str(run)) == []
    assert names(run) == ["epoch_00001_best", "epoch_00003", "epoch_00005_mine", "epoch_00006", "epoch_00007"]
    assert (run / "epoch_00003" / checkpoint.FILE).exists()
    assert (run / "a_notes").exists()


def test_nothing_there_and_foreign_checkpoints(tmp_path: Path) -> None:
    assert mend(str(tmp_path / "absent")) == []
    assert not (tmp_path / "absent").exists()
    foreign = tmp_path / "train" / "epoch_00001"
    foreign.mkdir(parents=True)
    (foreign / "state.json").write_text("1")
    assert mend(str(tmp_path / "train")) == []
    assert latest(tmp_path / "train") == "epoch_00001"


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_any_instant_has_a_whole_checkpoint(tmp_path: Path, seed: int) -> None:
    """Ray's own class stores and lists them, as fast as it can, and keeps two: of one, kills left none."""
    folder, draw = tmp_path / "train", random.Random(seed)
    manager(folder)  # what is slow to import is imported before the fork
    known, fork = 0, multiprocessing.get_context("fork")
    for _ in range(10):
        said = fork.Value("i", known)
        process = fork.Process(target=store_for_ever, args=(folder, said))
        process.start()
        patience = time.monotonic() + 30
        while said.value == known and time.monotonic() < patience:
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.1))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert said.value > known
        known = said.value
        mend(str(folder))
        name = latest(folder)
        assert name is not None
        assert known <= checkpoint.load(folder / name)["epochs_done"] <= known + 1
    whole = [name for name in names(folder) if {file.name for file in (folder / name).iterdir()} == WHOLE]
    assert len(whole) <= 3  # two, and one that the last kill left


def store_for_ever(folder: Path, said: Any) -> None:
    """Store checkpoints as a worker and a controller of Ray Train do, from the newest one on."""

    async def store_all() -> None:
        kept = manager(folder)
        newest = kept.latest_checkpoint_result
        epoch = 0 if newest is None else checkpoint.load(Path(newest.checkpoint.path))["epochs_done"]
        while True:
            epoch += 1
            await store(folder, kept, epoch)
            said.value = epoch
            await asyncio.sleep(0)

    asyncio.run(store_all())


async def store(folder: Path, kept: Any, epoch: int) -> None:
    """Store one checkpoint and register it with Ray Train's manager, which wants an event loop."""
    from ray.train import Checkpoint
    from ray.train.v2._internal.execution.training_report import _TrainingReport

    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        checkpoint.save(Path(draft), {"weights": torch.full((20_000,), epoch), "epochs_done": epoch})
        name = checkpoint.directory_name(epoch)
        stored = kept._storage_context.persist_current_checkpoint(Checkpoint.from_directory(draft), name)
    kept.register_checkpoint(_TrainingReport(checkpoint=stored, metrics={}, validation=False))
