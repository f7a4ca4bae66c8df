"""Print a search on the terminal: one line per event, and the table at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.listeners.formatting import number, settings
from u2pl_ray.search.study.trial_record import State, TrialRecord

_COLOURS = {
    State.COMPLETED: "green",
    State.STOPPED: "yellow",
    State.FAILED: "red",
    State.INFEASIBLE: "red",
    State.RUNNING: "cyan",
    State.PENDING: "dim",
}


class ConsoleListener(Listener):
    """Listener that prints one line per event.

    Args:
        console: the terminal.
        objective: name of the metric trials are compared by.
    """

    def __init__(self, console: Console, objective: str) -> None:
        self._console, self._objective = console, objective
        self._epochs: dict[str, int] = {}

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """Print `0003 starts  temperature=0.31 capacity=2048`."""
        self._epochs[trial.id] = config.train.epochs
        verb = f"continues after epoch {trial.epochs}" if trial.epochs else "starts"
        note = f" ({trial.note})" if trial.note else ""
        self._line(trial, f"{verb}{note}  [dim]{escape(settings(trial.params))}[/dim]")

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """Print `0003 epoch 4/9  val/miou 0.4123  best 0.5530 (0001)`."""
        total = self._epochs.get(trial.id, "?")
        leader = "" if best is None else f"  [dim]best {number(best.latest)} ({best.id})[/dim]"
        value = number(metrics.get(self._objective))
        self._line(trial, f"epoch {metrics['training_iteration']}/{total}  {self._objective} {value}{leader}")

    def trial_finished(self, trial: TrialRecord) -> None:
        """Print `0003 stopped after 2 epochs  val/miou 0.4123`."""
        word = f"[{_COLOURS[trial.state]}]{trial.state.value.lower()}[/]"
        if trial.state in (State.COMPLETED, State.STOPPED):
            self._line(trial, f"{word} after {trial.epochs} epochs  {self._objective} {number(trial.latest)}")
        else:
            self._line(trial, f"{word} ({trial.reason}): {escape(trial.detail)}")

    def note(self, text: str) -> None:
        """Print the line unchanged."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def _line(self, trial: TrialRecord, text: str) -> None:
        self._console.print(f"[bold]{trial.id}[/bold] {text}", highlight=False, soft_wrap=True)


def results_table(
    trials: Sequence[TrialRecord], best: TrialRecord | None, objective: str, top: int = 20, maximize: bool = True
) -> Table:
    """Build the table of trials: the best, then completed ones, then others, by value; those without one last.

    Args:
        trials: all of them.
        best: the best trial, set in bold.
        objective: name of the metric in the table's head.
        top: number of rows.
        maximize: whether larger is better.
    """
    leader = None if best is None else best.id

    def rank(trial: TrialRecord) -> tuple[bool, bool, bool, float]:
        value = trial.latest
        down = 0.0 if value is None else -value if maximize else value
        return trial.id != leader, value is None, trial.state != State.COMPLETED, down

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("trial", "state", "epochs", objective):
        table.add_column(head, justify="left" if head in ("trial", "state") else "right", no_wrap=True)
    table.add_column("settings")  # in one column: eight narrow ones cannot be read on a terminal of 80 columns
    for trial in sorted(trials, key=rank)[:top]:
        table.add_row(
            f"{trial.id} {trial.note}".strip(),
            f"[{_COLOURS[trial.state]}]{trial.state.value}[/]",
            str(trial.epochs),
            number(trial.latest),
            escape(settings(trial.params)),
            style="bold" if trial.id == leader else "",
        )
    return table
