"""Whatever names the best trial names the setting to use, also where another trial has the best value."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.search.fake_training import miou
from tests.search.small_search import SPACE, TEMPERATURE, train, train_with
from u2pl_ray.analysis.figures.panel import picks
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.tables import best_of, print_best
from u2pl_ray.cli import main
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.budget import Budget
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.experiment.replicates import add_replicates
from u2pl_ray.search.experiment.verdict import against, verdict
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Metric
from u2pl_ray.search.study.comparison import Comparison
from u2pl_ray.search.study.trial_record import State

pytestmark = pytest.mark.usefixtures("two_cpus")


def lucky_once(config: Config, epoch: int) -> float:
    """The setting that is not the paper's was lucky on the search's seed, and is worse on all others."""
    luck = 0.0 if config.method.contrastive.temperature == 0.5 else 0.3 if config.seed == 0 else -0.1
    return miou(config, epoch) + luck


@pytest.fixture
def kept(tmp_path: Path, base: Config) -> Experiment:
    """A search whose answer is to keep the paper's setting (0000); 0001 has the best value."""
    space = parse_space(SPACE, "s")
    made = plan_search(base, space, name="kept", trials=2, storage_path=tmp_path, scheduler="none").create()
    made.study().enqueue({TEMPERATURE: 0.4, "data.scale": [1.0, 1.0]}, "mine")
    train(made, value=lucky_once)
    again = add_replicates(made, 6)
    train(again, value=lucky_once)
    again.write_best()
    study = again.study()
    assert study.best() == study.record(1)
    return again


def test_export_writes_what_best_yaml_has(kept: Experiment, tmp_path: Path) -> None:
    written = (kept.folder / "best.yaml").read_text()
    assert written.startswith("# Keep the paper's setting (0000): ")
    for trial, same in ((), True), (("--trial", "0001"), False):
        target = tmp_path / f"exported{same}.yaml"
        with pytest.raises(SystemExit) as ended:
            main(["export", str(kept.folder), "--output", str(target), *trial])
        assert (ended.value.code or 0, target.read_text() == written) == (0, same)
    assert target.read_text().startswith("# Trial 0001 of kept")


def test_best_prints_the_answer(kept: Experiment) -> None:
    screen = io.StringIO()
    print_best(kept, Console(file=screen, soft_wrap=True))
    first, answer = screen.getvalue().splitlines()[:2]
    assert first.startswith("trial 0000 (completed")
    assert answer.startswith("Keep the paper's setting (0000)")
    assert json.loads(json.dumps(best_of(kept)))["answer"] == answer


def test_the_report_shows_it_as_the_best(kept: Experiment) -> None:
    assert [pick.label for pick in picks(analyse(kept))] == ["best 0000"]  # 0001 has the better value


def test_a_saved_view_pins_it(kept: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    monkeypatch.setattr("u2pl_ray.tracking.workspace.save", lambda *arguments: saved.append(arguments[-1]))
    with pytest.raises(SystemExit):
        main(["wandb", "workspace", str(kept.folder)])
    assert (saved[0].best, saved[0].paper) == ("0000", "0000")


def late(config: Config, epoch: int) -> float:
    """All settings are alike, but the paper's shows it in the last epoch."""
    behind = config.method.contrastive.temperature == 0.5 and epoch < config.train.epochs
    return (0.1 if behind else 0.6) + 0.01 * math.sin(7.0 * config.seed + epoch + config.method.contrastive.temperature)


@pytest.fixture
def retried(tmp_path: Path, base: Config) -> Experiment:
    """A search whose first trial, the paper's setting, failed and was trained again after four others."""
    space = parse_space(SPACE, "s")
    made = plan_search(
        base, space, name="retried", trials=None, budget=Budget(trainings=9), storage_path=tmp_path, sampler="random"
    ).create()

    def driver() -> Driver:
        return Driver(made.study(), made.config, None, made.folder / "trials", allowance=made.allowance)

    first = driver()
    failed = first.next()
    assert failed is not None
    first.finish(failed.trial, Outcome(State.FAILED, "environment", "no such file: data"))
    train_with(first, most=4, value=late)
    again = driver()
    assert again.retry_errored(("environment",)) == ["0000"]
    train_with(again, value=late)
    made.write_best()
    return made


def test_all_point_at_the_retry_of_the_paper_s_setting(retried: Experiment) -> None:
    study = retried.study()
    (again,) = [record for record in study.records() if record.retries == 0]
    assert (again.state, again.note) == (State.COMPLETED, "paper")  # the scheduler may not stop it, as it may not 0000
    judgement = retried.judgement(study)
    assert judgement.use == judgement.reference == judgement.labels[0] == judgement.labels[again.number] == again.id
    assert any(it.replicate and it.companion.of == again.number for it in study.all_records() if it.companion)
    assert retried.best(study) == again
    assert retried.status()["best"] == again.id
    analysis = analyse(retried)
    assert analysis.best == analysis.paper == again
    written = (retried.folder / "best.yaml").read_text()
    assert written.startswith(f"# Keep the paper's setting ({again.id})")
    assert f"# Trial {again.id} of retried: val/miou {again.value} after 9 epochs." in written
    print_best(retried, Console(file=(screen := io.StringIO()), soft_wrap=True))
    assert screen.getvalue().startswith(f"trial {again.id} (completed, 9 epochs)")


def test_a_difference_has_the_sign_of_the_metric(kept: Experiment) -> None:
    """Where it is minimized, what is better lies below 0."""
    judgement = kept.judgement(kept.study())
    lower = replace(judgement, space=replace(kept.space, metric=Metric("val/miou", maximize=False)))
    told = lower.answer
    assert told is not None
    assert told.difference > 0
    assert f": {-told.difference:+.4f} student mIoU ({-told.high:+.4f} .. {-told.low:+.4f})." in verdict(lower)
    comparison = Comparison("0013", 3, 0.99, 0.95, 0.0659, 0.05, 0.08)
    said = against(comparison, "supervised training", Metric("val/loss", maximize=False))
    assert said.endswith(": -0.0659 val/loss (-0.0800 .. -0.0500), on 3 new seeds")
    assert against(comparison, "it", Metric()).endswith(": +0.0659 student mIoU (+0.0500 .. +0.0800), on 3 new seeds")
