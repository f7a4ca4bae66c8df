"""The estimates of `search --dry-run` against the search itself: memory of a worker, seconds a step, hours.

    python benchmarks/estimates.py --output benchmarks/results/estimates.json
    python benchmarks/estimates.py --camvid data/camvid_240 --output benchmarks/results/estimates.json

For each case the search is planned and measured as `--dry-run` does, then run as planned, on an idle machine. Each row
of `compared` has the estimate, what was measured in the search, and their ratio. Memory on CPU is the largest peak of a
worker's process, read from /proc while the search runs; on a GPU `perf/memory_gib`, of tensors alone.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.cluster.measuring import measure
from u2pl_ray.search.driver.budget import used_by
from u2pl_ray.search.experiment.estimate import Estimate, epoch_seconds, estimate
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import Plan, plan_search
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.study.trial_record import State
from u2pl_ray.system.periodic import every
from u2pl_ray.train.measurement import Measurement

_CAMVID = ["train.epochs=4", "train.steps_per_epoch=8", "method.warmup_epochs=1"]
"""Shorter than the preset, so that a search of it takes minutes; a step costs the same."""
_GIB = 2**30
_LOOK = 0.5
_WORKER = "ray::RayTrainWorker"
"""What Ray calls the process of a worker of Ray Train."""


class Peaks:
    """The largest memory that any worker's process had."""

    def __init__(self) -> None:
        self.bytes = 0

    def look(self) -> None:
        """Read the peaks of the workers that live now."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "cmdline").read_text().startswith(_WORKER) and _ours(folder):
                    self.bytes = max(self.bytes, int(_status(folder)["VmHWM"].split()[0]) << 10)
            except (OSError, KeyError):  # it has ended
                continue


def _ours(folder: Path) -> bool:
    """Tell whether a process is below this one."""
    while folder.name not in ("0", "1"):
        if folder.name == str(os.getpid()):
            return True
        folder = folder.with_name(_status(folder)["PPid"])
    return False


def _status(folder: Path) -> dict[str, str]:
    """Read a process's status by field."""
    lines = (folder / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def compare(config: str, overrides: Sequence[str], space: str, trials: int, storage: str) -> dict[str, Any]:
    """Plan, estimate and run a search.

    Args:
        config: preset or file.
        overrides: of it.
        space: a shipped space's name.
        trials: how many.
        storage: folder for the experiment.
    """
    plan = plan_search(
        resolve(load(config, list(overrides))),
        load_space(Path(space)),
        name=Path(config).stem,
        trials=trials,
        storage_path=storage,
        baselines=None,
    )
    began = time.monotonic()
    first = plan.space.configure(plan.config, dict(plan.paper))
    measured = measure(first, plan.fit.gpu, plan.fit.concurrent, print)
    dry_run = time.monotonic() - began
    expected = estimate(plan, measured)
    peaks, began = Peaks(), time.monotonic()
    experiment = plan.create()
    with every(_LOOK, peaks.look, "peaks"):
        experiment.run()
    hours = (time.monotonic() - began) / 3600
    rows = dict(_rows(plan, measured, expected, experiment, peaks.bytes, hours))
    for name, (guess, truth) in rows.items():
        print(f"{plan.name:12} {name:34} {guess:10.4g} {truth:10.4g}  {guess / truth:.2f}")
    return {
        "config": [Path(config).name, *(it for it in overrides if not it.startswith("data.root="))],
        "space": space,
        "trials": trials,
        "at_once": plan.fit.concurrent,
        "device": measured.device,
        "dry_run_seconds": round(dry_run, 1),
        "expected_epochs_a_trial": round(expected.epochs, 2),
        "compared": {name: {"estimate": guess, "measured": truth, "ratio": round(guess / truth, 3)}
                     for name, (guess, truth) in rows.items()},
    }  # fmt: skip


def _rows(
    plan: Plan, measured: Measurement, expected: Estimate, experiment: Experiment, peak: int, hours: float
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield what is compared: name, estimate, measured."""
    study = experiment.study()
    records = [record for record in study.all_records() if record.state in (State.COMPLETED, State.STOPPED)]
    epochs = {record.id: experiment.epochs(record.id) for record in records}
    own = [row for record in records if record.companion is None for row in epochs[record.id][record.inherited :]]
    warmup = plan.config.method.warmup_epochs
    if measured.gpu is None:
        yield "memory of a worker, GiB", (measured.host / _GIB, peak / _GIB)
    else:
        assert measured.allocated is not None
        yield "memory of a worker, GiB", (measured.allocated / _GIB, max(row["perf/memory_gib"] for row in own))
    for name, guess, rows in (
        ("seconds a step, warm-up", measured.warmup_step, [row for row in own if row["training_iteration"] <= warmup]),
        ("seconds a step, after it", measured.main_step, [row for row in own if row["training_iteration"] > warmup]),
    ):
        if rows:
            yield name, (guess, statistics.median(row["perf/step_seconds"] for row in rows))
    yield (
        "seconds of a validation",
        (measured.validation, statistics.median(row["perf/evaluation_seconds"] for row in own)),
    )
    by_epoch = epoch_seconds(plan.config, measured)
    later = [  # the first ones start the processes of their slots
        (expected.training - sum(by_epoch[: record.inherited]), (record.finished - record.started).total_seconds())
        for record in records
        if record.state == State.COMPLETED and record.companion is None and record.number >= plan.fit.concurrent
        if record.started is not None and record.finished is not None
    ]
    if later:
        guesses, found = zip(*later, strict=True)
        yield "seconds of a complete trial", (statistics.median(guesses), statistics.median(found))
    trials = [record.epochs for record in records if record.companion is None]
    yield "epochs of a trial", (expected.epochs, statistics.mean(trials))
    assert expected.device_hours is not None
    assert expected.hours is not None
    yield "device-hours of the search", (expected.device_hours, used_by(study)[1])
    yield "hours of the search", (expected.hours, hours)


def main() -> None:
    """Compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--camvid", type=Path, help="root of CamVid for a second case")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=[], metavar="a.b=c", help="settings of both cases")
    options = parser.parse_args()
    os.environ["WANDB_MODE"] = "disabled"
    cases: list[tuple[str, list[str], str]] = [("quickstart", [], "quickstart")]
    if options.camvid is not None:
        cases.append(("camvid", [f"data.root={options.camvid.absolute()}", *_CAMVID], "temperature"))
    done = []
    for config, overrides, space in cases:
        with tempfile.TemporaryDirectory() as storage:
            done.append(compare(config, [*overrides, *options.set], space, options.trials, storage))
    versions = {"cpus": os.cpu_count(), "python": platform.python_version()}
    options.output.write_text(json.dumps({**versions, "cases": done}, indent=2) + "\n")


if __name__ == "__main__":
    main()
