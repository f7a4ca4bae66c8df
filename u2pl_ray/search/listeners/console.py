"""Print a search on the terminal: one line per event, and the table at the end."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.listeners.formatting import REASONS, duration, many, number, settings
from u2pl_ray.search.listeners.pace import expected_end, time_left
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.trial_record import State, TrialRecord, state_word

_COLOURS = {
    State.COMPLETED: "green",
    State.STOPPED: "yellow",
    State.FAILED: "red",
    State.INFEASIBLE: "red",
    State.RUNNING: "cyan",
    State.PENDING: "dim",
}


_PIPED = 160
"""Columns of a table that goes into a file or another program, unless COLUMNS says otherwise."""


def plain_console() -> Console:
    """Return a console that prints paths and names as they are: no markup, no emoji codes, no line breaks in them."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=width)


class ConsoleListener(Listener):
    """Listener that prints one line per event.

    Args:
        console: the terminal.
        objective: name of the metric trials are compared by.
        total: trials the search is to have; None: no limit.
        epochs: of a trial at most.
        records: all trials and their companions as they are now.
        allowance: what the search may spend in trainings, as it is now; None: nothing counts trainings.
    """

    def __init__(
        self,
        console: Console,
        objective: str,
        total: int | None = None,
        epochs: int = 0,
        records: Callable[[], Sequence[TrialRecord]] = lambda: (),
        allowance: Callable[[], Allowance | None] = lambda: None,
    ) -> None:
        self._console, self._objective, self._records, self._allowance = console, objective, records, allowance
        self._total, self._most = total, epochs
        self._epochs: dict[str, int] = {}

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """Print `0003 starts (4 of 20)  temperature=0.31 capacity=2048`."""
        self._epochs[trial.id] = config.train.epochs
        verb = f"continues after epoch {trial.epochs}" if trial.epochs else "starts"
        place = self._place(trial)
        notes = ", ".join(text for text in (trial.note, place) if text)
        self._line(trial, f"{verb}{f' ({notes})' if notes else ''}", f"  {settings(trial.params)}", "dim")

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """Print `0003 epoch 4/9  val/miou 0.4123  leader 0001 with 0.5530`."""
        total = self._epochs.get(trial.id, "?")
        leader = ""
        if best is not None and best.id != trial.id:
            so_far = "" if best.state == State.COMPLETED else " so far"
            leader = f"  leader {best.id} with {number(best.latest)}{so_far}"
        elif best is not None and self._total != 1:
            leader = "  leader"
        value = number(metrics.get(self._objective))
        self._line(trial, f"epoch {metrics['training_iteration']}/{total}  {self._objective} {value}", leader, "dim")

    def trial_finished(self, trial: TrialRecord) -> None:
        """Print `0003 stopped after 2 epochs  val/miou 0.4123  (4 of 20 done, about 12 min left)`."""
        word = (trial.state.value.lower(), _COLOURS[trial.state])
        if trial.state in (State.COMPLETED, State.STOPPED):
            told = f" after {many(trial.epochs, 'epoch')}  {self._objective} {number(trial.latest)}"
        else:
            told = f" ({REASONS.get(trial.reason, trial.reason)}): {trial.detail}"
        self._print(Text.assemble((trial.id, "bold"), " ", word, told, (self._standing(), "dim")))

    def note(self, text: str) -> None:
        """Print the line unchanged."""
        self._print(Text(text))

    def _place(self, trial: TrialRecord) -> str:
        if self._total is None or self._total < 2 or trial.companion is not None:
            return ""
        before = sum(record.number < trial.number for record in counted(self._records()))
        return f"{before + 1} of {self._total}" if before < self._total else ""

    def _standing(self) -> str:
        """Say how many trials, or how much of a budget of trainings, are done, and how long the rest will take."""
        allowance, records = self._allowance(), self._records()
        done = sum(record.state.finished for record in counted(records))
        left = time_left(records, self._total, self._most, allowance=allowance)
        explored = self._total is not None and done >= self._total
        end = None if allowance is None else expected_end(records, self._total, allowance)
        if allowance is not None and end is not None and (explored or allowance.limit is not None):
            return f"  ({allowance.spent(records):.1f} of {end:.3g} trainings done{_about(left)})"
        if self._total is None or self._total < 2 or explored or not records:
            return ""
        return f"  ({done} of {self._total} done{_about(left)})"

    def _line(self, trial: TrialRecord, text: str, more: str = "", style: str = "") -> None:
        self._print(Text.assemble((trial.id, "bold"), " ", text, (more, style)))

    def _print(self, text: Text) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _about(left: timedelta | None) -> str:
    return "" if not left else f", about {duration(left)} left"


def results_table(
    trials: Sequence[TrialRecord],
    best: TrialRecord | None,
    objective: str,
    top: int = 20,
    maximize: bool = True,
    running: bool = True,
) -> Table:
    """Build the table of trials: the best, completed ones, others, failed ones, each by value; those without one last.

    Args:
        trials: all of them.
        best: the best trial, set in bold.
        objective: name of the metric in the table's head.
        top: number of rows.
        maximize: whether larger is better.
        running: whether anybody runs the search; else trials that have not ended are shown as interrupted.
    """
    leader = None if best is None else best.id

    def rank(trial: TrialRecord) -> tuple[bool, bool, bool, bool, float]:
        value = trial.latest
        down = 0.0 if value is None else -value if maximize else value
        return trial.id != leader, value is None, trial.state != State.COMPLETED, trial.failed, down

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("trial", "state", "epochs", objective):
        table.add_column(Text(head), justify="left" if head in ("trial", "state") else "right", no_wrap=True)
    table.add_column("settings")  # in one column: eight narrow ones cannot be read on a terminal of 80 columns
    for trial in sorted(trials, key=rank)[:top]:
        table.add_row(
            Text(f"{trial.id} {trial.note}".strip()),
            Text(state_word(trial, running), _COLOURS[trial.state]),
            str(trial.epochs),
            number(trial.latest),
            Text(settings(trial.params)),
            style="bold" if trial.id == leader else "",
        )
    return table
