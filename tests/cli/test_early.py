"""What is quickly found is refused before data, weights and network are looked at; a finished experiment says so."""

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.analysis.local_search import create
from tests.analysis.local_search import run as train
from tests.cli.conftest import Run
from tests.train.conftest import tiny
from u2pl_ray.cli import continuing, running, searching, training
from u2pl_ray.search.experiment import plan
from u2pl_ray.search.experiment.elapsed import seconds_an_epoch
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.formatting import duration
from u2pl_ray.search.storage.place import find

SPACE = "parameters:\n  method.contrastive.temperature: {min: 0.1, max: 1.0}\n"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of two trials, called done."""
    storage = tmp_path_factory.mktemp("kept")
    train(create(storage, tiny(), SPACE, trials=2, name="done"))
    return storage


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the long look at data and network would have begun, and where a cluster would have been asked."""
    seen: list[str] = []
    for module in (continuing, running, searching, training):
        monkeypatch.setattr(module, "check_data", lambda config: seen.append("data"))
    monkeypatch.setattr(searching, "print_estimate", lambda plan, price: seen.append("steps"))
    monkeypatch.setattr(plan, "connect", lambda: seen.append("cluster"))
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
    return seen


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train", "quickstart", "--name", "done"], ["--name done", "exists already", "resume done --storage-path"]),
        (["search", "quickstart", "--space", "paper", "--name", "done"], ["--name done", "exists already"]),
        (["search", "quickstart", "--space", "paper", "--sampler", "tpa"], ["did you mean 'tpe'"]),
        (["search", "quickstart", "--space", "paper", "--scheduler-option", "grace=100"], ["grace=100 is never"]),
        (
            ["search", "quickstart", "method.warmup_epochs=0", "--space", "paper", "--scheduler-option", "grace=100"],
            ["grace=100 is never reached: the first stop would be after epoch 100, and train.epochs=24"],
        ),
        (["confirm", "done", "--top", "0"], ["--top 0"]),
        (["extend", "done"], ["give --trials +N"]),
        (["extend", "done", "--space", "papr"], ["did you mean 'paper'"]),
    ],
)
def test_refused_before_the_long_look(
    run: Run, kept: Path, looks: list[str], command: list[str], words: list[str]
) -> None:
    before = sorted(kept.rglob("*"))
    code, _, complaint = run(*command, "--storage-path", kept)
    assert code == 2, complaint
    for word in words:
        assert word in complaint
    assert looks == []
    assert sorted(kept.rglob("*")) == before


def test_one_that_somebody_runs_is_refused_before_the_long_look(run: Run, kept: Path, looks: list[str]) -> None:
    with Experiment.open("done", kept).place.session():
        for verb in (["resume", "done"], ["extend", "done", "--trials", "+1"]):
            code, _, complaint = run(*verb, "--storage-path", kept)
            assert (code, "is being run by process" in complaint) == (2, True), complaint
    assert looks == []


def test_data_and_network_are_looked_at_before_the_cluster(run: Run, kept: Path, looks: list[str]) -> None:
    code, said, complaint = run("search", "quickstart", "--space", "paper", "--dry-run", "--storage-path", kept)
    assert code == 0, complaint
    assert looks == ["data", "cluster", "steps"]
    (note,) = [line for line in said.splitlines() if "is the paper's" in line]
    assert "method.unsupervised_weight=0.3 (paper: 1.0)" in note


def test_confirm_looks_at_data_and_network_too(run: Run, kept: Path, looks: list[str]) -> None:
    code, said, complaint = run("confirm", "done", "--dry-run", "--storage-path", kept)
    assert (code, "trial 0  paper" in said) == (0, True), complaint
    assert re.search(r"^time +about .*: 6 trainings, 2 at once, at the pace of done$", said, re.MULTILINE), said
    assert looks == ["data", "cluster"]


def test_worth_says_how_long_it_takes(run: Run, kept: Path, looks: list[str]) -> None:
    code, said, complaint = run("worth", "done", "--dry-run", "--seeds", 20, "--storage-path", kept)
    assert code == 0, complaint
    (line,) = [line for line in said.splitlines() if line.startswith("time ")]
    search = Experiment.open("done", kept)
    pace = seconds_an_epoch(search)["u2pl"]
    ends = [(record.started, record.finished) for record in search.study().records()]
    took = [(finished - started).total_seconds() for started, finished in ends if started and finished]
    epochs = search.config.train.epochs
    assert len(took) == 2
    assert pace == pytest.approx(sum(took) / 2 / epochs)
    trainings = said.count("supervised 1/") + said.count("  supervised: ") + said.count("  u2pl: ")
    expected = duration(timedelta(seconds=trainings / 2 * pace * epochs))
    assert f"about {expected}: {trainings} trainings, 2 at once" in line, said
    assert "supervised counted like the slowest method there" in line


def test_a_single_training_is_called_one_and_cannot_be_extended(run: Run, kept: Path, looks: list[str]) -> None:
    train(create(kept, tiny(), "parameters: {seed: {values: [0]}}", trials=1, name="one"))
    at = ("--storage-path", kept)
    said = run("status", "one", "--once", *at)[1]
    assert re.search(r"^ *result +student mIoU 0\.\d+, trial 0000 after 3 epochs *$", said, re.MULTILINE), said
    assert "leader" not in said
    said = run("resume", "one", *at)[1]
    assert "the training: student mIoU 0." in said
    assert "extend" not in said
    code, _, complaint = run("extend", "one", "--trials", "+2", *at)
    assert (code, "one: is one training, and only a search can be extended" in complaint) == (2, True), complaint
    assert f"u2pl-ray train {kept}/one/best.yaml train.epochs=6" in complaint
    assert looks == []
    shutil.rmtree(kept / "one")


def test_a_finished_search_says_so_and_what_is_next(run: Run, kept: Path, looks: list[str]) -> None:
    code, said, complaint = run("resume", "done", "--storage-path", kept)
    assert code == 0, complaint
    assert "done is finished: nothing is left to run" in said
    assert "Trial 000" in said
    for command in ("extend done", "confirm done", "report done", "method.name=supervised --name done-supervised"):
        assert f"u2pl-ray {command}" in said or command in said
    assert "--watch" not in said  # it is not held any more when this is printed, so it does not count as running
    assert 'class="finished">finished' in (kept / "done" / "report.html").read_text("utf-8")
    assert looks == []


def test_status_as_data_has_what_a_script_needs(run: Run, kept: Path) -> None:
    status = json.loads(run("status", "done", "--json", "--storage-path", kept)[1])
    assert status["state"] == "finished"
    assert status["budget"]["trials"] == {"limit": 2, "used": 2}
    assert status["seconds_left"] is None
    assert status["answer"]["sentence"].startswith("Trial 000")
    assert {"kind", "title", "text", "trials", "severe"} == set().union(*status["findings"]) or not status["findings"]


def test_a_training_and_a_resumed_one_can_be_stopped_before_ray_is_there(
    run: Run, kept: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def interrupted() -> None:
        seen.extend(name for name in ("new", "half") if find(name, kept).running())
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "connect", interrupted)
    create(kept, tiny(), SPACE, trials=2, name="half")
    for verb in (["train", "quickstart", "--name", "new"], ["resume", "half"]):
        assert run(*verb, "--storage-path", kept)[0] == 75
    assert seen == ["new", "half"]
    assert not find("new", kept).running()
    assert sorted(path.name for path in kept.iterdir()) == ["done", "half"]
    assert not (kept / "half" / "driver.lease").exists()
    shutil.rmtree(kept / "half")
