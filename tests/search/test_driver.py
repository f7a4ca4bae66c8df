"""The driver against a training that is a function, killed and continued at every point where it could be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.search.driven import EPOCHS, Recorder, metrics, open_driver, open_study, search, story
from tests.search.kill_loop import KILL_POINTS, kill_until_it_ends
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State


@pytest.mark.parametrize("point", KILL_POINTS)
def test_killed_before_and_after_every_write_it_is_the_same_search(
    point: str, tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    search(open_driver(whole, space, base))
    expected = story(whole, space)
    assert {state for state, *_ in expected} == {State.COMPLETED, State.STOPPED}

    pieces = tmp_path / "pieces"
    checkpoint: dict[str, Any] = {}
    pieces.mkdir()
    open_study(pieces, space)
    kills = kill_until_it_ends(
        [KILL_POINTS[point]],
        monkeypatch,
        lambda: search(open_driver(pieces, space, base), checkpoint),
        lambda kills: 1 + kills % 5,
    )
    assert kills > 20
    assert story(pieces, space) == expected


def test_events(tmp_path: Path, space: Space, base: Config) -> None:
    recorder = Recorder()
    driver = open_driver(tmp_path, space, base, 1, recorder)
    assignment = driver.next()
    assert assignment is not None
    driver.report("0000", metrics(assignment.config, 1))
    driver = open_driver(tmp_path, space, base, 1, recorder)
    search(driver)
    assert recorder.events == [
        ("started", "0000", 0),
        ("epoch", "0000", 1),
        ("started", "0000", 1),
        ("known", "0000", 1),
        *(("epoch", "0000", epoch) for epoch in range(2, EPOCHS + 1)),
        ("finished", "0000", State.COMPLETED),
    ]


def test_a_listener_that_raises_does_no_harm(tmp_path: Path, space: Space, base: Config) -> None:
    class Broken(Listener):
        def epoch_done(self, *arguments: Any) -> None:
            raise RuntimeError("broken")

    recorder = Recorder()
    search(open_driver(tmp_path, space, base, 2, Broken(), recorder))
    assert ("finished", "0000", State.COMPLETED) in recorder.events


def test_never_more_than_asked_and_running_ones_first(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base, 3)
    assert [driver.next().trial for _ in range(2)] == ["0000", "0001"]  # type: ignore[union-attr]
    driver = open_driver(tmp_path, space, base, 3)
    assignments = [driver.next() for _ in range(4)]
    assert [assignment and assignment.trial for assignment in assignments] == ["0000", "0001", "0002", None]
    assert driver.unfinished() == 3


def test_reports_that_come_twice_or_late(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base)
    assignment = driver.next()
    assert assignment is not None
    config = assignment.config
    for epoch in (1, 1, 2, 1, 3):
        assert not driver.report("0000", metrics(config, epoch))
    assert list(driver.study.record(0).values) == [1, 2, 3]
    driver.finish("0000", Outcome(State.FAILED, "error"))
    assert driver.report("0000", metrics(config, 4))
    assert list(driver.study.record(0).values) == [1, 2, 3]


def test_a_report_the_study_missed_is_made_up_for(
    tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = open_driver(tmp_path, space, base)
    assignment = driver.next()
    assert assignment is not None

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(driver.study, "report", full)
        with pytest.raises(OSError, match="No space"):
            driver.report("0000", metrics(assignment.config, 1))
    driver.report("0000", metrics(assignment.config, 2))
    assert list(driver.study.record(0).values) == [1, 2]


def test_each_trials_configuration_is_on_disk(tmp_path: Path, space: Space, base: Config) -> None:
    driver = open_driver(tmp_path, space, base)
    assignment = driver.next()
    assert assignment is not None
    assert overrides.load(tmp_path / "trials" / "0000" / "config.yaml") == assignment.config


def test_a_proposals_configuration_is_validated_once(
    tmp_path: Path, space: Space, base: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for: at every epoch, and for the trial's process."""
    validated: list[Any] = []
    validate = overrides.validate

    def counting(tree: Mapping[str, Any], source: str = "config") -> Config:
        validated.append(tree)
        return validate(tree, source)

    driver = open_driver(tmp_path, space, base, 4)
    monkeypatch.setattr(overrides, "validate", counting)
    search(driver)
    assert len(driver.study.records()) == 4
    assert len(validated) == 4
