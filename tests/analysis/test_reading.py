"""Faults planted in real trainings are named; a sound training has none of them."""

from pathlib import Path

import pytest

from tests.analysis.local_search import SETTINGS, create, run
from tests.train.conftest import tiny
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.reading import Finding, read
from u2pl_ray.search.experiment.experiment import Experiment

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.1, max: 1.0}
"""
FAULTS = {
    "alpha": ("method.alpha.start=0.9", ["alpha", "method.alpha.start=0.9", "pseudo-label"]),
    "capacity": ("method.memory_bank.capacity=1", ["1 key,", "method.memory_bank.capacity=1", "over and over"]),
    "rank_window": ("method.contrastive.low_rank=5", ["6 classes", "low_rank=5", "only 1 class", "low_rank=2"]),
}


def trained(storage: Path, *overrides: str) -> list[Finding]:
    experiment = run(create(storage, tiny(*SETTINGS, *overrides), SPACE, trials=1))
    return read(analyse(experiment))


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_named(tmp_path: Path, kind: str) -> None:
    override, words = FAULTS[kind]
    findings = {finding.kind: finding for finding in trained(tmp_path, override)}
    assert findings.keys() & FAULTS.keys() == {kind}
    assert findings[kind].severe
    assert findings[kind].trials == ("0000",)
    told = f"{findings[kind].title} {findings[kind].text}"
    for word in ["0000", "cause", *words]:
        assert word in told


def test_a_sound_training_has_no_severe_finding(tmp_path: Path) -> None:
    assert not [finding for finding in trained(tmp_path) if finding.severe]


def test_a_training_without_unlabeled_images_is_read_too(tmp_path: Path) -> None:
    assert trained(tmp_path, "method.name=supervised", "train.epochs=1") == []


def test_failures_leave_nothing_to_read(diverged: Experiment) -> None:
    assert read(analyse(diverged)) == []
