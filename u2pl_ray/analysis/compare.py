"""Put trainings of several experiments side by side: methods, student and teacher, share of the gap closed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from u2pl_ray.analysis.scatter import scatter_of
from u2pl_ray.analysis.tables import best_of
from u2pl_ray.analysis.unlabeled import NO_GAP, ORACLE, SUPERVISED, gap_closed
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.metrics import VAL_MIOU, VAL_TEACHER_MIOU
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.console import plain_console
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.companion import Kind

NETWORKS = {"student": VAL_MIOU, "teacher": VAL_TEACHER_MIOU}


@dataclass(frozen=True)
class Compared:
    """A training in a comparison.

    Attributes:
        experiment: its name.
        trial: its id.
        method: that it trained.
        epochs: done.
        scores: mIoU of student and teacher, 0 to 1.
        scatters: of both from epoch to epoch on the val images, 0 where there are too few epochs.
    """

    experiment: str
    trial: str
    method: str
    epochs: int
    scores: Mapping[str, float]
    scatters: Mapping[str, float]


def compared(experiments: Sequence[Experiment], split: str) -> list[Compared]:
    """Return the best trial of each experiment, followed by the complete baselines that it trained.

    Args:
        experiments: to compare.
        split: val: the reported values; test: the newest checkpoints are evaluated now.

    Raises:
        UserError: an experiment has no result, or no checkpoint to evaluate.
    """
    rows = []
    for experiment in experiments:
        best = best_of(experiment)
        rows.append(_row(experiment, best, experiment.config.method.name, best["checkpoint"], split))
        for trial in experiment.status()["trials"]:
            companion = trial.get("companion")
            if companion is not None and companion["kind"] == Kind.BASELINE and trial["state"] == "COMPLETED":
                stored = experiment.checkpoint(trial["id"])
                rows.append(_row(experiment, trial, companion["changes"]["method.name"], stored, split))
    return rows


def _row(experiment: Experiment, trial: Mapping[str, Any], method: str, checkpoint: str | None, split: str) -> Compared:
    metrics = trial["metrics"] if split == "val" else _test_scores(experiment, trial["id"], checkpoint)
    if missing := [name for name in NETWORKS.values() if name not in metrics]:
        file = experiment.trial_folder(trial["id"]) / layout.EPOCHS
        raise UserError(
            f"{file}: has no {missing[0]} of the last epoch; `u2pl-ray resume {experiment.argument}` restores it"
        )
    scores = {network: metrics[name] for network, name in NETWORKS.items()}
    epochs = experiment.epochs(trial["id"])
    curves = {network: [row[name] for row in epochs if row.get(name) is not None] for network, name in NETWORKS.items()}
    scatters = {network: scatter_of(curve) or 0.0 for network, curve in curves.items()}
    return Compared(experiment.name, trial["id"], method, trial["epochs"], scores, scatters)


def _test_scores(experiment: Experiment, trial: str, checkpoint: str | None) -> dict[str, float]:
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.train.inference import open_checkpoint, score

    if checkpoint is None:
        raise UserError(f"{experiment.name}: trial {trial} has no checkpoint on disk to evaluate")
    trained = open_checkpoint(checkpoint)
    return score(trained, resolve(trained.config), "test").metrics


def print_comparison(experiments: Sequence[Experiment], split: str, console: Console | None = None) -> None:
    """Print the trainings: method, epochs, mIoU of student and teacher, and the share of the gap that each closed.

    The gap, of student and of teacher, is from the mean of the supervised trainings to that of the oracles.

    Args:
        experiments: to compare.
        split: see `compared`.
        console: the terminal.
    """
    console = console or plain_console()
    rows = compared(experiments, split)
    ends = {method: [row for row in rows if row.method == method] for method in (SUPERVISED, ORACLE)}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"mIoU on the {split} split", title_justify="left")
    table.add_column("experiment", overflow="fold")
    for head in ("trial", "method"):
        table.add_column(head, no_wrap=True)
    for head in ("epochs", "student", "teacher", *(["gap closed"] if all(ends.values()) else [])):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{row.scores[network]:.4f}" for network in NETWORKS]
        if all(ends.values()):
            cells.append(" / ".join(_share(row.scores[it], ends[SUPERVISED], ends[ORACLE], it) for it in NETWORKS))
        table.add_row(Text(row.experiment), row.trial, row.method, str(row.epochs), *cells)
    console.print(table)
    if all(ends.values()) and "-" in {_share(0.0, ends[SUPERVISED], ends[ORACLE], it) for it in NETWORKS}:
        console.print(f"-: {NO_GAP}")


def _share(value: float, supervised: Sequence[Compared], oracle: Sequence[Compared], network: str) -> str:
    low, high = (mean(row.scores[network] for row in rows) for rows in (supervised, oracle))
    noise = math.hypot(*(row.scatters[network] / len(rows) for rows in (supervised, oracle) for row in rows))
    closed = gap_closed(value, low, high, noise=noise)
    return "-" if closed is None else f"{closed:.0%}"
