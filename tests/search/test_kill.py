"""A real search, killed and terminated in real processes and resumed: the same search as one never interrupted.

`benchmarks/kill_anywhere.py` does this with more kills, at more places.
"""

import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.killing import NAME, Search, story
from benchmarks.processes import adopt_orphans
from u2pl_ray.search.driver.assignment import Outcome
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

TRIALS = 3


class Stopped(Exception):
    """The scheduler stopped the trial."""


def never_killed(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The same search in this process, without Ray, in one go."""
    folder.mkdir()
    config, space, options = experiment.config, experiment.space, experiment.options
    study = TrialStudy.create(folder / "study", "whole", space, *options.choices(config.train.epochs))
    study.enqueue(experiment.study().record(0).params, "paper")
    driver = Driver(study, config, options.trials, folder / "trials")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    while (assignment := driver.next()) is not None:
        trial = assignment.trial

        def report(metrics: Mapping[str, Any], trial: str = trial) -> None:
            if driver.report(trial, metrics):
                raise Stopped

        try:
            Worker(assignment.config, LocalSession(on_report=report), torch.device("cpu")).run()
            driver.finish(trial, Outcome(State.COMPLETED))
        except Stopped:
            pass
    torch.set_num_threads(threads)
    return story(study, folder / "trials")


def terminate_in_mid_epoch(search: Search, kind: signal.Signals) -> None:
    """Start or resume, wait for the next epoch to be on record and the one after it to run, and send a signal."""

    def lines() -> int:
        return sum(file.read_bytes().count(b"\n") for file in search.folder.glob(f"{NAME}/trials/*/epochs.jsonl"))

    before, process = lines(), search.start()
    while lines() == before:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(kind)
    began = time.monotonic()
    assert process.wait(60) == 75  # stopped on notice: start it again
    print(f"{kind.name}: ended after {time.monotonic() - began:.1f} s")
    said = (search.folder / "log.txt").read_text().rpartition("---")[2]
    assert "stopping; every trial keeps its last checkpoint" in said
    assert f"next: u2pl-ray resume {NAME}" in said
    assert not (search.folder / NAME / "driver.lease").exists()
    search.kill()


@pytest.mark.slow
@pytest.mark.ray
def test_killed_and_terminated_it_is_the_same_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "cache"))
    adopt_orphans()
    search = Search(tmp_path / "killed", TRIALS)
    search.prepare()
    draw = random.Random(0)
    assert not search.run_until("checkpoint", draw, 200)
    terminate_in_mid_epoch(search, signal.SIGTERM)
    assert not search.run_until("decision", draw, 200)
    assert search.run_until("none", draw, 200)
    experiment = Experiment.open(NAME, tmp_path / "killed")
    assert search.story() == never_killed(experiment, tmp_path / "whole")
