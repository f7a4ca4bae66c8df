"""Settings are judged by trainings of one length: where that is asked for, no space may search the length."""

from pathlib import Path

import pytest

from tests.search.small_search import train
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.budget import NO_LIMIT, Budget
from u2pl_ray.search.experiment.confirm import plan_confirmation
from u2pl_ray.search.experiment.extend import extend
from u2pl_ray.search.experiment.plan import Plan, plan_search
from u2pl_ray.search.experiment.replicates import add_replicates
from u2pl_ray.search.space.file import parse_space

pytestmark = pytest.mark.usefixtures("two_cpus")

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {min: 0.1, max: 1.0}
  train.epochs: {values: [3, 9]}
"""


def planned(folder: Path, base: Config, budget: Budget = NO_LIMIT, sampler: str = "random", space: str = SPACE) -> Plan:
    return plan_search(
        base, parse_space(space, "s.yaml"), name="a", trials=4, budget=budget, storage_path=folder, sampler=sampler
    )


@pytest.mark.parametrize(
    ("budget", "option"), [(Budget(trainings=9), "--trainings"), (Budget(replicating=0.3), "--replicate")]
)
def test_a_search_that_judges_settings(tmp_path: Path, base: Config, budget: Budget, option: str) -> None:
    with pytest.raises(UserError, match=f"^{option}: compares trainings of one length, and s.yaml searches"):
        planned(tmp_path, base, budget)


def test_a_search_without_that_can_be_made_and_not_judged_later(tmp_path: Path, base: Config) -> None:
    made = planned(tmp_path, base).create()
    with pytest.raises(UserError, match="--trainings: compares trainings of one length"):
        add_replicates(made, 4)
    with pytest.raises(UserError, match="--trainings: compares trainings of one length"):
        extend(made, trainings=4)


def test_the_sampler_that_judges_settings(tmp_path: Path, base: Config) -> None:
    with pytest.raises(UserError, match=r"^--sampler noisy-gp: .* take it out of the space, or use another sampler"):
        planned(tmp_path, base, sampler="noisy-gp")


def test_a_given_length_is_one_length(tmp_path: Path, base: Config) -> None:
    given = SPACE.replace("{values: [3, 9]}", "{value: 3}")
    plan = planned(tmp_path, base, Budget(trainings=9), "noisy-gp", given)
    assert plan.options.sampler.options["epochs"] == 3 != base.train.epochs


def test_a_confirmation_of_it_is_judged_seed_by_seed_alone(tmp_path: Path, base: Config) -> None:
    searched = planned(tmp_path, base).create()
    train(searched)
    confirmation = plan_confirmation(searched, top=1, seeds=2).create()
    train(confirmation)
    judged = searched.judgement(searched.study())
    assert judged.confirmed
    assert not judged.repeated
