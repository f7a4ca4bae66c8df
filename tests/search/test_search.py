"""Searches on a real local Ray, over trainings without a model."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_training import DIVERGES, ENDS_EARLY, RAISES, TOO_LARGE
from optuna.trial import TrialState

from tests.search.driver_process import run_driver
from tests.search.small_search import never_killed, story
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State, TrialRecord

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

PLAIN = "fake_training:build_plain"


def with_ends(*ends: float) -> Space:
    """A space of temperatures and of ways to end, see `fake_training`."""
    return parse_space(
        "parameters: {method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}, "
        f"method.alpha.end: {{values: {list(ends)}}}}}",
        "s",
    )


class Ends(Listener):
    """What the search announced of each trial's end."""

    def __init__(self) -> None:
        self.ends: dict[str, TrialRecord] = {}
        self.live: set[str] = set()
        self.most_live = 0
        self.closed = 0

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        self.live.add(trial.id)
        self.most_live = max(self.most_live, len(self.live))

    def trial_finished(self, trial: TrialRecord) -> None:
        assert trial.id not in self.ends
        self.ends[trial.id] = trial
        self.live.discard(trial.id)

    def close(self) -> None:
        self.closed += 1


def test_every_end_is_told_as_it_was(tmp_path: Path, base: Config) -> None:
    space = with_ends(0.0, RAISES, DIVERGES, TOO_LARGE, ENDS_EARLY)
    plan = plan_search(base, space, name="a", trials=7, storage_path=tmp_path, trainer=PLAIN)
    made, ends = plan.create(), Ends()
    fine, poor = 0.5, 0.06  # the best temperature, where the paper's setting is, and one that the scheduler stops
    cases = [(fine, RAISES), (fine, DIVERGES), (fine, TOO_LARGE), (fine, ENDS_EARLY), (poor, 0.0), (poor, 0.0)]
    for temperature, end in cases:
        made.study().enqueue({"method.contrastive.temperature": temperature, "method.alpha.end": end}, "case")
    summary = made.run([ends])
    assert summary.finished
    assert ends.closed == 1
    assert ends.most_live == 2  # CPUs

    records = summary.trials
    assert [(record.state, record.reason, record.epochs) for record in records] == [
        (State.COMPLETED, "", 9),
        (State.FAILED, "error", 1),
        (State.FAILED, "nan", 1),
        (State.INFEASIBLE, "memory", 0),
        (State.FAILED, "error", 1),
        (State.STOPPED, "", 5),
        (State.STOPPED, "", 5),
    ]
    for record, words in zip(
        records[1:5], ("broke", "loss is nan", "can't allocate", "ended after 1 of 9"), strict=True
    ):
        assert words in record.detail
    assert {record.id: record for record in records} == ends.ends
    optuna_trials = made.study().study.trials
    assert [trial.state for trial in optuna_trials] == [
        TrialState.COMPLETE, *[TrialState.FAIL] * 4, TrialState.PRUNED, TrialState.PRUNED,
    ]  # fmt: skip
    for record, trial in zip(records, optuna_trials, strict=True):
        reported = {metrics["training_iteration"]: metrics["val/miou"] for metrics in made.epochs(record.id)}
        assert trial.intermediate_values == record.values == reported
        assert trial.value == (None if trial.state == TrialState.FAIL else record.values[record.epochs])

    assert summary.best is not None
    assert summary.best.id == "0000"
    assert overrides.load(tmp_path / "a" / "best.yaml").method.contrastive.temperature == 0.5
    assert not (tmp_path / "a" / "tune").exists()
    assert not (tmp_path / "a" / "driver.lease").exists()
    assert made.run([ends]).trials == records  # nothing left to do


def test_a_search_that_gives_up_is_not_to_be_started_again(tmp_path: Path, base: Config) -> None:
    plan = plan_search(base, with_ends(TOO_LARGE), name="a", trials=9, storage_path=tmp_path, trainer=PLAIN)
    summary = plan.create().run()
    assert "failed alike" in summary.reason
    assert (summary.finished, summary.succeeded, summary.noticed) == (False, False, False)


def test_a_trial_whose_process_dies_continues(tmp_path: Path, base: Config, space: Space) -> None:
    class Assassin(Listener):
        """Kills the trial's process, twice."""

        def __init__(self) -> None:
            self.kills = 0
            self.notes: list[str] = []

        def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
            if metrics["training_iteration"] in (3, 5) and self.kills < 2:
                self.kills += 1
                os.kill(metrics["process"], signal.SIGKILL)

        def note(self, text: str) -> None:
            self.notes.append(text)

    assassin = Assassin()
    plan = plan_search(base, space, name="a", trials=1, storage_path=tmp_path, trainer="fake_training:build_slow")
    (record,) = plan.create().run([assassin]).trials
    assert assassin.kills == 2
    assert (record.state, list(record.values)) == (State.COMPLETED, list(range(1, 10)))
    assert assassin.notes == ["0000 lost its process and is started again"] * 2


@pytest.mark.slow
def test_a_trial_whose_process_always_dies_is_lost(tmp_path: Path, base: Config, space: Space) -> None:
    plan = plan_search(base, space, name="a", trials=1, storage_path=tmp_path, trainer="fake_training:build_fatal")
    (record,) = plan.create().run().trials
    assert (record.state, record.reason) == (State.FAILED, "lost")


DRIVER = """
import sys
from pathlib import Path
from u2pl_ray.config import overrides
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space

class Talk(Listener):
    def trial_started(self, trial, config): print("started", trial.id, trial.epochs, flush=True)
    def epoch_done(self, trial, metrics, best): print("epoch", trial.id, metrics["training_iteration"], flush=True)
    def note(self, text): print(text, flush=True)

folder, concurrent = Path(sys.argv[1]), int(sys.argv[2])
if (folder / "a").exists():
    experiment = Experiment.open("a", folder)
else:
    base = overrides.load(folder / "base.yaml")
    space = parse_space((folder / "space.yaml").read_text(), "space.yaml")
    experiment = plan_search(
        base, space, name="a", trials=int(sys.argv[3]), storage_path=folder, max_concurrent=concurrent,
        sampler_options={"n_startup_trials": 2}, trainer="fake_training:build_slow",
    ).create()
print("finished", experiment.run([Talk()]).finished, flush=True)
"""


@pytest.mark.parametrize(
    ("concurrent", "trials", "moments"),
    [
        (1, 3, {"epoch 0000 4": signal.SIGKILL, "started 0001": signal.SIGTERM}),
        pytest.param(
            *(2, 6),
            {"started 0000": signal.SIGKILL, "epoch 0000 4": signal.SIGINT, "epoch 0002 1": signal.SIGKILL},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_interrupted_and_continued(
    tmp_path: Path, base: Config, space: Space, concurrent: int, trials: int, moments: dict[str, signal.Signals]
) -> None:
    """Signals to a search's driver; one trial at a time it ends as the same search as one never interrupted.

    The drivers join the cluster that is there; those that bring their own are in test_s3.py and test_wandb.py.
    """
    import ray

    (tmp_path / "space.yaml").write_text(space.text)
    (tmp_path / "base.yaml").write_text(overrides.dump(base))
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    for moment, kind in {**moments, "never": None}.items():
        command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(tmp_path), str(concurrent), str(trials)]
        lines = run_driver(command, environment, moment, kind)
        if kind in (signal.SIGINT, signal.SIGTERM):
            assert lines[-1] == "finished False"
            assert any(line.startswith("stopping") for line in lines)
    assert lines[-1] == "finished True"
    killed = Experiment.open("a", tmp_path)
    records = killed.study().records()
    assert [record.id for record in records] == [f"{number:04d}" for number in range(trials)]
    assert {record.state for record in records} <= {State.COMPLETED, State.STOPPED}
    for record in records:
        told = {metrics["training_iteration"]: metrics["val/miou"] for metrics in killed.epochs(record.id)}
        assert told == record.values
        assert list(told) == list(range(1, len(told) + 1))
    if concurrent == 1:
        (tmp_path / "whole").mkdir()
        assert story(records) == story(never_killed(killed, tmp_path / "whole"))


def test_two_drivers_are_one_too_many(tmp_path: Path, base: Config, space: Space) -> None:
    from u2pl_ray.search.storage.lease import Lease
    from u2pl_ray.search.storage.lease_marks import FileMark

    plan = plan_search(base, space, name="a", trials=1, storage_path=tmp_path, trainer=PLAIN)
    made = plan.create()
    with (
        Lease(FileMark(made.folder / "driver.lease"), "a"),
        pytest.raises(UserError, match="a: is being run by process"),
    ):
        made.run()
    assert made.status()["trials"][0]["state"] == "PENDING"


@pytest.mark.slow
def test_over_ray_train(tmp_path: Path, base: Config) -> None:
    """Two workers a trial fill the cluster: a trial that ends in any way must leave it free for the next."""
    config = overrides.apply(base, {"workers": 2})
    space = with_ends(0.0, DIVERGES, TOO_LARGE)
    plan = plan_search(config, space, name="a", trials=5, storage_path=tmp_path, trainer="fake_training:build_torch")
    made = plan.create()
    for temperature, end in [(0.06, 0.0), (0.5, DIVERGES), (0.5, TOO_LARGE), (0.06, 0.0)]:
        made.study().enqueue({"method.contrastive.temperature": temperature, "method.alpha.end": end}, "case")
    records = made.run().trials
    assert [(record.state, record.reason, record.epochs) for record in records] == [
        (State.COMPLETED, "", 9),
        (State.STOPPED, "", 5),
        (State.FAILED, "nan", 1),
        (State.INFEASIBLE, "memory", 0),
        (State.STOPPED, "", 5),
    ]
    assert [metrics["workers"] for metrics in made.epochs("0000")] == [2.0] * 9
    assert made.epochs("0000")[-1]["checkpoint"] == "train/epoch_00009"
    checkpoint = made.checkpoint("0000")
    assert checkpoint is not None
    assert (Path(checkpoint) / "state.json").read_text() == "9"
