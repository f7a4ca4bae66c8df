"""Which trainings say what unlabeled images are worth, and what is concluded from them; without Ray."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from tests.search.small_search import train
from u2pl_ray.analysis.answer import answer
from u2pl_ray.analysis.label_worth import print_worth, worth, write_worth
from u2pl_ray.analysis.load import analyse
from u2pl_ray.cli import continuing, main
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment import plan
from u2pl_ray.search.experiment.confirm import plan_confirmation
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.experiment.worth import plan_worth
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.storage.place import locate
from u2pl_ray.search.study.trial_record import State

pytestmark = pytest.mark.usefixtures("two_cpus")

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}
  optim.lr: {value: 0.25}
"""


def miou(config: Config, epoch: int) -> float:
    """Twice the labels bring 0.04; unlabeled images 0.02, half of that; the temperature a little."""
    noise = 0.001 * math.sin(config.seed)
    if config.method.name == "supervised":
        return 0.5 + 0.04 * math.log2(config.data.labeled_share) + noise
    return 0.52 - 0.01 * abs(math.log(config.method.contrastive.temperature / 0.5)) * (config.seed == 0) + noise


@pytest.fixture
def searched(tmp_path: Path, base: Config) -> Experiment:
    made = plan_search(
        base, parse_space(SPACE, "s"), name="a", trials=4, storage_path=tmp_path, scheduler="none", baselines=["none"]
    )
    experiment = made.create()
    train(experiment, value=miou)
    return experiment


@pytest.mark.parametrize("verb", ["worth", "confirm"])
def test_its_place_is_held_while_the_cluster_is_asked(
    searched: Experiment, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two who type it at the same time do not both begin; one that comes to nothing leaves nothing behind."""
    refused: list[str] = []

    def connect() -> None:
        place = locate(f"a-{verb}", searched.place.storage)
        with pytest.raises(UserError) as caught, place.starting():
            pass
        refused.append(str(caught.value))
        raise UserError("no cluster today")

    monkeypatch.setattr(plan, "connect", connect)
    monkeypatch.setattr(continuing, "check_data", lambda config: None)
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main([verb, searched.name, "--storage-path", searched.place.storage])
        assert ended.value.code == 2
    assert [line.split(" by ")[0] for line in refused] == [f"a-{verb}: is being run"] * 2
    assert "no cluster today" in capsys.readouterr().err


def test_what_is_trained_and_concluded(searched: Experiment) -> None:
    experiment = plan_worth(searched, seeds=2).create()
    begun = train(experiment, 1, miou)
    assert worth(experiment)["worth"] is None
    trained = begun + train(experiment, value=miou)
    best = searched.best(searched.study())
    assert best is not None
    kinds = [(config.method.name, config.data.labeled_share) for config in trained]
    assert kinds == [("u2pl", 1.0), ("supervised", 1.0), ("supervised", 0.5), ("supervised", 0.25)] * 2
    # Common seeds, which no other trial has; the best setting's temperature and rate everywhere.
    assert [config.seed for config in trained] == [trained[0].seed] * 4 + [trained[4].seed] * 4
    assert len({trained[0].seed, trained[4].seed, searched.config.seed}) == 3
    temperature = best.params["method.contrastive.temperature"]
    assert {config.method.contrastive.temperature for config in trained} == {temperature}
    assert {config.optim.lr for config in trained} == {0.25}

    told = worth(experiment)
    listed, unlabeled = experiment.options.images
    assert [(row["method"], row["labeled"], row["unlabeled"]) for row in told["trainings"]] == [
        ("u2pl", listed, unlabeled),
        *(("supervised", round(share * listed), 0) for share in (1.0, 0.5, 0.25)),
    ]
    assert told["worth"]["ahead"] == pytest.approx(0.02, abs=1e-9)
    page = io.StringIO()
    print_worth(experiment, Console(file=page, width=120))
    assert page.getvalue().count("supervised ") >= 3
    assert "labeled images" in page.getvalue()
    assert json.loads(write_worth(experiment).read_text())["of"] == "a"
    assert answer(analyse(experiment)).sentence == " ".join(told["sentences"])
    assert Experiment.open(str(experiment.folder)).options.worth_of == "a"


def test_a_search_on_a_share_of_the_labels_and_a_training_that_broke(searched: Experiment, base: Config) -> None:
    data = base.data.model_copy(update={"labeled_share": 0.5})
    plan = plan_search(
        base.model_copy(update={"data": data}), parse_space(SPACE, "s"), name="half", trials=2, baselines=["none"],
        storage_path=searched.place.storage,
    )  # fmt: skip
    half = plan.create()
    train(half, value=miou)
    experiment = plan_worth(half, seeds=1).create()
    driver = Driver(experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials")
    assert driver.next() is not None
    broken = driver.next()
    assert broken is not None
    driver.finish(broken.trial, Outcome(State.FAILED, "environment"))
    driver = Driver(experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials")
    assert driver.retry_errored() == [broken.trial]
    train(experiment, value=miou)
    told = worth(experiment)
    listed = experiment.options.images[0]
    counted = {(row["method"], row["labeled"]): len(row["values"]) for row in told["trainings"]}
    # One image is the least: an eighth of them would be the same training again.
    assert counted == {("u2pl", round(listed / 2)): 1, ("supervised", round(listed / 2)): 1, ("supervised", 1): 1}
    assert told["worth"]["pairs"] == 1


def test_trainings_that_diverged_are_counted_and_end_the_claim(searched: Experiment) -> None:
    experiment = plan_worth(searched, seeds=2).create()
    driver = Driver(experiment.study(), experiment.config, experiment.options.trials, experiment.folder / "trials")
    diverged = driver.next()
    assert diverged is not None
    driver.report(diverged.trial, {"training_iteration": 1, "val/miou": 0.9})
    driver.finish(diverged.trial, Outcome(State.FAILED, "nan", "the training loss is nan"))
    (lost,) = worth(experiment)["sentences"]
    name = f"u2pl, {experiment.options.images[0]} labeled"
    assert lost == f"Trainings diverged (1 of {name}) and have no score, so nothing is said in labeled images."
    train(experiment, value=miou)
    told = worth(experiment)
    assert [(row["diverged"], len(row["values"])) for row in told["trainings"]] == [(1, 1), (0, 2), (0, 2), (0, 2)]
    assert told["sentences"][-1] == lost
    assert "are worth" not in " ".join(told["sentences"])
    print_worth(experiment, Console(file=(page := io.StringIO()), width=160))
    assert lost in page.getvalue()


def test_what_cannot_be_compared_is_refused(tmp_path: Path, searched: Experiment, base: Config) -> None:
    with pytest.raises(UserError, match="--seeds 0"):
        plan_worth(searched, seeds=0)
    fresh = plan_search(base, parse_space(SPACE, "s"), name="b", trials=4, storage_path=tmp_path).create()
    with pytest.raises(UserError, match="no trial has succeeded yet"):
        plan_worth(fresh, seeds=1)


def test_the_next_command_names_the_storage(tmp_path: Path, base: Config) -> None:
    fresh = plan_search(base, parse_space(SPACE, "s"), name="c", trials=4, storage_path=tmp_path).create()
    told = f"see `u2pl-ray status c --storage-path {tmp_path}`"
    with pytest.raises(UserError, match=told):
        plan_worth(fresh, seeds=1)
    with pytest.raises(UserError, match=told):
        plan_confirmation(fresh, top=1, seeds=1)
