"""Whatever names the best trial names the setting to use, also where another trial has the best value."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.search.fake_training import miou
from tests.search.small_search import SPACE, TEMPERATURE, train
from u2pl_ray.analysis.tables import best_of, print_best
from u2pl_ray.cli import main
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.experiment.replicates import add_replicates
from u2pl_ray.search.space.file import parse_space

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


def test_a_saved_view_pins_it(kept: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    monkeypatch.setattr("u2pl_ray.tracking.workspace.save", lambda *arguments: saved.append(arguments[-1]))
    with pytest.raises(SystemExit):
        main(["wandb", "workspace", str(kept.folder)])
    assert (saved[0].best, saved[0].paper) == ("0000", "0000")
