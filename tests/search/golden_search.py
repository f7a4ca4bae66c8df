"""Searches whose trainings are a formula, as bytes: what a change that means to change no behaviour must not change.

`python -m tests.search.golden_search` writes them into `golden/` anew, after a change that was meant.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.search.fake_training import miou
from u2pl_ray.config import overrides
from u2pl_ray.search.driver.assignment import Assignment, Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State

GOLDEN = Path(__file__).parent / "golden"
EPOCHS, TRIALS = 9, 12

_BASE = {
    "data": {"dataset": "synthetic", "crop": 64},
    "method": {"warmup_epochs": 0, "contrastive": {"low_rank": 2, "high_rank": 6}},
    "train": {"epochs": EPOCHS, "batch_size": 8, "unlabeled_batch_size": 8},
}
_SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.memory_bank.capacity: {distribution: q_log_uniform_values, q: 100, min: 1000, max: 20000}
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}
  method.alpha.kind: {values: [linear, cosine]}
"""
_FURTHER = _SPACE.replace(
    "{name: val/miou, goal: maximize}", "[{name: val/miou, goal: maximize}, {name: cost, goal: minimize}]"
)

SEARCHES: dict[str, tuple[str, SamplerChoice, SchedulerChoice]] = {
    "tpe_asha": (_SPACE, SamplerChoice("tpe", 1, {"n_startup_trials": 3}), SchedulerChoice()),
    "tpe_two_objectives": (_FURTHER, SamplerChoice("tpe", 2, {"n_startup_trials": 4}), SchedulerChoice("none")),
    "random_hyperband": (_SPACE, SamplerChoice("random", 3), SchedulerChoice("hyperband")),
    "random_pbt": (
        _SPACE,
        SamplerChoice("random", 1),
        SchedulerChoice("pbt", {"interval": 2, "quantile": 0.34, "warmup": 1}),
    ),
}
"""By name: space, sampler, scheduler."""

_CLOCK = ("datetime_start", "datetime_complete", "worker_id")


def search(folder: Path, name: str) -> None:
    """Run a search, two trials at a time, one of them failing now and then; opened anew after every fifth report."""
    text, sampler, scheduler = SEARCHES[name]
    space, base = parse_space(text, "space.yaml"), overrides.validate(_BASE)
    running: list[Assignment] = []
    reports, made = 0, TrialStudy.create
    driver: Driver | None = None
    while True:
        if driver is None:
            study = made(folder / "study.journal", name, space, sampler, scheduler.build(EPOCHS))
            driver, made = Driver(study, base, TRIALS, folder / "trials"), TrialStudy.open
            running.clear()
        while len(running) < 2 and (assignment := driver.next()) is not None:
            running.append(assignment)
        if not running:
            return
        assignment = running.pop(0)
        reports += 1
        if _over(driver, assignment, folder / "trials"):
            continue
        running.append(assignment)
        if reports % 5 == 0:
            driver = None


def _over(driver: Driver, assignment: Assignment, trials: Path) -> bool:
    """Train an epoch; whether the trial is over."""
    log = trials / assignment.trial / "epochs.jsonl"
    epoch = 1 + (len(log.read_bytes().splitlines()) if log.exists() else 0)
    if assignment.trial == "0003" and epoch == 2:
        driver.finish(assignment.trial, Outcome(State.FAILED, "error", "broke"))
        return True
    if assignment.trial == "0005" and epoch == 3:
        driver.finish(assignment.trial, Outcome(State.INFEASIBLE, "memory", "too large"))
        return True
    value = round(miou(assignment.config, epoch), 9)  # the last digits of exp() are the machine's
    checkpoint = trials / assignment.trial / "train" / f"epoch_{epoch:05d}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    metrics = {
        "training_iteration": epoch,
        "val/miou": value,
        "cost": assignment.config.method.memory_bank.capacity / 1e5,
        "checkpoint": f"train/{checkpoint.name}",
    }
    if driver.report(assignment.trial, metrics):
        return True
    if epoch == EPOCHS:
        driver.finish(assignment.trial, Outcome(State.COMPLETED))
        return True
    return False


def story(folder: Path) -> Iterator[str]:
    """Every line of the journal and of the trials' records, without the clock."""
    for line in (folder / "study.journal").read_text("utf-8").splitlines():
        yield json.dumps(_timeless(json.loads(line)), separators=(",", ":"))
    for name in ("epochs.jsonl", "trial.json"):
        for file in sorted(folder.glob(f"trials/*/{name}")):
            yield from (f"{file.parent.name}/{name} {line}" for line in file.read_text("utf-8").splitlines())


def _timeless(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: None if key in _CLOCK else value for key, value in entry.items()}


def record(name: str) -> bytes:
    """The story of a search."""
    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder), name)
        return "".join(f"{line}\n" for line in story(Path(folder))).encode()


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for search_name in SEARCHES:
        (GOLDEN / f"{search_name}.txt").write_bytes(record(search_name))
