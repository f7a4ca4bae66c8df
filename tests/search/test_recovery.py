"""Each kind of file of an experiment cut, zeroed and deleted: it goes on to the same end, or says what is gone.

The trainings are a function, with checkpoints like real ones; what resumes over Ray is in test_kill.py.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.conftest import BASE, SPACE
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment import plan as plans
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.train import checkpoint

TRIALS = 6


def two_cpus(patch: pytest.MonkeyPatch) -> None:
    """Two CPUs, as Ray would say."""
    patch.setattr(plans, "connect", lambda: None)
    patch.setattr(plans, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    two_cpus(monkeypatch)


def train(driver: Driver, most_reports: int) -> None:
    """Train one trial after the other, until so many epochs have been reported; then, as if killed, nothing more."""
    while most_reports and (assignment := driver.next()) is not None:
        run = driver.folder / assignment.trial / "train"
        history = []
        for epoch in range(1, assignment.config.train.epochs + 1):
            distance = abs(math.log(assignment.config.method.contrastive.temperature / 0.1))
            value = (1.0 - math.exp(-epoch / 3)) * math.exp(-distance)
            history.append({"training_iteration": epoch, "val/miou": value, "train/lr": epoch / 7})
            checkpoint.save(run / f"epoch_{epoch:05d}", {"history": list(history), "epochs_done": epoch})
            shutil.rmtree(run / f"epoch_{epoch - 2:05d}", ignore_errors=True)
            if epoch <= assignment.reported_epochs:
                continue
            if driver.report(assignment.trial, history[-1]):
                break
            most_reports -= 1
            if not most_reports:
                return
        driver.finish(assignment.trial, Outcome(State.COMPLETED))


def go_on(folder: Path, most_reports: int = 1000) -> list[str]:
    """Resume, without Ray; what people are told."""
    experiment = Experiment.open(str(folder))
    notes = experiment.repair()
    train(Driver(experiment.study(), experiment.config, TRIALS, folder / "trials"), most_reports)
    experiment.write_best()
    return notes


def story(folder: Path) -> list[Any]:
    experiment = Experiment.open(str(folder))
    return [
        (record.id, record.state, record.params, record.values, record.value, record.note, experiment.epochs(record.id))
        for record in experiment.study().records()
    ]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment killed in its fourth trial, with finished and stopped ones."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        two_cpus(patch)
        base, space = overrides.validate(BASE), parse_space(SPACE, "space.yaml")
        plan_search(base, space, name="a", trials=TRIALS, storage_path=folder).create()
    go_on(folder / "a", 18)
    return folder / "a"


@pytest.fixture
def halfway(tmp_path: Path, killed: Path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(killed, tmp_path / "a"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, killed: Path) -> list[Any]:
    """How it ends when nothing is damaged."""
    folder = tmp_path_factory.mktemp("whole") / "a"
    shutil.copytree(killed, folder)
    assert go_on(folder) == []
    ends = story(folder)
    assert {state for _, state, *_ in ends} == {State.COMPLETED, State.STOPPED}
    return ends


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, zero, empty, Path.unlink])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("experiment.json", "its copy start/experiment.json is used"),
        ("config.yaml", "its copy start/config.yaml is used"),
        ("study.journal", "made anew from their folders"),
        ("trials/0000/epochs.jsonl", "restored from a checkpoint"),
        ("trials/0003/epochs.jsonl", ""),  # the interrupted one
        ("trials/0000/config.yaml", "written anew"),
        ("trials/0000/trial.json", ""),
        ("trials/0003/trial.json", ""),
        ("best.yaml", ""),
    ],
)
def test_it_ends_the_same(
    halfway: Path, whole: list[Any], file: str, words: str, damage: Callable[[Path], None]
) -> None:
    damage(halfway / file)
    notes = go_on(halfway)
    assert story(halfway) == whole
    assert words in " ".join(notes)
    assert len(notes) == bool(words)
    best = Experiment.open(str(halfway)).study().best()
    assert best is not None
    assert (halfway / "best.yaml").read_text().startswith(f"# Trial {best.id} of a")
    assert go_on(halfway) == []  # once is enough


def test_a_folder_of_the_users_own_beside_the_checkpoints_is_not_read(halfway: Path, whole: list[Any]) -> None:
    """It sorts behind every checkpoint, and its history would end at the first epoch."""
    checkpoint.save(halfway / "trials/0000/train/epoch_99999_best", {"history": [{"training_iteration": 1}]})
    (halfway / "trials/0000/epochs.jsonl").unlink()
    (note,) = go_on(halfway)
    assert "restored from a checkpoint" in note
    assert story(halfway) == whole


@pytest.mark.parametrize("damage", [zero, empty, Path.unlink])
def test_a_damaged_space(halfway: Path, whole: list[Any], damage: Callable[[Path], None]) -> None:
    damage(halfway / "space.yaml")
    (note,) = go_on(halfway)
    assert "its copy start/space.yaml is used" in note
    assert story(halfway) == whole


def test_a_cut_space_is_not_mistaken_for_the_whole(halfway: Path) -> None:
    """A text cut between two lines reads well: only its copy tells."""
    text = (halfway / "space.yaml").read_text()
    (halfway / "space.yaml").write_text(text[: text.index("  method.alpha.kind")])
    with pytest.raises(UserError, match=r"space\.yaml: edited.*start/ back"):
        go_on(halfway)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_journal_cut_anywhere(halfway: Path, whole: list[Any], share: float) -> None:
    journal = halfway / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: int(len(lines) * share)]))
    go_on(halfway)
    assert story(halfway) == whole


def test_a_journal_damaged_in_the_middle(halfway: Path, whole: list[Any]) -> None:
    journal = halfway / "study.journal"
    content = bytearray(journal.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    journal.write_bytes(content)
    (note,) = go_on(halfway)
    assert "damaged after" in note
    assert (halfway / "study.damaged").read_bytes() == bytes(content)
    assert story(halfway) == whole


def test_journal_and_a_trials_own_record_gone(halfway: Path, whole: list[Any]) -> None:
    (halfway / "study.journal").unlink()
    (halfway / "trials" / "0001" / "trial.json").unlink()  # its settings are in its config.yaml
    go_on(halfway)
    assert story(halfway) == whole


def test_a_failed_trial_stays_failed_when_the_study_is_lost(halfway: Path) -> None:
    experiment = Experiment.open(str(halfway))
    driver = Driver(experiment.study(), experiment.config, TRIALS, halfway / "trials")
    assignment = driver.next()
    assert assignment is not None
    driver.finish(assignment.trial, Outcome(State.FAILED, "error", "it broke"))
    before = story(halfway)
    (halfway / "study.journal").unlink()
    experiment.repair()
    assert story(halfway) == before
    failed = experiment.study().record(int(assignment.trial))
    assert (failed.reason, failed.detail) == ("error", "it broke")


def test_everything_gone_is_said_in_a_line(halfway: Path) -> None:
    (halfway / "config.yaml").unlink()
    (halfway / "start" / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"config\.yaml: is gone, and so is its copy start/config\.yaml") as caught:
        Experiment.open(str(halfway))
    assert "\n" not in str(caught.value)


def test_elsewhere_and_under_another_name(tmp_path: Path, halfway: Path, whole: list[Any]) -> None:
    """Nothing in the folder says where it is."""
    moved = tmp_path / "another machine" / "renamed"
    moved.parent.mkdir()
    halfway.rename(moved)
    assert go_on(moved) == []
    assert story(moved) == whole
    for file in moved.rglob("*.json*"):
        assert str(tmp_path) not in file.read_text("utf-8", "replace"), file


def test_edited_files_are_refused_unless_forced(halfway: Path) -> None:
    config = overrides.load(halfway / "config.yaml")
    edited = overrides.apply(config, {"optim.momentum": 0.5, "workers": 2})
    (halfway / "config.yaml").write_text(overrides.dump(edited))
    with pytest.raises(UserError) as caught:
        go_on(halfway)
    for words in ("config.yaml: workers 1 -> 2", "config.yaml: optim.momentum 0.9 -> 0.5", "--force"):
        assert words in str(caught.value)
    experiment = Experiment.open(str(halfway))
    notes = experiment.repair(force=True)
    assert "edited since the start: config.yaml: workers 1 -> 2" in notes


def test_edits_that_change_no_result_and_other_versions_are_said(halfway: Path) -> None:
    config = overrides.load(halfway / "config.yaml")
    (halfway / "config.yaml").write_text(overrides.dump(overrides.apply(config, {"tracking.project": "other"})))
    tree = json.loads((halfway / "experiment.json").read_text())
    tree["versions"]["torch"] = "1.0"
    (halfway / "experiment.json").write_text(json.dumps(tree))
    first, second = go_on(halfway)
    assert first == "edited since the start: config.yaml: tracking.project u2pl_ray -> other"
    assert second.startswith("not as at the start: torch 1.0 -> ")


def test_an_edited_sampler_is_refused(halfway: Path) -> None:
    tree = json.loads((halfway / "experiment.json").read_text())
    tree["options"]["sampler"]["seed"] = 7
    (halfway / "experiment.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"experiment\.json: sampler"):
        go_on(halfway)
