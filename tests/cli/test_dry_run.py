"""`search --dry-run` measures, and writes nothing."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from u2pl_ray.cli import searching
from u2pl_ray.search.experiment import plan

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {min: 0.1, max: 1.0}
"""
_PRICE = "--price-per-gpu-hour"


@pytest.fixture
def search(run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Run":
    """A search of a space of one setting, on two CPUs without Ray."""
    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    return lambda *more: run("search", config, "--space", space, "--name", "mine", *more)


@pytest.mark.slow
def test_two_workers_are_measured_and_nothing_is_written(search: Run, storage: Path) -> None:
    settings = ["workers=2", "train.batch_size=4", "train.steps_per_epoch=2", "method.warmup_epochs=0"]
    code, said, told = search(*settings, "--trials", 5, "--baseline", "none", "--dry-run")
    assert code == 0, told
    lines = {line[:12].strip(): line[13:] for line in said.splitlines()}
    assert "GiB (CPU)" in lines["memory"]
    assert "s with unlabeled images and a full memory bank" in lines["a step"]
    assert "2 epochs of 2 steps" in lines["a training"]
    assert lines["a trial"].startswith("trains 1.")
    assert "worker-hours in" in lines["the search"]
    assert "with 1 trial at once: 5 trials" in lines["the search"]
    assert "one worker of" not in lines["measured"]
    assert "money" not in lines
    stages = [line.rpartition(" (")[0] for line in told.splitlines() if line.startswith("measuring")]
    assert len(set(stages)) == len(stages) == 3
    assert stages[0].startswith("measuring 1 of 1, the first trial's setting: starts 2 processes")
    assert stages[-1] == "measuring 1 of 1, the first trial's setting: done"
    assert told.startswith("dry run: looks at data and network, starts Ray, then measures some steps")
    assert not list(storage.rglob("*"))


def test_without_measuring_there_is_the_plan_alone(search: Run, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "print_estimate", lambda plan, price: pytest.fail("measured"))
    code, said, told = search("--trials", 5, "--dry-run", "--no-measure")
    assert (code, "measuring" in told) == (0, False), told
    assert "5 trials of at most 2 epochs" in said
    assert not list(storage.rglob("*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((_PRICE, "0", "--dry-run"), "--price-per-gpu-hour 0: give a number above 0"),
        ((_PRICE, "nan", "--dry-run"), "give a number above 0"),
        ((_PRICE, "2"), "--price-per-gpu-hour: goes with --dry-run"),
        (("--no-measure",), "--no-measure: goes with --dry-run"),
        ((_PRICE, "2", "--dry-run", "--no-measure"), "leave out --no-measure"),
        ((_PRICE, "2", "--dry-run"), "this search uses no GPU"),
    ],
)
def test_a_price_that_says_nothing(search: Run, storage: Path, options: tuple[str, ...], words: str) -> None:
    code, _, complaint = search(*options)
    assert (code, words in complaint) == (2, True), complaint
    assert not list(storage.rglob("*"))
