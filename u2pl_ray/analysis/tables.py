"""Print an experiment on the command line: trials, the best one, scores, and the next command."""

import logging
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from u2pl_ray.analysis.front import print_front
from u2pl_ray.config import metrics as names
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.experiment.experiment import Experiment, Summary
from u2pl_ray.search.experiment.verdict import verdict
from u2pl_ray.search.listeners.console import plain_console, results_table
from u2pl_ray.search.listeners.formatting import many, number, why_failed
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import RETRYABLE
from u2pl_ray.system.stores import is_uri

_TOP = 20
"""Trials in the table at the end of a search."""
logger = logging.getLogger(__name__)


def print_summary(experiment: Experiment, summary: Summary, console: Console | None = None) -> None:
    """Print the end of a search: the table of trials, the best one, and the next commands.

    Args:
        experiment: the search.
        summary: result of running it.
        console: the terminal.
    """
    console = console or plain_console()
    console.print()
    objective, maximize = experiment.space.metric.name, experiment.space.metric.maximize
    console.print(results_table(summary.trials, summary.best, objective, _TOP, maximize=maximize, running=False))
    if len(summary.trials) > _TOP:
        console.print(f"and {len(summary.trials) - _TOP} more: u2pl-ray status {experiment.argument}")
    if experiment.space.further:
        print_front(experiment, experiment.study().front(), console)
    elif summary.best is not None:
        repeated = experiment.judgement(experiment.study()).repeated
        which = f"{'setting to use' if repeated else 'best trial'} {summary.best.id}"
        which = "the training" if experiment.single else which
        console.print(f"{which}: {names.spoken(objective)} {number(summary.best.latest)}")
        checkpoint = experiment.checkpoint(summary.best.id)
        console.print(f"  config      {shlex.quote(experiment.place.below(layout.BEST))}")
        console.print(f"  checkpoint  {_checkpoint(checkpoint, summary.best.epochs)}")
    if len(summary.trials) > 1:
        console.print(f"  report      {_report(experiment)}")
    if summary.finished and summary.reason:
        console.print(f"ended: {summary.reason} (more: u2pl-ray extend {experiment.argument})")
    if not summary.finished:
        console.print(Text.assemble(("not finished", "yellow"), f": {summary.reason or 'interrupted'}"))
        console.print(f"next: u2pl-ray resume {experiment.argument}")
    elif summary.best is not None and len(summary.trials) > 1:
        _print_answer(experiment, console)
        best = experiment.place.below(layout.BEST)
        verb = f"export {experiment.argument}" if is_uri(best) else f"train {shlex.quote(best)}"
        console.print(f"next: u2pl-ray {verb}")
    elif summary.best is not None:
        console.print(f"next: {evaluate_command(experiment)}")
    else:
        console.print("no trial succeeded:")
        for reason in why_failed(summary.trials):
            console.print(f"  {reason}")
        if any(trial.reason in RETRYABLE for trial in summary.trials):
            console.print(f"next: mend that, then u2pl-ray resume {experiment.argument} --retry-errored")


def _checkpoint(path: str | None, epochs: int) -> str:
    """Return a trial's newest checkpoint for a command line, and how it stands to the `epochs` in the table."""
    if path is None:
        return "none on disk"
    epoch = int(path.rpartition("epoch_")[2])
    told = f"  (of epoch {epoch}, whose result resume brings)" if epoch > epochs else ""
    return shlex.quote(path) + told


def _print_answer(experiment: Experiment, console: Console) -> None:
    """Print the result in a sentence, how certain it is, and the commands that are useful after `next:`."""
    from u2pl_ray.analysis.answer import answer, confirmed, next_steps
    from u2pl_ray.analysis.load import analyse

    analysis = analyse(experiment)
    told = answer(analysis, confirmed(analysis))
    console.print(Text(f"{told.sentence} {told.doubt}".strip()))
    for what, command in next_steps(analysis):
        console.print(f"  {command}  # {what}")


def evaluate_command(experiment: Experiment) -> str:
    """Return the command that scores the best trial: on the val images if the data has no test list."""
    split = " --split val" if experiment.config.data.test is None else ""
    return f"u2pl-ray evaluate {experiment.argument}{split}"


def _report(experiment: Experiment) -> str:
    """Write the report; return its path, or the command that writes it if that failed. Raises no exception."""
    try:
        from u2pl_ray.analysis.load import analyse
        from u2pl_ray.analysis.report import write_report

        return str(write_report([analyse(experiment)]))
    except Exception as error:
        logger.warning("the report was not written: %s: %s", type(error).__name__, error)
        return f"u2pl-ray report {experiment.argument}"


def best_of(experiment: Experiment) -> dict[str, Any]:
    """Return the best trial as plain data: id, state, epochs, params, metrics, value, checkpoint.

    With replicates `answer` too. `value` is the objective by the study, which has it without the trial's files.

    Raises:
        UserError: no trial has a value yet, or all failed.
    """
    status = experiment.status()
    if status["best"] is None:
        raise UserError(f"{experiment.name}: {no_result(experiment)}")
    trial: dict[str, Any] = next(trial for trial in status["trials"] if trial["id"] == status["best"])
    checkpoint = experiment.checkpoint(trial["id"])
    study = experiment.study()
    judgement = experiment.judgement(study)
    told = {"answer": verdict(judgement)} if judgement.repeated else {}
    value = study.record(int(trial["id"])).latest
    return {"name": experiment.name, **trial, "value": value, "checkpoint": checkpoint, **told}


def no_result(experiment: Experiment) -> str:
    """Say why no trial is the best: what the failures were, or that none has reported a value so far."""
    reasons = why_failed(experiment.study().records())
    if reasons:
        return f"no trial succeeded: {'; '.join(reasons)}"
    return f"no trial has reported a result yet; see `u2pl-ray status {experiment.argument}`"


def print_best(experiment: Experiment, console: Console | None = None) -> None:
    """Print the best trial: settings, score, checkpoint, and the next commands.

    Args:
        experiment: the search.
        console: the terminal.
    """
    console = console or plain_console()
    best = best_of(experiment)
    objective = experiment.space.metric.name
    state = best["state"].lower()
    console.print(
        f"trial {best['id']} ({state}, {many(best['epochs'], 'epoch')}): "
        f"{names.spoken(objective)} {number(best['value'])}"
    )
    if best.get("answer"):
        console.print(best["answer"])
    for path, value in best["params"].items():
        console.print(f"  {path} = {number(value)}")
    if best["checkpoint"] is not None:
        console.print(f"checkpoint: {shlex.quote(best['checkpoint'])}")
        console.print(f"next: {evaluate_command(experiment)}")


def print_scores(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print mean and per-class IoU, and Boundary IoU, of each network.

    Args:
        result: of an evaluation, see `analysis.evaluations`.
        console: the terminal.
    """
    console = console or plain_console()
    metrics = result["metrics"]
    table = Table(
        "class", title=f"IoU on {result['images']} {result['split']} images, after {many(result['epochs'], 'epoch')}"
    )
    columns: list[tuple[Callable[[str], str], str]] = []
    for network in result["networks"]:
        teacher = network == "teacher"
        table.add_column(network, justify="right")
        columns.append((partial(names.val_iou, teacher=teacher), names.VAL_TEACHER_MIOU if teacher else names.VAL_MIOU))
        if names.boundary_miou(teacher) in metrics:
            table.add_column("boundary", justify="right")
            columns.append((partial(names.boundary_iou, teacher=teacher), names.boundary_miou(teacher)))
    for label in result["classes"]:
        row = [metrics.get(name_of(label)) for name_of, _ in columns]
        table.add_row(Text(label), *("-" if value is None else f"{value:.4f}" for value in row))
    table.add_section()
    table.add_row("mean", *(f"{metrics[mean]:.4f}" for _, mean in columns), style="bold")
    console.print(table)
