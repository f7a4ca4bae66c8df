"""Faults planted in real trainings are named; a sound training has none of them."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.analysis.local_search import SETTINGS, create, run
from tests.train.conftest import tiny
from u2pl_ray.analysis.alarms import AlarmListener
from u2pl_ray.analysis.load import analyse
from u2pl_ray.analysis.reading import Finding, read
from u2pl_ray.analysis.rules import RULES, Trial
from u2pl_ray.analysis.status import as_data, picture
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.study.trial_record import State, TrialRecord

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.1, max: 1.0}
"""
FAULTS = {
    "alpha": ("method.alpha.start=0.9", ["alpha", "method.alpha.start=0.9", "pseudo-label"]),
    "capacity": ("method.memory_bank.capacity=1", ["1 key,", "method.memory_bank.capacity=1", "over and over"]),
    "no_contrast": (
        "method.contrastive.anchor_threshold=0.9999",
        ["no pixel is an anchor", "anchor_threshold=0.9999", "low_rank=2"],
    ),
    "rank_window": ("method.contrastive.low_rank=5", ["6 classes", "low_rank=5", "only 1 class", "low_rank=2"]),
}


def trained(storage: Path, *overrides: str) -> list[Finding]:
    return findings_of(run(create(storage, tiny(*SETTINGS, *overrides), SPACE, trials=1)))


def findings_of(experiment: Experiment) -> list[Finding]:
    analysis = analyse(experiment)
    findings = read(analysis)
    assert [it["kind"] for it in as_data(analysis)["findings"]] == [it.kind for it in findings]  # status --json
    page = io.StringIO()
    Console(file=page, width=1000).print(picture(analysis))
    assert all(it.title in page.getvalue() for it in findings[:3] if it.severe)  # status
    return findings


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_named(tmp_path: Path, kind: str) -> None:
    override, words = FAULTS[kind]
    epochs = 5 if kind == "alpha" else 3  # of the others the third epoch tells
    findings = {finding.kind: finding for finding in trained(tmp_path, override, f"train.epochs={epochs}")}
    assert findings.keys() & FAULTS.keys() == {kind}
    assert findings[kind].severe
    assert findings[kind].trials == ("0000",)
    told = f"{findings[kind].title} {findings[kind].text}"
    for word in ["0000", *words]:
        assert word in told


def test_sound_trainings_have_no_severe_finding(searched: Experiment) -> None:
    assert not [finding for finding in findings_of(searched) if finding.severe]


def test_a_training_without_unlabeled_images_is_read_too(tmp_path: Path) -> None:
    assert trained(tmp_path, "method.name=supervised", "train.epochs=1") == []


def epochs(config: Config, named: list[str]) -> Trial:
    """A trial of u2pl whose pseudo-labels name the classes of these letters, epoch by epoch."""
    rows = [
        {"diag/alpha": 0.2, "diag/reliable_fraction": 0.8, "train/loss/contrastive": 0.1}
        | {f"diag/reliable_fraction/{name}": 0.8 for name in letters}
        | {"val/miou": 0.5, **{f"val/iou/{name}": 0.5 for name in "abc"}}
        for letters in named
    ]
    return Trial("0000", config, rows, "abc")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (["abc", "abc", "ab"], "no pseudo-label names c any more"),
        (["ab", "abc", "ab"], ""),  # as in a training that begins
        (["ab"] * 4, ""),
        (["ab"] * 5, "none has named c yet, in 5 epochs"),
        (["abc", "ab", "abc"], ""),
    ],
)
def test_a_class_that_no_pseudo_label_names_any_more(named: list[str], words: str) -> None:
    found = {about.kind: seen for rule, about in RULES.items() if (seen := rule(epochs(tiny(), named))) is not None}
    assert found.keys() == ({"forgotten"} if words else set())
    assert words in (found["forgotten"].text if found else "")


@pytest.mark.parametrize(
    ("shares", "settings", "words"),
    [
        ([0.8, 0.7], [], ""),
        ([0.8, 0.15], [], "15.0% of the unlabeled pixels were reliable, down from 80.0%"),
        ([0.02, 0.01], ["method.name=fixmatch"], "lower method.reliability.confidence (0.95)"),
    ],
)
def test_a_share_of_reliable_pixels_that_collapses(shares: list[float], settings: list[str], words: str) -> None:
    trial = epochs(tiny(*settings), ["abc"] * 2)
    rows = [{**row, "diag/reliable_fraction": share} for row, share in zip(trial.epochs, shares, strict=True)]
    trial = replace(trial, epochs=rows)
    found = {about.kind: seen for rule, about in RULES.items() if (seen := rule(trial)) is not None}
    assert found.keys() == ({"few_reliable"} if words else set())
    assert words in (found["few_reliable"].text if found else "")


def test_a_finding_is_said_at_once_and_once() -> None:
    config, said = tiny(), list[str]()
    alarms = AlarmListener(said.append)
    rows = epochs(config, ["abc", "abc", "ab", "ab"]).epochs
    config = config.model_copy(update={"data": config.data.model_copy(update={"classes": ("a", "b", "c")})})
    for number in (0, 1):
        trial = TrialRecord(f"000{number}", number, State.RUNNING)
        alarms.trial_started(trial, config)
        alarms.epoch_known(trial, rows[0])
        for index, row in enumerate(rows[1:], 2):
            alarms.epoch_done(trial, row, None)
            assert len(said) == (index > 2 or number)
        alarms.trial_finished(trial)
    assert said[0].startswith("0000: Classes that no pseudo-label names: no pseudo-label names c any more")


def test_failures_leave_nothing_to_read(diverged: Experiment) -> None:
    assert read(analyse(diverged)) == []


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([0.9], ""),  # a cold disk
        ([0.9, 0.4, 0.4, 0.6], ""),
        ([0.1, 0.1, 0.9, 0.9, 0.33], "waits for data 71% of its steps' time (the last 3 epochs)"),
    ],
)
def test_a_device_that_waits_for_its_data(shares: list[float], words: str) -> None:
    rows = epochs(tiny("data.loader_workers=2"), ["abc"] * len(shares))
    rows = replace(rows, epochs=[{**row, "perf/data_wait": it} for row, it in zip(rows.epochs, shares, strict=True)])
    found = {about.kind: seen for rule, about in RULES.items() if (seen := rule(rows)) is not None}
    assert found.keys() == ({"data_wait"} if words else set())
    if words:
        assert words in found["data_wait"].text
        assert "more data.loader_workers (2 now" in found["data_wait"].text
        assert not {about.severe for about in RULES.values() if about.kind == "data_wait"} - {False}


def test_status_names_trials_that_wait_for_their_data(searched: Experiment) -> None:
    analysis = analyse(searched)
    for rows in analysis.epochs.values():
        for row in rows:
            assert 0 < row["perf/data_wait"] < 1
            row["perf/data_wait"] = 0.75
    page = io.StringIO()
    Console(file=page, width=1000).print(picture(analysis))
    (line,) = [line for line in page.getvalue().splitlines() if line.startswith("idle")]
    for word in ("Trial 0000: waits for data 75%", "data.loader_workers (0 now", "Trials 0000, 0001"):
        assert word in line
