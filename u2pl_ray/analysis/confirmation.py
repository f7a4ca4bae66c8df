"""Test whether the best trials of a search beat the paper's setting by more than the noise between seeds."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.listeners.formatting import number, settings
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import PAPER, State
from u2pl_ray.system.atomic import write_whole

CONFIDENCE = 0.95
_BETTER = "better"
_VERDICTS = {_BETTER: "green", "worse": "red"}


def confirmation(experiment: Experiment) -> dict[str, Any]:
    """Compare each of the best settings with the paper's on the same seeds, from the trials that are complete.

    Each setting is compared seed by seed, by the t interval of the mean of the paired differences: a seed decides the
    batches and the initial weights of both trainings, so pairing removes that common part of the noise. With few pairs
    no other test is sharper: sign and rank tests cannot reach 5 % with fewer than six. The error probability is divided
    among the settings (Bonferroni), so that all intervals hold together with 95 %; otherwise the best of several would
    look better than it is.

    Returns:
        experiment, of, objective, maximize, seeds, done, total, confidence, method, and `settings`: per setting
        label, params, values (by seed), diverged (trainings), mean, spread (standard deviation, None below two seeds),
        and for leaders pairs, difference, low, high, p (two-sided, not adjusted) and verdict (better, worse, not told
        apart from the noise, too few seeds). What diverged has no value to compare, so a leader of which a training
        diverged is not called better.
    """
    records = experiment.study().records()
    rows: dict[str, dict[str, Any]] = {}
    notes: dict[int, str] = {}
    for record in records:
        # What is trained again after a failure is of the same setting.
        label = notes[record.number] = record.note if record.retries is None else notes[record.retries]
        if label not in rows:
            params = {path: value for path, value in record.params.items() if path != "seed"}
            rows[label] = {"label": label, "params": params, "values": {}, "diverged": 0}
        rows[label]["diverged"] += record.diverged
        if record.state == State.COMPLETED:
            rows[label]["values"][record.params["seed"]] = record.value
    leaders = [label for label in rows if label != PAPER]
    for label, row in rows.items():
        values = list(row["values"].values())
        row["mean"] = float(np.mean(values)) if values else None
        row["spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        if label != PAPER:
            row |= _against(rows[PAPER]["values"], row["values"], len(leaders), experiment.space.metric.maximize)
            if row["diverged"] and row["verdict"] == _BETTER:
                row["verdict"] = "not called better"
    return {
        "experiment": experiment.name,
        "of": experiment.options.confirms,
        "objective": experiment.space.metric.name,
        "maximize": experiment.space.metric.maximize,
        "seeds": sorted({record.params["seed"] for record in records}),
        "done": sum(record.state.finished for record in records),
        "total": len(records),
        "confidence": CONFIDENCE,
        "method": "t interval of the paired differences, Bonferroni over the leaders",
        "settings": list(rows.values()),
    }


def _against(paper: Mapping[int, float], leader: Mapping[int, float], leaders: int, maximize: bool) -> dict[str, Any]:
    """Compare one setting with the paper's.

    Args:
        paper: values by seed.
        leader: values by seed.
        leaders: number of settings that are compared, for the Bonferroni correction.
        maximize: whether larger is better.
    """
    seeds = sorted(paper.keys() & leader.keys())
    differences = np.array([leader[seed] - paper[seed] for seed in seeds])
    result: dict[str, Any] = {
        "pairs": len(seeds),
        "difference": float(differences.mean()) if len(seeds) else None,
        "low": None,
        "high": None,
        "p": None,
        "verdict": "too few seeds",
    }
    if len(seeds) < 2:
        return result
    from scipy import stats

    mean, error = float(differences.mean()), float(stats.sem(differences))
    half = error * float(stats.t.ppf(1 - (1 - CONFIDENCE) / (2 * leaders), len(seeds) - 1))
    result["low"], result["high"] = mean - half, mean + half
    result["p"] = float(2 * stats.t.sf(abs(mean) / error, len(seeds) - 1)) if error else (0.0 if mean else 1.0)
    larger, smaller = result["low"] > 0, result["high"] < 0
    if larger or smaller:
        result["verdict"] = _BETTER if larger == maximize else "worse"
    else:
        result["verdict"] = "not told apart from the noise"
    return result


def diverged_words(row: Mapping[str, Any]) -> str:
    """Return how many trainings of a setting diverged, to follow its verdict; empty if none."""
    return f", {row['diverged']} of its trainings diverged" if row["diverged"] else ""


def write_confirmation(experiment: Experiment) -> Path:
    """Write confirmation.json into the experiment's folder."""
    target = experiment.folder / layout.CONFIRMATION
    write_whole(target, json.dumps(confirmation(experiment), indent=2))
    experiment.place.publish()
    return target


def print_confirmation(experiment: Experiment, console: Console) -> None:
    """Print the comparison as a table.

    Args:
        experiment: the confirmation.
        console: the terminal.
    """
    told = confirmation(experiment)
    objective, seeds = told["objective"], len(told["seeds"])
    each = f"{seeds} seeds" if seeds != 1 else "1 seed"
    console.print(Text(f"{told['of']}: {told['done']} of {told['total']} trainings done ({each} each)"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    for head in ("seeds", Text(objective), "spread", "to the paper", "interval"):
        table.add_column(head, justify="right", no_wrap=True)
    best = max if told["maximize"] else min
    means = [row["mean"] for row in told["settings"] if row["mean"] is not None]
    for row in told["settings"]:
        table.add_row(
            row["label"],
            str(len(row["values"])),
            number(row["mean"]),
            "" if row["spread"] is None else f"{row['spread']:.4f}",
            _signed(row.get("difference")),
            "" if row.get("low") is None else f"{_signed(row['low'])} .. {_signed(row['high'])}",
            style="bold" if means and row["mean"] == best(means) else "",
        )
    console.print(table)
    for row in told["settings"]:  # too wide for a terminal beside the numbers
        verdict = row.get("verdict", "")
        styled = (f"  {verdict}" if verdict else "", _VERDICTS.get(verdict, ""))
        told_of = Text.assemble(row["label"], styled, diverged_words(row), f"  {settings(row['params'])}")
        console.print(told_of, soft_wrap=True)
    console.print(f"spread: standard deviation over seeds; interval: {CONFIDENCE:.0%}, {told['method']}")


def _signed(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:+.4f}"
