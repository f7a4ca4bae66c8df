"""Which trainings of other experiments count for a search's answer, and that none counts twice; without Ray."""

from pathlib import Path

import pytest

from tests.search.fake_training import miou
from tests.search.small_search import TEMPERATURE, searched, train
from u2pl_ray.analysis.answer import answer, confirmed
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.report import render
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.confirm import plan_confirmation
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.study import borrowed
from u2pl_ray.search.study.borrowed import BorrowedTraining, matched
from u2pl_ray.search.study.trial_record import State

pytestmark = pytest.mark.usefixtures("two_cpus")


def shown(experiment: Experiment) -> list[tuple[str, int]]:
    return [(run.setting, run.seed) for run in experiment.judgement(experiment.study()).runs]


def test_the_confirmation_counts_for_the_answer(tmp_path: Path, base: Config) -> None:
    search = searched(tmp_path, base)
    own = [("0000", 0), ("0001", 0), ("0002", 0)]
    assert shown(search) == own
    assert not search.judgement(search.study()).repeated
    confirmation = plan_confirmation(search, top=2, seeds=3).create()
    assert shown(search) == own
    train(confirmation)
    judgement = search.judgement(search.study())
    again = [(label, seed) for label in ("0000", "0001", "0002") for seed in (1, 2, 3)]
    assert sorted(shown(search)[len(own) :]) == again
    assert (judgement.repeated, judgement.look) == (True, 1)
    for run in judgement.runs:
        config = search.space.configure(
            search.config, {**search.study().record(int(run.setting)).params, "seed": run.seed}
        )
        assert run.values[1.0] == miou(config, base.train.epochs)
    assert search.best(search.study()) == search.study().record(int(judgement.use or -1))
    assert not confirmation.judgement(confirmation.study()).matched


def test_a_training_that_diverges_in_the_confirmation_counts_against_its_setting(tmp_path: Path, base: Config) -> None:
    """It is no run with a value, and no training on a new seed that the answer rests on."""
    search = searched(tmp_path, base)
    confirmation = plan_confirmation(search, top=2, seeds=2).create()
    train(confirmation, most=5)
    study = confirmation.study()
    driver = Driver(study, confirmation.config, 6, confirmation.folder / "trials")
    last = driver.next()
    assert last is not None
    driver.finish(last.trial, Outcome(State.FAILED, "nan", "diverged"))
    judgement = search.judgement(search.study())
    assert list(judgement.diverged.values()) == [1]
    assert len(judgement.runs) == 3 + 5
    told = answer(analyse(search))
    assert "By 8 trainings of 3 settings; 5 trainings were on new seeds." in told.doubt
    assert "trainings diverged." in told.sentence


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("study.journal", None, "the study is gone"),
        ("study.journal", '{"op_code": 0\n{}\n', "study.journal: damaged; u2pl-ray resume a-confirm"),
        ("experiment.json", '{"format": 99}', "written by another version"),
    ],
)
def test_a_damaged_confirmation_is_left_out_and_said_once(
    tmp_path: Path, base: Config, caplog: pytest.LogCaptureFixture, file: str, content: str | None, why: str
) -> None:
    search = searched(tmp_path, base)
    confirmation = plan_confirmation(search, top=2, seeds=2).create()
    train(confirmation)
    (confirmation.folder / file).unlink()
    if content is not None:
        (confirmation.folder / file).write_text(content)
    search = Experiment.open("a", tmp_path)
    assert search.status()["best"] == search.study().best().id  # type: ignore[union-attr]
    assert search.write_best() is not None
    (said,) = caplog.messages
    assert said.startswith("a-confirm does not count for the answer of a: ")
    assert why in said
    analysis = analyse(Experiment.open("a", tmp_path))
    assert confirmed(analysis) is None
    assert "trial" in render([analysis])


def test_a_confirmation_of_other_settings_does_not_count(tmp_path: Path, base: Config) -> None:
    search = searched(tmp_path, base)
    confirmation = plan_confirmation(search, top=2, seeds=2).create()
    train(confirmation)
    search.config = overrides.apply(base, {"train.batch_size": 4})
    assert not search.borrowed_trainings()
    search.config = overrides.apply(base, {"data.loader_workers": 3, "tracking.images": 0})
    assert len(search.borrowed_trainings()) == 6


@pytest.mark.parametrize(("seed", "count"), [(0, 0), (5, 3)])
def test_earlier_trainings_count_where_the_setting_is_the_same_and_the_seed_is_not(
    tmp_path: Path, base: Config, seed: int, count: int
) -> None:
    """The same setting on the same seed is the same training."""
    searched(tmp_path, overrides.apply(base, {"seed": seed}), "old")
    searched(tmp_path, overrides.apply(base, {"train.batch_size": 4, "seed": 7}), "other")
    search = searched(tmp_path, base, "new", warm_start=["old", "old", "other"], sampler="tpe")
    own = 3
    assert len(borrowed.read(search.folder)) == 8  # `old` twice; of `other` none
    assert [seed for _, seed in shown(search)[own:]] == [seed] * count  # of 0.4, which `old` has twice, one
    assert not search.judgement(search.study()).repeated


def test_none_counts_twice_and_the_longest_counts() -> None:
    def training(temperature: float, seed: int, epochs: int) -> BorrowedTraining:
        return BorrowedTraining({TEMPERATURE: temperature}, seed, dict.fromkeys(range(1, epochs + 1), 0.5), epochs == 9)

    trainings = [
        training(0.1, 1, 3),
        training(0.1, 1, 9),
        training(0.1, 2, 9),
        training(0.3, 1, 9),
        training(0.2, 1, 4),
    ]
    settings = {"0000": {TEMPERATURE: 0.1}, "0001": {TEMPERATURE: 0.2}}
    found = matched(trainings, settings, {("0000", 2), ("0001", 0)})
    assert found == [("0000", trainings[1]), ("0001", trainings[4])]


def test_they_are_stored_as_they_are(tmp_path: Path) -> None:
    trainings = [BorrowedTraining({TEMPERATURE: 0.1, "data.scale": [0.5, 2.0]}, 3, {1: 0.1, 2: 1 / 3}, True)]
    borrowed.write(tmp_path, trainings)
    assert borrowed.read(tmp_path) == trainings
