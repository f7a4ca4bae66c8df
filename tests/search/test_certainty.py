"""The plots of what is known: each setting's worth with its interval and trainings, and where the spread comes from."""

from pathlib import Path

import pytest
from scipy import stats

from tests.search.small_search import SPACE, train_with
from tests.search.test_rounds import metrics
from u2pl_ray.analysis.figures.certainty import certainty_panels
from u2pl_ray.analysis.load import Analysis, analyse
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.judgement import Judgement
from u2pl_ray.search.study.trial_record import State

pytestmark = pytest.mark.usefixtures("two_cpus")


@pytest.fixture
def replicated(tmp_path: Path, base: Config) -> Analysis:
    space = parse_space(SPACE, "s")
    plan = plan_search(base, space, name="a", trials=None, budget=Budget(trainings=16), storage_path=tmp_path)
    made = plan.create()
    driver = Driver(made.study(), made.config, None, made.folder / "trials", allowance=made.allowance)
    train_with(driver, value=lambda config, epoch: metrics(config, epoch, 0.1)["val/miou"])
    return analyse(Experiment.open("a", tmp_path))


def test_the_forest_shows_the_intervals_of_the_posterior_and_every_training(replicated: Analysis) -> None:
    forest, parts, importances = certainty_panels(replicated)
    assert (forest.title, parts.title) == ("What each setting is worth", "Where the spread comes from")
    judgement, posterior = replicated.judgement, replicated.judgement.posterior
    assert posterior is not None
    assert 3 <= posterior.degrees < 20  # where 1.96 standard deviations would be too few
    worth, dots = forest.figure.data
    row = {str(label).split()[0]: i for i, label in enumerate(worth.y)}
    for name, sd in zip(posterior.settings, posterior.sd, strict=True):
        if name in row:
            wanted = stats.t.ppf(0.975, posterior.degrees) * sd
            assert worth.error_x.array[row[name]] == pytest.approx(wanted)
    complete = [it for it in replicated.everything if it.state == State.COMPLETED]
    assert sum(it.replicate for it in complete) > 2
    assert sorted(dots.x) == sorted(it.value or 0.0 for it in complete if judgement.labels[it.number] in row)
    assert importances.figure.data


def test_a_training_of_the_confirmation_is_a_dot_too(replicated: Analysis) -> None:
    paper = replicated.paper
    assert paper is not None
    params = {path: value for path, value in paper.params.items() if path != "seed"}
    new = BorrowedTraining(params, 2_000_000, {1: 0.1, 9: 0.7}, complete=True, confirms=True)
    lost = BorrowedTraining(params, 2_001_000, {1: 0.1}, complete=False, confirms=True)
    own = replicated.judgement
    more = Judgement(own.space, own.config, own.records, borrowed=[new, lost])
    assert more.dots[paper.id] == [*own.dots[paper.id], (2_000_000, 0.7)]
