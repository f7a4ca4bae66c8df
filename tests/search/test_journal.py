import os
from pathlib import Path

import optuna
import pytest

from u2pl_ray.search.study.journal import Journal


def create_study(path: Path) -> optuna.Study:
    return optuna.create_study(storage=optuna.storages.JournalStorage(Journal(path)), study_name="a")


def open_study(path: Path) -> optuna.Study:
    return optuna.load_study(storage=optuna.storages.JournalStorage(Journal(path)), study_name="a")


def test_optuna_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = create_study(path)
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
    plain = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    assert optuna.load_study(study_name="a", storage=plain).best_value == 0.5


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_an_unfinished_entry_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "study.journal"
    study = create_study(path)
    study.ask()
    study.ask()
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(open_study(path).trials) == 1  # readers see what is whole, and leave the file alone
    assert path.read_bytes()[-1:] != b"\n"
    open_study(path).ask()
    assert len(open_study(path).trials) == 2


def test_a_full_disk_leaves_the_journal_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    study = create_study(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            study.ask()
    assert path.read_bytes() == before
    study.ask()
    assert len(open_study(path).trials) == 1
