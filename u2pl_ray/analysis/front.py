"""Show the Pareto front: the trials that no other is at least as good as in every objective."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.formatting import number, settings
from u2pl_ray.search.study.trial_record import TrialRecord


def front_of(experiment: Experiment, front: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return the Pareto front as plain data, sorted by the first objective, best first.

    Args:
        experiment: the search.
        front: its completed trials on the front.

    Returns:
        For each trial id, params, objectives (by name) and checkpoint.
    """
    names = [metric.name for metric in experiment.space.objectives]
    return [
        {
            "id": record.id,
            "params": record.params,
            "objectives": dict(zip(names, record.objectives, strict=True)),
            "checkpoint": experiment.checkpoint(record.id),
        }
        for record in front
    ]


def print_front(experiment: Experiment, front: Sequence[TrialRecord], console: Console) -> None:
    """Print the Pareto front as a table.

    Args:
        experiment: the search.
        front: its completed trials on the front.
        console: the terminal.
    """
    if not front:
        console.print("no trial is complete yet: there is no Pareto front")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="Pareto front: no trial is better in every objective")
    table.add_column("trial", no_wrap=True)
    for metric in experiment.space.objectives:
        table.add_column(Text(f"{metric.name} ({metric.goal})"), justify="right", no_wrap=True)
    table.add_column("settings")
    for record in front:
        values = (number(value) for value in record.objectives)
        table.add_row(Text(f"{record.id} {record.note}".strip()), *values, Text(settings(record.params)))
    console.print(table)
    console.print(Text(f"export: u2pl-ray export {experiment.argument} (a file for each), or --trial {front[0].id}"))
