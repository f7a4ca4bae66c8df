import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from u2pl_ray.search.study.trial_record import State, TrialRecord, trial_id
from u2pl_ray.search.trials.epoch_log import EpochLog, read_epochs


def row(epoch: int, value: float = 0.5) -> dict[str, object]:
    return {"training_iteration": epoch, "val/miou": value}


def test_epochs_are_read_back_exactly(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / "trials" / "epochs.jsonl")
    rows = [row(1, 0.1 + 0.2), {**row(2, 1 / 3), "diag/entropy/hist": [1, 2], "name": "x", "flag": True}]
    for item in rows:
        assert log.append(item)
    assert read_epochs(log.path) == rows == log.epochs


def test_repeated_and_skipped_epochs_are_not_taken(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / "epochs.jsonl")
    assert [log.append(row(epoch)) for epoch in (1, 1, 3, 2, 1, 2)] == [True, False, False, True, False, False]
    assert read_epochs(log.path) == [row(1), row(2)]


def test_numbers_of_every_kind(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / "epochs.jsonl")
    log.append(row(1, math.nan) | {"inf": math.inf, "numpy": np.float32(0.5), "array": np.arange(3), "tuple": (1, 2)})
    assert json.loads(log.path.read_text()) == {
        "training_iteration": 1, "val/miou": None, "inf": None, "numpy": 0.5, "array": [0, 1, 2], "tuple": [1, 2],
    }  # fmt: skip


@pytest.mark.parametrize("cut", range(1, 50))
def test_a_torn_last_line_is_dropped_and_written_again(tmp_path: Path, cut: int) -> None:
    log = EpochLog(tmp_path / "epochs.jsonl")
    log.append(row(1))
    log.append(row(2))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-cut])
    again = EpochLog(log.path)
    assert again.epochs == [row(1)][: len(again.epochs)]
    for epoch in range(len(again.epochs) + 1, 3):
        again.append(row(epoch))
    assert log.path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"\0" * 20 + b"\n", b"[]\n", b"{}\n", b'{"training_iteration":7}\n'])
def test_what_follows_a_damaged_line_is_not_trusted(tmp_path: Path, damage: bytes) -> None:
    log = EpochLog(tmp_path / "epochs.jsonl")
    log.append(row(1))
    with log.path.open("ab") as file:
        file.write(damage + b'{"training_iteration":2}\n')
    assert read_epochs(log.path) == [row(1)]
    assert EpochLog(log.path).append(row(2))
    assert read_epochs(log.path) == [row(1), row(2)]


def test_a_full_disk_delays_but_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EpochLog(tmp_path / "epochs.jsonl")
    log.append(row(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            log.append(row(2))
    assert log.append(row(3))
    assert read_epochs(log.path) == [row(1), row(2), row(3)]


def test_no_file() -> None:
    assert read_epochs(Path("/nonexistent/epochs.jsonl")) == []


def test_latest_value() -> None:
    assert trial_id(7) == "0007"
    running = TrialRecord("0000", 0, State.RUNNING, values={1: 0.1, 2: 0.3})
    assert (running.epochs, running.latest) == (2, 0.3)
    assert TrialRecord("0000", 0, State.PENDING).latest is None
    assert [state.value for state in State if not state.finished] == ["PENDING", "RUNNING"]
