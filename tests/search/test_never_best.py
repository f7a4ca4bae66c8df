"""A training that failed is never the best, whatever it reported before it did."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.search.small_search import SPACE
from u2pl_ray.analysis.tables import best_of, print_summary
from u2pl_ray.cli import main
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment, Summary
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.search.trials.retention import discard_checkpoints

pytestmark = pytest.mark.usefixtures("two_cpus")

NAN = Outcome(State.FAILED, "nan", "the training loss is nan in epoch 3")


@pytest.fixture
def driven(tmp_path: Path, base: Config) -> tuple[Experiment, Driver]:
    """A search of three trials of which nothing has run."""
    plan = plan_search(base, parse_space(SPACE, "s"), name="a", trials=3, storage_path=tmp_path, scheduler="none")
    made = plan.create()
    return made, Driver(made.study(), made.config, 3, made.folder / "trials")


def start(driver: Driver, *values: float) -> str:
    """Start the next trial and report these values; return its id."""
    assignment = driver.next()
    assert assignment is not None
    for epoch, value in enumerate(values, 1):
        driver.report(assignment.trial, {"training_iteration": epoch, "val/miou": value})
    return assignment.trial


def test_one_that_runs_leads_over_one_that_diverged(driven: tuple[Experiment, Driver]) -> None:
    made, driver = driven
    diverged = start(driver, 0.6, 0.7)
    assert made.write_best() is not None
    driver.finish(diverged, NAN)
    out_of_memory = start(driver, 0.8)
    driver.finish(out_of_memory, Outcome(State.INFEASIBLE, "memory", "out of memory"))
    assert made.study().best() is None
    assert made.write_best() is None
    assert not (made.folder / "best.yaml").exists()  # it was of the trial that has diverged since
    running = start(driver, 0.2, 0.3)
    assert made.status()["best"] == best_of(made)["id"] == running
    path = made.write_best()
    assert path is not None
    assert f"# Trial {running} of a: val/miou 0.3" in path.read_text()


def test_that_all_failed_is_said(driven: tuple[Experiment, Driver], capsys: pytest.CaptureFixture[str]) -> None:
    made, driver = driven
    for _ in range(3):
        driver.finish(start(driver, 0.6, 0.7), NAN)
    with pytest.raises(UserError, match=r"a: no trial succeeded: 0000, 0001, 0002 \(nan\): the training loss is nan"):
        best_of(made)
    for verb in ("export", "evaluate"):
        with pytest.raises(SystemExit) as ended:
            main([verb, "a", "--storage-path", str(made.folder.parent)])
        assert ended.value.code == 2
        assert "no trial succeeded: 0000, 0001, 0002 (nan)" in capsys.readouterr().err
    screen = io.StringIO()
    print_summary(made, Summary(made.study().all_records(), made.study().best(), True), Console(file=screen, width=200))
    assert "no trial succeeded:" in screen.getvalue()


def test_a_stopped_trial_keeps_its_checkpoint_before_a_better_one_that_failed(tmp_path: Path) -> None:
    stopped = TrialRecord("0000", 0, State.STOPPED, values={1: 0.2}, value=0.2)
    diverged = TrialRecord("0001", 1, State.FAILED, values={1: 0.7}, reason="nan")
    for record in (stopped, diverged):
        (tmp_path / record.id / "train" / "epoch_0001").mkdir(parents=True)
    discard_checkpoints([stopped, diverged], True, str(tmp_path), keep=1)
    assert (tmp_path / "0000" / "train").exists()
    assert not (tmp_path / "0001" / "train").exists()
