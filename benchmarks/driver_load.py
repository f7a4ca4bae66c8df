"""What the driver pays for many trials at once: CPU time of a proposal and of a report, by the number of live trials.

    python benchmarks/driver_load.py --at-once 10 100 1000 --output benchmarks/results/driver_load.json

The driver alone, without Ray: its study, its decisions (TPE, ASHA) and its files in a folder are the real ones, the
trainings report a formula. All trials are started first, then each reports its epochs in turn, as on a cluster that
runs them all at once. CPU time, so that whoever else uses the machine does not count; the waits of a network file
system or of S3 come on top: see `storage_cost.py`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from u2pl_ray.config import overrides
from u2pl_ray.search.cluster.capacity import Fit
from u2pl_ray.search.driver.assignment import Assignment
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.options import TRAINER, Options
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.space.shipped import shipped_spaces
from u2pl_ray.search.storage.place import locate
from u2pl_ray.system.atomic import write_whole

METRICS = 177
"""Metrics of an epoch, as `telemetry.py` counts them."""


def measure(at_once: int, epochs: int) -> dict[str, Any]:
    """Run so many trials at once; return milliseconds of CPU time, and MiB."""
    with tempfile.TemporaryDirectory() as folder:
        config = overrides.load("quickstart", [f"train.epochs={epochs}", "tracking.wandb=disabled"])
        choices = SamplerChoice("tpe", 0, {}), SchedulerChoice("asha", {})
        options = Options(at_once, *choices, None, TRAINER)
        space = load_space(shipped_spaces()["paper"])
        made = Plan("a", locate("a", folder), config, space, options, Fit(at_once, False, ""), {}).create()
        driver = Driver(made.study(), config, at_once, made.folder / "trials", None, made.place.commit)
        proposals: list[float] = []
        live: list[Assignment] = []
        while (assignment := timed(proposals, driver.next)) is not None:
            live.append(assignment)
        reports: list[float] = []
        for epoch in range(1, epochs + 1):
            for assignment in list(live):
                metrics = {"training_iteration": epoch, "val/miou": (epoch + int(assignment.trial) % 97) / 200}
                metrics |= {f"diag/something/{index}": 0.123456789 for index in range(METRICS)}
                if timed(reports, partial(driver.report, assignment.trial, metrics)):
                    live.remove(assignment)
        journal = (made.folder / "study.journal").stat().st_size
        logs = sum(file.stat().st_size for file in made.folder.glob("trials/*/epochs.jsonl"))
    return {
        "at_once": at_once,
        "reports": len(reports),
        "proposal_ms": round(1e3 * statistics.mean(proposals[:-1]), 2),
        "proposal_ms_greatest": round(1e3 * max(proposals), 2),
        "report_ms": round(1e3 * statistics.mean(reports), 2),
        "report_ms_greatest": round(1e3 * max(reports), 2),
        "journal_kib_per_trial": round(journal / 1024 / at_once, 2),
        "epochs_jsonl_kib_per_report": round(logs / 1024 / len(reports), 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def timed(times: list[float], call: Callable[[], Any]) -> Any:
    """Return what a call returns, and note its CPU time."""
    begun = time.process_time()
    result = call()
    times.append(time.process_time() - begun)
    return result


def main() -> None:
    """Print and store one JSON object; each number of trials runs in a process of its own, for its memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-once", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path)
    wanted = parser.parse_args()
    if len(wanted.at_once) == 1:
        figures: Any = measure(wanted.at_once[0], wanted.epochs)
    else:
        figures = {"cpus": os.cpu_count(), "epochs": wanted.epochs, "cases": []}
        for number in wanted.at_once:
            command = [sys.executable, __file__, "--at-once", str(number), "--epochs", str(wanted.epochs)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            figures["cases"].append(json.loads(done.stdout))
            print(done.stdout, end="", file=sys.stderr, flush=True)
    text = json.dumps(figures, indent=2)
    print(text)
    if wanted.output is not None:
        write_whole(wanted.output, f"{text}\n")


if __name__ == "__main__":
    main()
