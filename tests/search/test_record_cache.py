"""A trial's record follows every change of the trial, in each kind of storage; unchanged, it is made once."""

from pathlib import Path

import pytest

from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State


@pytest.mark.parametrize("location", ["study.journal", "sqlite:///{}/study.db"])
def test_a_record_is_never_older_than_the_trial(tmp_path: Path, space: Space, location: str) -> None:
    where = location.format(tmp_path) if "://" in location else tmp_path / location
    study = TrialStudy.create(where, "a", space, SamplerChoice("random", 0, {}), SchedulerChoice("none", {}).build(9))
    first, second = study.start_new(), study.start_new()
    for epoch in (1, 2, 3):
        study.report(first.number, epoch, epoch / 10)
        for other in (study, TrialStudy.open(where, "a", space, study.sampler, study.pruner)):
            assert other.record(0).values == {step: step / 10 for step in range(1, epoch + 1)}
            assert [record.epochs for record in other.records()] == [epoch, 0]
    study.complete(first.number)
    study.fail(second.number, "error", "why")
    assert [(record.state, record.value, record.detail) for record in study.records()] == [
        (State.COMPLETED, 0.3, ""),
        (State.FAILED, None, "why"),
    ]
    assert study.records()[0].params == first.params
    if location == "study.journal":
        assert study.record(0) is study.record(0)
