"""Disks that are full, by the system's own /dev/full: what a training, a checkpoint and a search make of it."""

import contextlib
import errno
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.search.small_search import train_with
from tests.search.stored import a_plan
from u2pl_ray.config.errors import LostError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.execution import failures, trial_actor
from u2pl_ray.search.execution.failures import RESTARTS
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.train import checkpoint


def fill(file: Path) -> None:
    """What is written to the file finds no room, until it is deleted."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to("/dev/full")


def training(folder: Path, base: Config) -> trial_actor.Training:
    return trial_actor.Training(
        *(lambda group: None, lambda: None, "fake_training:build_plain"),
        config=base, storage_path=f"{folder}/0000", name="train", reported_epochs=0,
    )  # fmt: skip


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(trial_actor, "say", lambda line, of="": lines.append(line))
    return lines


def test_a_training_waits_for_room_on_the_disk(
    tmp_path: Path, base: Config, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_FULL_SECONDS", 2.0)
    fill(tmp_path / "0000" / "train" / "state.partial")
    threading.Timer(1.0, (tmp_path / "0000" / "train" / "state.partial").unlink).start()
    run = training(tmp_path, base)
    epochs = []
    while not isinstance(told := run.next(), Outcome):
        epochs.append(told["training_iteration"])
    assert run.stop()
    assert (told, epochs) == (Outcome(State.COMPLETED), list(range(1, 10)))
    assert said == ["0000 cannot read or write its files (No space left on device); it goes on after epoch 0"]


def test_a_disk_that_stays_full_is_the_environment_s(
    tmp_path: Path, base: Config, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So every `resume` runs the trial again."""
    monkeypatch.setattr(failures, "_FULL_SECONDS", 0.0)
    fill(tmp_path / "0000" / "train" / "state.partial")
    run = training(tmp_path, base)
    why = f"cannot read or write its files (No space left on device) {RESTARTS + 1} times in a row"
    assert run.next() == Outcome(State.FAILED, "environment", why)
    assert run.stop()
    assert len(said) == RESTARTS


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", folder], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


class Fill(Listener):
    """Leaves no room on the disk, at the search's end."""

    def __init__(self, disk: Path) -> None:
        self.file = disk / "others"

    def close(self) -> None:
        with contextlib.suppress(OSError), self.file.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))


def test_an_end_that_finds_no_room_is_one_line_and_started_again(disk: Path, base: Config, space: Space) -> None:
    plan = a_plan(str(disk), base, space)
    search = replace(plan, options=replace(plan.options, trials=1)).create()
    train_with(Driver(search.study(), base, 1, search.folder / "trials"))
    fill = Fill(disk)
    with pytest.raises(LostError) as caught:
        search.run([fill])
    where = f"{search.folder}: "
    assert str(caught.value).startswith(where)
    assert "No space left on device: the search could not be stored to its end; go on with: u2pl-ray resume a" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    fill.file.unlink()
    assert search.run([]).finished
    assert (search.folder / "best.yaml").exists()


def test_a_checkpoint_that_finds_no_room_says_so(tmp_path: Path) -> None:
    fill(tmp_path / f"{checkpoint.FILE}.partial")
    with pytest.raises(OSError, match="No space") as caught:
        checkpoint.save(tmp_path, {"weights": torch.zeros(100_000)})
    assert caught.value.errno == errno.ENOSPC
