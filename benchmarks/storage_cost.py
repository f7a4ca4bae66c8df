"""What storing a search on S3 adds to a report: the driver alone, in a folder and on an S3 server on this machine.

    python benchmarks/storage_cost.py [--trials 20] [--epochs 10]

Times are the driver's, from a worker's report to the decision on it, without the network between a machine and a real
store: add two requests of it per report.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "search"))
from s3 import s3_server

from u2pl_ray.config import overrides
from u2pl_ray.search.cluster.capacity import Fit
from u2pl_ray.search.driver.driver import Driver
from u2pl_ray.search.experiment.options import TRAINER, Options
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.storage.object_store import Objects
from u2pl_ray.search.storage.place import locate

SPACE = "parameters: {method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}}"


def measure(storage: str, trials: int, epochs: int) -> dict[str, float]:
    """Median and greatest milliseconds of a report, and of a proposal."""
    config = overrides.load("quickstart", [f"train.epochs={epochs}"])
    options = Options(trials, SamplerChoice("random", 0, {}), SchedulerChoice("none", {}), None, TRAINER)
    space = parse_space(SPACE, "benchmark")
    made = Plan("a", locate("a", storage), config, space, options, Fit(1, False, ""), {}).create()
    driver = Driver(made.study(), config, trials, made.folder / "trials", None, made.place.commit)
    reports, proposals = [], []
    while True:
        started = time.perf_counter()
        assignment = driver.next()
        proposals.append(time.perf_counter() - started)
        if assignment is None:
            break
        for epoch in range(1, epochs + 1):
            metrics = {"training_iteration": epoch, "val/miou": epoch / epochs}
            metrics |= {f"diag/something/{index}": 0.123456789 for index in range(60)}
            started = time.perf_counter()
            driver.report(assignment.trial, metrics)
            reports.append(time.perf_counter() - started)
    return {
        "report_ms": 1e3 * statistics.median(reports),
        "report_ms_greatest": 1e3 * max(reports),
        "proposal_ms": 1e3 * statistics.median(proposals[:-1]),
        "journal_kib": (made.folder / "study.journal").stat().st_size / 1024,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    wanted = parser.parse_args()
    requests = 0
    write = Objects.write

    def counted(self: Objects, name: str, content: bytes) -> None:
        nonlocal requests
        requests += 1
        write(self, name, content)

    Objects.write = counted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, s3_server("bucket") as bucket:
        local = measure(folder, wanted.trials, wanted.epochs)
        stored = measure(bucket, wanted.trials, wanted.epochs)
    figures = {"folder": local, "s3": stored, "writes_per_report": requests / (wanted.trials * wanted.epochs)}
    figures["ratio"] = stored["report_ms"] / local["report_ms"]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
