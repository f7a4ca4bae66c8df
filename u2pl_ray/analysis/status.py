"""Print the state of a search on the terminal: once, or repeatedly until it ends."""

import time
from datetime import datetime, timedelta
from statistics import mean

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from u2pl_ray.analysis.answer import counts, is_finished, standing
from u2pl_ray.analysis.load import Analysis, analyse
from u2pl_ray.search.driver.budget import used_by
from u2pl_ray.search.driver.remaining import counted
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.console import results_table
from u2pl_ray.search.listeners.formatting import number
from u2pl_ray.search.study.trial_record import State, TrialRecord

_AGAIN = 2.0
"""Seconds between two updates."""


def print_status(experiment: Experiment, console: Console | None = None) -> None:
    """Print all trials, rungs, the best so far, the resources in use, and the time left.

    Args:
        experiment: the search; no driver need be running.
        console: the terminal.
    """
    (console or Console(soft_wrap=True, highlight=False)).print(picture(analyse(experiment)))


def watch(experiment: Experiment, console: Console | None = None, every: float = _AGAIN) -> None:
    """Print the state of a search and update it until the search ends or the user presses Ctrl-C.

    It works on any machine that reaches the experiment's folder: everything is read from there.

    Args:
        experiment: the search.
        console: the terminal.
        every: smallest number of seconds between two updates.
    """
    console = console or Console(highlight=False)
    analysis, took = analyse(experiment), 0.0
    with Live(picture(analysis, console.height), console=console, auto_refresh=False) as live:
        try:
            while analysis.running:
                time.sleep(max(every, 5 * took))  # reading a large search takes some time
                began = time.monotonic()
                experiment.place.fetch()
                analysis = analyse(experiment)
                took = time.monotonic() - began
                live.update(picture(analysis, console.height), refresh=True)
        except KeyboardInterrupt:
            return
        live.update(picture(analysis), refresh=True)


def picture(analysis: Analysis, height: int | None = None) -> RenderableType:
    """Build the printed state of a search.

    Args:
        analysis: the search at this moment.
        height: lines of the terminal; as many trials are shown as fit. None: all.
    """
    experiment, metric = analysis.experiment, analysis.metric
    lines = list(_lines(analysis))
    top = len(analysis.records) if height is None else max(3, height - len(lines) - 5)
    table = results_table(analysis.records, analysis.best, metric.name, top=top, maximize=metric.maximize)
    hidden = len(analysis.records) - top
    grid = Table.grid(padding=(0, 2))
    for name, text in lines:
        grid.add_row(Text(name, style="dim"), text)
    parts: list[RenderableType] = [Text(experiment.name, style="bold"), grid, table]
    if hidden > 0:
        parts.append(Text(f"and {hidden} more", style="dim"))
    return Group(*parts)


def _lines(analysis: Analysis) -> list[tuple[str, str]]:
    experiment, best = analysis.experiment, analysis.best
    told = ", ".join(f"{count} {state.value.lower()}" for state, count in counts(analysis).items()) or "none yet"
    of = "" if experiment.options.trials is None else f" of {experiment.options.trials}"
    lines = [
        ("state", _STANDING[standing(analysis)].format(name=experiment.name)),
        ("trials", f"{len(analysis.records)}{of} ({told})"),
    ]
    limits = experiment.options.budget.words(gpu=True)
    if limits:
        hours, device_hours = used_by(analysis.study)
        used = f"{hours:.3g} hours, {device_hours:.3g} GPU-hours (on CPU: worker-hours)"
        lines.append(("used", f"{used}; ends after {' or '.join(limits)}"))
    if analysis.rungs:
        lines.append(("rungs", "; ".join(_rung(analysis, rung) for rung in analysis.rungs)))
    if best is not None:
        lines.append(
            ("best", f"{analysis.metric.name} {number(best.latest)}, trial {best.id} after {best.epochs} epochs")
        )
    working = [record for record in analysis.records if record.state == State.RUNNING]
    if analysis.running and working:
        lines.append(("in use", _in_use(analysis, working)))
    if analysis.running and not is_finished(analysis):
        left = time_left(analysis)
        lines.append(("time left", "not known before the first epoch" if left is None else f"about {_told(left)}"))
    return lines


def _rung(analysis: Analysis, rung: int) -> str:
    reached = [record for record in analysis.records if rung in record.values]
    stopped = sum(record.state == State.STOPPED and record.epochs == rung for record in reached)
    return f"epoch {rung}: {len(reached)} reached, {stopped} stopped"


def _in_use(analysis: Analysis, working: list[TrialRecord]) -> str:
    config = analysis.experiment.config
    workers = len(working) * config.most_workers
    speeds = [
        row["perf/images_per_second"]
        for record in working
        for row in analysis.epochs[record.id][-1:]
        if "perf/images_per_second" in row
    ]
    text = f"{workers} worker{'s' * (workers != 1)} in {len(working)} trial{'s' * (len(working) != 1)}"
    if speeds:
        text += f", {sum(speeds):.0f} images/s"
    memory = [
        row["perf/memory_gib"] for epochs in analysis.epochs.values() for row in epochs if "perf/memory_gib" in row
    ]
    return text + (f", at most {max(memory):.1f} GiB of GPU memory a worker" if memory else "")


def time_left(analysis: Analysis, now: datetime | None = None) -> timedelta | None:
    """Estimate how long the remaining trials will take; None if no epoch has been reported.

    The remaining epochs are those that running trials may still train, plus the mean number of epochs of ended trials
    for each trial not yet started (none of these if there is no limit of trials). They are divided by the epochs per
    second since the first trial began, which includes start-up, waiting and the number of concurrent trials. After an
    interruption the estimate is too high.

    Args:
        analysis: the search.
        now: local time; default: the present.
    """
    epochs, total = analysis.experiment.config.train.epochs, analysis.experiment.options.trials
    done = sum(record.epochs for record in analysis.records)
    began = min((record.started for record in analysis.records if record.started is not None), default=None)
    if not done or began is None:
        return None
    valued = [record.epochs for record in analysis.records if record.state in (State.COMPLETED, State.STOPPED)]
    usual = mean(valued) if valued else epochs
    running = [record for record in analysis.records if record.state == State.RUNNING]
    started = sum(record.state != State.PENDING for record in counted(analysis.records))
    left = sum(max(usual - record.epochs, 1) for record in running) + usual * max(0, (total or 0) - started)
    since = (now or datetime.now(began.tzinfo)) - began
    return since / done * left


def _told(time_left: timedelta) -> str:
    minutes = round(time_left.total_seconds() / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


_STANDING = {
    "running": "running",
    "finished": "finished",
    "interrupted": "interrupted: nobody runs it; go on with u2pl-ray resume {name}",
}
