"""All experiments of a storage at a glance."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from u2pl_ray.analysis.answer import standing
from u2pl_ray.analysis.load import analyse
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.console import plain_console
from u2pl_ray.search.listeners.formatting import duration, number
from u2pl_ray.search.storage.place import experiments
from u2pl_ray.search.study.remaining import counted


def listing(storage_path: str | Path | None = None) -> list[dict[str, Any]]:
    """Return what can be said of each experiment in a storage, as plain data, oldest first.

    Returns:
        name, state (running, interrupted, finished, failed, or damaged with a reason), trials and done, objective,
        best (its value) and trial (its id), created (UTC).
    """
    return [_row(name, storage_path) for name in experiments(storage_path)]


def _row(name: str, storage_path: str | Path | None) -> dict[str, Any]:
    try:
        analysis = analyse(Experiment.open(name, storage_path))
    except UserError as error:
        return {"name": name, "state": "damaged", "reason": str(error)}
    best = analysis.best
    return {
        "name": name,
        "state": standing(analysis),
        "trials": analysis.experiment.options.trials,
        "done": sum(record.state.finished for record in counted(analysis.records)),
        "objective": analysis.metric.name,
        "best": None if best is None else best.latest,
        "trial": None if best is None else best.id,
        "created": analysis.experiment.created,
    }


def print_listing(rows: Sequence[dict[str, Any]], storage: str, console: Console | None = None) -> None:
    """Print them as a table, and below it why those that are damaged cannot be read."""
    console = console or plain_console()
    if not rows:
        console.print(f"no experiments in {storage}; start with u2pl-ray search quickstart --space quickstart")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("experiment", "state", "trials", "leader", "age"):
        table.add_column(head, justify="right" if head in ("trials", "age") else "left", no_wrap=True)
    for row in rows:
        if row["state"] == "damaged":
            table.add_row(Text(row["name"]), Text(row["state"], "red"), "", "", "")
            continue
        of = "" if row["trials"] is None else f" of {row['trials']}"
        leader = "-" if row["best"] is None else f"{row['objective']} {number(row['best'])} ({row['trial']})"
        style = {"failed": "red", "interrupted": "yellow", "running": "cyan"}.get(row["state"], "green")
        table.add_row(
            Text(row["name"]), Text(row["state"], style), f"{row['done']}{of}", Text(leader), _age(row["created"])
        )
    console.print(table)
    for row in rows:
        if row["state"] == "damaged":  # below the table: a long reason would squeeze its other columns
            console.print(Text(f"{row['name']}: {row['reason']}"), soft_wrap=True)


def _age(created: str) -> str:
    """Return how long ago an experiment was made; empty if an earlier version did not note it."""
    if not created:
        return ""
    return duration(datetime.now(timezone.utc) - datetime.fromisoformat(created))
