"""The example of `u2pl_ray.search`: plan, run and resume a search from Python, on a real local Ray."""

import subprocess
import sys
from pathlib import Path

import pytest

import u2pl_ray.search
from u2pl_ray.config.schema import Config
from u2pl_ray.search import Experiment, Listener, Summary, TrialRecord, extend, parse_space, plan_search

SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"


class Finished(Listener):
    def __init__(self) -> None:
        self.trials: list[str] = []

    def trial_finished(self, trial: TrialRecord) -> None:
        self.trials.append(trial.id)


@pytest.mark.ray
def test_a_search_is_planned_run_and_gone_on_with(
    ray_cluster: None, tmp_path: Path, base: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    space = parse_space(SPACE, "space.yaml")
    plan = plan_search(base, space, name="a", trials=2, storage_path=tmp_path, trainer="fake_training:build_plain")
    assert any(line.startswith("search       2 trials") for line in plan.lines())
    finished = Finished()
    capfd.readouterr()
    summary = plan.create().run([finished])
    assert isinstance(summary, Summary)
    assert summary.finished
    assert summary.best is not None
    assert sorted(finished.trials) == ["0000", "0001"]
    first = summary.trials
    more, _ = extend(Experiment.open("a", tmp_path), 1)
    summary = more.run()
    assert summary.finished
    assert summary.trials[:2] == first
    assert len(summary.trials) == 3
    assert summary.trials[2].state.finished
    assert capfd.readouterr() == ("", "")  # what people see is up to the listeners


def test_every_public_name_is_there_and_no_other() -> None:
    for name in u2pl_ray.search.__all__:
        assert getattr(u2pl_ray.search, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Driver'"):
        _ = u2pl_ray.search.Driver


def test_the_package_itself_imports_nothing() -> None:
    program = "import sys, u2pl_ray.search; print([m for m in ('optuna', 'ray', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
