"""200 concurrent trials through the W&B sink, offline: the driver's time per call, memory, and that no row is lost.

    python benchmarks/telemetry.py

Every trial reports the metrics of a 21-class training, in turn with all others, `--pause` seconds between epochs. The
queue of rows on their way to the client is bounded (64 MiB of text); the rest of the growth is the client's.
"""

import argparse
import json
import logging
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from u2pl_ray.tracking.reader import read_run
from u2pl_ray.tracking.sink import WandbSink

CLASSES = 21
CONFIG = {"seed": 0, "data": {"classes": [f"class_{number}" for number in range(CLASSES)]}}


def metrics(step: int) -> dict[str, Any]:
    """What a training of PASCAL VOC reports after an epoch, images aside."""
    row: dict[str, Any] = {"val/miou": step / 100, "train/lr": 0.01, "diag/alpha": 0.1, "diag/gamma": 1.0}
    groups = ("val/iou", "val/teacher/iou", "diag/reliable_fraction", "diag/bank/fill", "diag/bank/pushed")
    for group in (*groups, "diag/bank/key_age", "diag/anchors/missing", "diag/negatives/missing"):
        row |= {f"{group}/class_{number}": number / step for number in range(CLASSES)}
    for name in ("hist", "hist_right", "hist_wrong"):
        row[f"diag/entropy/{name}"] = list(range(32))
    return row | {"diag/entropy/max": 3.0, "val/confusion": [[step] * CLASSES] * CLASSES}


def peak() -> float:
    """The most memory this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: Path, trials: int, epochs: int, pause: float) -> dict[str, Any]:
    """Run the sink and read its files back."""
    sink = WandbSink(folder, "benchmark", None, "benchmark", "offline")
    took: list[float] = []

    def timed(call: Callable[..., None], *arguments: Any) -> None:
        begun = time.perf_counter()
        call(*arguments)
        took.append(time.perf_counter() - begun)

    before, begun = peak(), time.perf_counter()
    ids = [f"{number:04d}" for number in range(trials)]
    for trial in ids:
        timed(sink.start, trial, trial, CONFIG)
    for step in range(1, epochs + 1):
        for trial in ids:
            timed(sink.log, trial, metrics(step), step)
        time.sleep(pause)
    for trial in ids:
        timed(sink.finish, trial, "COMPLETED")
    report = sink.close(timeout=300)
    found = [read_run(path) for path in folder.glob("wandb/offline-run-*/run-*.wandb")]
    return {
        "trials": trials,
        "epochs": epochs,
        "metrics": len(metrics(1)),
        "rows_on_disk": sum(len(run.rows) for run in found),
        "rows_lost": trials * epochs - sum(len(run.rows) for run in found) + report.dropped,
        "milliseconds_per_call": {
            "mean": 1e3 * statistics.mean(took),
            "p99": 1e3 * statistics.quantiles(took, n=100)[98],
            "max": 1e3 * max(took),
        },
        "memory_growth_mib": peak() - before,
        "seconds_until_all_is_written": time.perf_counter() - begun,
        "disk_mib": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20,
    }


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "telemetry.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.trials, options.epochs, options.pause)
    print(json.dumps(result, indent=2))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
