"""What no setting is to blame for: told apart from settings that cannot work, not counted against them, run again."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.search.test_keeping import open_driver, train
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State

REFUSED = "UserError: "


def refuse(message: str) -> Outcome:
    return Outcome(State.INFEASIBLE, "refused", f"{REFUSED}{message}")


@pytest.mark.parametrize(
    ("message", "state", "reason"),
    [
        ("data.root=/data/mine: there is no such folder", State.FAILED, "environment"),
        ("/data/mine/JPEGImages/a.jpg: cannot be read", State.FAILED, "environment"),
        ("model.encoder_weights=imagenet: could not be loaded for resnet50 (OSError)", State.FAILED, "environment"),
        ("model.encoder: no such encoder", State.FAILED, "environment"),  # not searched: the same for every trial
        ("method.contrastive.temperature=0.1 cannot work here", State.INFEASIBLE, "refused"),
        ("method.contrastive: cannot work here", State.INFEASIBLE, "refused"),
    ],
)
def test_only_what_names_a_searched_setting_is_infeasible(
    tmp_path: Path, space: Space, base: Config, message: str, state: State, reason: str
) -> None:
    driver = open_driver(tmp_path, space, base, 2)
    first = driver.next()
    assert first is not None
    driver.finish(first.trial, refuse(message))
    (record,) = driver.study.records()
    assert (record.state, record.reason) == (state, reason)
    assert driver.retry_errored(["environment"]) == (["0000"] if state == State.FAILED else [])


def test_weights_are_never_a_setting_even_where_encoders_are_searched() -> None:
    searched = parse_space("parameters:\n  model.encoder: {values: [resnet18, resnet50]}\n", "space.yaml")
    assert searched.blamed("UserError: model.encoder=resnet5: no such encoder")
    assert searched.blamed("UserError: model: Unet with encoder resnet50 cannot be built")
    assert not searched.blamed("UserError: model.encoder_weights=imagenet: could not be loaded for resnet50")


def test_data_that_goes_away_in_the_middle_does_not_burn_what_is_left(
    tmp_path: Path, space: Space, base: Config
) -> None:
    driver = open_driver(tmp_path, space, base, 50)
    for _ in range(2):
        good = driver.next()
        assert good is not None
        train(driver, good, 0.5)
    used = 0
    while (assignment := driver.next()) is not None:
        used += 1
        driver.finish(assignment.trial, refuse("data.root=/data: there is no such folder"))
    assert used == 3
    assert "data.root=/data" in driver.given_up

    driver = open_driver(tmp_path, space, base, 50)
    assert driver.retry_errored(["environment"]) == ["0002", "0003", "0004"]
    before = {record.id: record.params for record in driver.study.records()}
    again = driver.next()
    assert again is not None
    train(driver, again, 0.6)
    assert driver.study.records()[int(again.trial)].params == before["0002"]
    assert driver.unfinished() == 50 - 3


def test_the_sampler_is_not_told_a_value_for_it(tmp_path: Path, space: Space, base: Config) -> None:
    from u2pl_ray.search.samplers.visible_trials import shown

    driver = open_driver(tmp_path, space, base, 3)
    first = driver.next()
    assert first is not None
    driver.finish(first.trial, refuse("data.root=/data: there is no such folder"))
    trials = driver.study.study.get_trials(deepcopy=False)
    told = shown(trials, space.distributions, "tpe", driver.study.study.directions)
    assert [(trial.state, trial.values, trial.constraints) for trial in told] == [(TrialState.FAIL, None, {})]
