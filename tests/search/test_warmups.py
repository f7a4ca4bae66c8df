"""The driver and a shared warm-up: trained once a seed, charged once, the same whatever is killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.search.driven import COMPLETED, EPOCHS, metrics, open_study
from tests.search.kill_loop import kill_until_it_ends
from u2pl_ray.config.overrides import apply
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Assignment
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.baselines import companion
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.companion import Companion, Kind
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import PAPER, TrialRecord

WARMUP = 3


@pytest.fixture
def base(base: Config) -> Config:
    return apply(base, {"method.warmup_epochs": WARMUP})


def start(folder: Path, space: Space, base: Config) -> None:
    folder.mkdir(exist_ok=True)
    study = open_study(folder, space)
    setting = paper_setting(space, base)[0]
    study.enqueue(setting, PAPER)
    study.enqueue({}, "supervised", companion=companion("supervised"))
    for seed in (7, 8, 7):
        study.enqueue(setting, "again", companion=Companion(Kind.REPLICATE, {"seed": seed}, 0))


def open_driver(folder: Path, space: Space, base: Config) -> Driver:
    return Driver(open_study(folder, space), base, 4, folder / "trials")


def train(driver: Driver, folder: Path, assignment: Assignment, trained: list[tuple[str, int]]) -> None:
    """A training that keeps a checkpoint an epoch: it goes on from its own newest, else from its start."""
    run = folder / "trials" / assignment.trial / "train"
    own = sorted(run.glob("epoch_*")) if run.exists() else []
    begin = folder / "trials" / assignment.trial / assignment.start if assignment.start else None
    done = 0
    if own or begin is not None:
        done = json.loads(((own[-1] if own else begin) / "state.json").read_text())["epoch"]  # type: ignore[operator]
    for epoch in range(done + 1, EPOCHS + 1):
        trained.append((assignment.trial, epoch))
        checkpoint = run / f"epoch_{epoch:05d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text(json.dumps({"epoch": epoch, "seed": assignment.config.seed}))
        told = {**metrics(assignment.config, epoch), "checkpoint": f"train/{checkpoint.name}"}
        if epoch <= WARMUP:  # all settings train alike
            told["val/miou"] = 0.01 * epoch
        if driver.report(assignment.trial, told):
            return
    driver.finish(assignment.trial, COMPLETED)


def search(driver: Driver, folder: Path, trained: list[tuple[str, int]]) -> list[TrialRecord]:
    while (assignment := driver.next()) is not None:
        train(driver, folder, assignment, trained)
    return driver.study.all_records()


def told(records: list[TrialRecord]) -> list[Any]:
    return [(it.state, it.settings, it.values, it.inherited) for it in records]


def test_it_is_trained_once_a_seed(tmp_path: Path, space: Space, base: Config) -> None:
    start(tmp_path, space, base)
    trained: list[tuple[str, int]] = []
    records = search(open_driver(tmp_path, space, base), tmp_path, trained)
    began = {trial for trial, epoch in trained if epoch == 1}
    assert began == {"0000", "0001", "0002", "0003"}  # paper's, supervised, and one for each of the other seeds
    assert [it.inherited for it in records] == [0, 0, 0, 0, *[WARMUP] * (len(records) - 4)]
    for record in records[4:]:
        assert [record.values[epoch] for epoch in range(1, WARMUP + 1)] == [0.01, 0.02, 0.03]
        rows = [json.loads(line) for line in (tmp_path / "trials" / record.id / "epochs.jsonl").open()]
        assert [row["training_iteration"] for row in rows[:WARMUP]] == [1, 2, 3]
        assert not any("checkpoint" in row for row in rows[:WARMUP])
        assert not (tmp_path / "trials" / record.id / "start").exists()
    assert Allowance(EPOCHS).spent(records) == len(trained) / EPOCHS


def test_none_is_kept_that_no_other_trial_can_use(tmp_path: Path, base: Config) -> None:
    """A rate drawn from a range: each trial has a warm-up of its own. One of a few: they share."""
    for name, values, kept in (("range", "min: 0.001, max: 0.1", 0), ("few", "values: [0.001, 0.1]", 3)):
        space = parse_space(f"metric: {{name: val/miou, goal: maximize}}\nparameters:\n  optim.lr: {{{values}}}\n", "s")
        (tmp_path / name).mkdir()
        driver = Driver(open_study(tmp_path / name, space), base, 6, tmp_path / name / "trials")
        driver.study.enqueue({"optim.lr": 0.05 if name == "range" else 0.1}, PAPER)
        driver.study.enqueue({}, "again", companion=Companion(Kind.REPLICATE, {"seed": 7}, 0))
        search(driver, tmp_path / name, [])
        assert len(list(tmp_path.glob(f"{name}/warmups/*"))) == kept


def test_killed_anywhere_it_is_the_same(
    tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", space, base)
    expected = told(search(open_driver(tmp_path / "whole", space, base), tmp_path / "whole", []))
    pieces = tmp_path / "pieces"
    start(pieces, space, base)
    kills = kill_until_it_ends(
        [(TrialStudy, name) for name in ("report", "inherit", "complete_proposal")],
        monkeypatch,
        lambda: search(open_driver(pieces, space, base), pieces, []),
        lambda kills: 3 + 7 * kills % 31,
    )
    found = told(open_study(pieces, space).all_records())
    assert kills > 10
    assert found == expected


def test_a_lost_study_knows_what_was_inherited(tmp_path: Path, space: Space, base: Config) -> None:
    from u2pl_ray.search.experiment.repair import mend_study

    start(tmp_path, space, base)
    driver = open_driver(tmp_path, space, base)
    before = told(search(driver, tmp_path, []))
    (tmp_path / "study").unlink()
    study = open_study(tmp_path, space)
    mend_study(tmp_path, base, lambda anew: study, ("supervised",))
    assert told(study.all_records()) == before
