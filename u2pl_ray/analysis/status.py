"""Print the state of a search on the terminal: once, or repeatedly until it ends."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from u2pl_ray.analysis.answer import answer, counts, is_finished, standing
from u2pl_ray.analysis.load import Analysis, analyse
from u2pl_ray.analysis.reading import read
from u2pl_ray.analysis.rules import DATA_WAIT
from u2pl_ray.analysis.unlabeled import against_supervised, as_rows, did_they_help
from u2pl_ray.config.metrics import spoken
from u2pl_ray.search.driver.budget import used_by
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.verdict import verdict
from u2pl_ray.search.listeners import pace
from u2pl_ray.search.listeners.console import plain_console, results_table
from u2pl_ray.search.listeners.formatting import duration, few, many, number, why_failed
from u2pl_ray.search.storage.waits import WaitingProcess, read_waits
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.remaining import counted
from u2pl_ray.search.study.trial_record import State, TrialRecord

_FINDINGS = 3
"""Of the diagnostics, that are shown."""
_WAITS = 5
"""Of the waits, that are shown."""
_AGAIN = 2.0
"""Seconds between two updates."""


def print_status(experiment: Experiment, console: Console | None = None) -> None:
    """Print all trials, rungs, the leader, the resources in use, and the time left.

    Args:
        experiment: the search; no driver need be running.
        console: the terminal.
    """
    (console or plain_console()).print(picture(analyse(experiment)))


def watch(experiment: Experiment, console: Console | None = None, every: float = _AGAIN) -> None:
    """Print the state of a search and update it until the search ends or the user presses Ctrl-C.

    It works on any machine that reaches the experiment's folder: everything is read from there.

    Args:
        experiment: the search.
        console: the terminal.
        every: smallest number of seconds between two updates.
    """
    console = console or Console(highlight=False, markup=False, emoji=False)
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
    top = len(analysis.everything) if height is None else max(3, height - len(lines) - 5)
    table = results_table(
        analysis.everything, analysis.best, metric.name, top=top, maximize=metric.maximize, running=analysis.running
    )
    hidden = len(analysis.everything) - top
    grid = Table.grid(padding=(0, 2))
    for name, text in lines:
        grid.add_row(Text(name, style="dim"), text)
    parts: list[RenderableType] = [Text(experiment.name, style="bold"), grid, table]
    if hidden > 0:
        parts.append(Text(f"and {hidden} more", style="dim"))
    return Group(*parts)


def _lines(analysis: Analysis) -> list[tuple[str, str]]:
    experiment, best = analysis.experiment, analysis.best
    told = ", ".join(f"{count} {state}" for state, count in counts(analysis).items()) or "none yet"
    of = "" if experiment.options.trials is None else f" of {experiment.options.trials}"
    lines = [
        ("state", _state(analysis)),
        ("trials", f"{len(analysis.records)}{of} ({told})"),
    ]
    limits = experiment.options.budget.words(gpu=True)
    if limits:
        hours, device_hours = used_by(analysis.study)
        used = f"{hours:.3g} hours, {device_hours:.3g} GPU-hours (on CPU: worker-hours)"
        if (allowance := _allowance(analysis)).limit is not None:
            used = f"{allowance.spent(analysis.everything):.3g} of {allowance.limit:.3g} trainings' worth, {used}"
        lines.append(("used", f"{used}; ends after {' or '.join(limits)}"))
    if analysis.rungs:
        lines.append(("rungs", "; ".join(_rung(analysis, rung) for rung in analysis.rungs)))
    if best is not None:
        lines.append(
            (
                "result" if experiment.single else "leader",
                f"{spoken(analysis.metric.name)} {number(best.latest)}, trial {best.id} after "
                f"{many(best.epochs, 'epoch')}",
            )
        )
    if analysis.judgement.repeated and (told := verdict(analysis.judgement)):
        lines.append(("answer", told))
    if (helped := did_they_help(analysis)) != "":
        lines.append(("unlabeled", helped))
    lines += [("failed", reason) for reason in why_failed(analysis.everything)]
    lines += _findings(analysis)
    working = [record for record in analysis.everything if record.state == State.RUNNING]
    if analysis.running and working:
        lines.append(("in use", _in_use(analysis, working)))
    if analysis.running:
        lines += _waits(_waiting(analysis))
    if analysis.running and not is_finished(analysis):
        left = time_left(analysis)
        lines.append(("time left", "not known before the first epoch" if left is None else f"about {duration(left)}"))
    return lines


def _state(analysis: Analysis) -> str:
    """Say whether it starts, runs, has ended, and what to do."""
    begun = any(record.epochs or record.state != State.PENDING for record in analysis.everything)
    if analysis.running and not begun:
        return "running: it starts; the first epoch is reported after about a minute or more"
    return _STANDING[standing(analysis)].format(name=analysis.experiment.argument)


def _findings(analysis: Analysis) -> list[tuple[str, str]]:
    """Return what the diagnostics say that makes trials' values unreliable, and which trials wait for their data."""
    everything = read(analysis)
    found = [finding for finding in everything if finding.severe]
    lines = [("look at", f"{finding.title}. {finding.text}") for finding in found[:_FINDINGS]]
    more = len(found) - _FINDINGS
    lines += [("", f"and {more} more: u2pl-ray report {analysis.experiment.argument}")] if more > 0 else []
    for finding in everything:
        if finding.kind == DATA_WAIT:
            others = f" Trials {few(finding.trials)} do." if finding.trials[1:] else ""
            lines.append(("idle", f"{finding.text}{others}"))
    return lines


def _rung(analysis: Analysis, rung: int) -> str:
    reached = [record for record in analysis.records if rung in record.values]
    stopped = sum(record.state == State.STOPPED and record.epochs == rung for record in reached)
    return f"epoch {rung}: {len(reached)} reached, {stopped} stopped"


def _waiting(analysis: Analysis) -> list[WaitingProcess]:
    drivers = {record.id: record.driver for record in analysis.everything if record.state == State.RUNNING}
    return read_waits(analysis.experiment.folder, drivers)


def _waits(waits: Sequence[WaitingProcess]) -> list[tuple[str, str]]:
    """Return a line for each of the longest waits."""
    now = time.time()
    told = [f"{each.trial}: {each.who} waits for {each.what}, {duration(timedelta(seconds=now - each.since))} now"
            for each in waits]  # fmt: skip
    lines = [("waits", text) for text in told[:_WAITS]]
    return lines + ([("", f"and {len(told) - _WAITS} more")] if len(told) > _WAITS else [])


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
    """Return how long the trials that are left will take at the pace so far; see `pace.time_left`."""
    experiment, allowance = analysis.experiment, _allowance(analysis)
    trials, epochs = experiment.options.trials, experiment.config.train.epochs
    return pace.time_left(analysis.everything, trials, epochs, now, allowance)


def _allowance(analysis: Analysis) -> Allowance:
    """Return what may be spent in trainings, by what the study says of the end of exploring."""
    return analysis.experiment.allowance.decided(analysis.study.study.user_attrs)


def as_data(analysis: Analysis) -> dict[str, Any]:
    """Return the search at this moment as plain data, for scripts.

    `state` (running, interrupted, finished, failed), `budget` (trials, trainings, hours, device_hours, patience: limit
    and used), `waits` (trial, who, what, since: seconds since 1970), `seconds_left` (None if not known or nobody runs
    it), `answer` (sentence, doubt; with replicates use, verdict, leader, probability, needed, difference with its
    interval, seed_sd), `unlabeled` (what they brought, see `unlabeled.against_supervised`), `reasons` of failures,
    `findings` of the diagnostics, and what `Experiment.status` has: name, best, trials.
    """
    experiment = analysis.experiment
    options, told = experiment.options, experiment.status()
    budget = options.budget.in_force
    hours, device_hours = used_by(analysis.study)
    left = time_left(analysis) if analysis.running and not is_finished(analysis) else None
    answered = answer(analysis)
    done = sum(record.state.finished for record in counted(analysis.records))
    return {
        "name": told.pop("name"),
        "state": standing(analysis),
        "created": experiment.created,
        "workers": experiment.config.workers,
        "objective": {"name": analysis.metric.name, "goal": analysis.metric.goal},
        "budget": {
            "trials": {"limit": options.trials, "used": done},
            "trainings": {
                "limit": experiment.allowance.limit,
                "used": experiment.allowance.spent(analysis.everything),
            },
            "hours": {"limit": budget.hours, "used": hours},
            "device_hours": {"limit": budget.device_hours, "used": device_hours},
            "patience": budget.patience,
        },
        "waits": [wait._asdict() for wait in _waiting(analysis)] if analysis.running else [],
        "seconds_left": None if left is None else left.total_seconds(),
        "answer": {"sentence": answered.sentence, "doubt": answered.doubt, **_judged(analysis)},
        "unlabeled": as_rows(against_supervised(analysis)),
        "reasons": why_failed(analysis.everything),
        "findings": [asdict(finding) for finding in read(analysis)],
        **told,
    }


def _judged(analysis: Analysis) -> dict[str, Any]:
    """Return what replicates say: setting to use, verdict, probability, difference with interval, seeds' spread."""
    judgement = analysis.judgement
    if not judgement.repeated or judgement.answer is None:
        return {}
    told = judgement.answer
    return {
        "use": judgement.use,
        "verdict": told.verdict.value,
        "leader": told.leader,
        "probability": told.probability,
        "needed": told.threshold,
        "difference": [told.difference, told.low, told.high],
        "seed_sd": told.seed_sd,
    }


_STANDING = {
    "running": "running",
    "finished": "finished",
    "failed": "failed: no training succeeded; mend what is said below, then u2pl-ray resume {name} --retry-errored",
    "interrupted": "interrupted: nobody runs it; go on with u2pl-ray resume {name}",
}
