"""What a search tells the sink, in small."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from u2pl_ray.tracking.reader import RunFile, read_run
from u2pl_ray.tracking.sink import WandbSink

CONFIG = {"seed": 0, "method": {"alpha": {"start": 0.2, "kind": "linear"}}}
SPACE = {
    "method": "bayes",
    "metric": {"name": "val/miou", "goal": "maximize"},
    "early_terminate": {"type": "hyperband"},
    "parameters": {
        "method.alpha.start": {"distribution": "uniform", "min": 0.1, "max": 0.5},
        "method.alpha.kind": {"values": ["linear", "cosine"]},
    },
}
MIOU = [0.1, 0.3, 0.2, 0.5, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95]


def epoch(step: int) -> dict[str, Any]:
    """The metrics of an epoch (from 1)."""
    return {
        "training_iteration": step,
        "val/miou": MIOU[step - 1],
        "val/iou/background": 0.9,
        "diag/alpha": 0.2 / step,
        "diag/entropy/hist": [step, 2, 1, 0],
        "diag/entropy/max": 1.6,
        "val/confusion": [[5, 1], [2, step]],
    }


def sink_of(experiment: Path, mode: Any = "offline", **options: Any) -> WandbSink:
    return WandbSink(experiment, "stub-project", None, "my-search", mode, sweep=SPACE, **options)


def tell(sink: WandbSink, trials: int, epochs: range | list[int], first: int = 0) -> list[str]:
    """Start trials and report epochs of each; returns their ids."""
    ids = [f"{number:04d}" for number in range(first, first + trials)]
    for trial in ids:
        sink.start(trial, trial, CONFIG, ["a-tag"])
    for step in epochs:
        for trial in ids:
            sink.log(trial, epoch(step), step)
    return ids


def image_files(folder: Path) -> None:
    """Two validation images and an unlabeled one, as a training leaves them."""
    folder.mkdir(parents=True)
    for stem, kinds in (("val.0.a", "truth prediction"), ("val.10.c", "truth"), ("unlabeled.0.b.x", "reliable")):
        Image.new("RGB", (4, 3)).save(folder / f"{stem}.image.jpg")
        for kind in kinds.split():
            Image.fromarray(np.full((3, 4), 1, np.uint8)).save(folder / f"{stem}.{kind}.png")


def files(experiment: Path) -> dict[str, list[RunFile]]:
    """Every trial's files, oldest first."""
    found: dict[str, list[RunFile]] = {}
    for path in sorted(experiment.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
        run = read_run(path)
        found.setdefault(run.name, []).append(run)
    return found


def steps(run: Any) -> list[int]:
    return [row["_step"] for row in run.rows]
