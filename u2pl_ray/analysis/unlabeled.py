"""Say whether the unlabeled images helped: against supervised training, and the oracle that knows all labels."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean
from typing import Any

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.analysis.scatter import scatter
from u2pl_ray.config.metrics import spoken
from u2pl_ray.search.experiment.verdict import against
from u2pl_ray.search.listeners.formatting import many, number
from u2pl_ray.search.study.comparison import compare
from u2pl_ray.search.study.trial_record import State

SUPERVISED, ORACLE = "supervised", "oracle"


NO_GAP = "the oracle is not ahead of supervised training by more than noise"


def gap_closed(
    value: float, supervised: float, oracle: float | None, maximize: bool = True, noise: float = 0.0
) -> float | None:
    """Return (value - supervised) / (oracle - supervised); None without an oracle that is ahead by more than noise.

    Args:
        value: of the method.
        supervised: of training on the labeled images alone.
        oracle: of training on the labels of the unlabeled images too.
        maximize: whether larger is better.
        noise: standard deviation of oracle - supervised that chance alone gives.
    """
    if oracle is None or (oracle - supervised if maximize else supervised - oracle) <= noise:
        return None
    return (value - supervised) / (oracle - supervised)


@dataclass(frozen=True)
class Row:
    """One training beside the supervised one.

    Attributes:
        label: what it is, such as `best 0004` or `oracle`.
        trial: its id if it is a trial of the search, else empty.
        value: of the search's first objective.
        ahead: by how much it is better than supervised; negative if worse.
        closed: share of the gap to the oracle, None without one.
    """

    label: str
    trial: str
    value: float
    ahead: float
    closed: float | None


def against_supervised(analysis: Analysis) -> list[Row]:
    """Compare the paper's setting, the best, and the other baselines with the supervised training of the search.

    Only trainings of full length: a stopped one would be worse for that alone.

    Returns:
        Supervised first, then the paper's setting, the best, other baselines; an empty list without supervised.
    """
    done = {record.note: record for record in analysis.baselines if record.state == State.COMPLETED}
    values = {name: record.value for name, record in done.items() if record.value is not None}
    supervised, oracle = values.pop(SUPERVISED, None), values.get(ORACLE)
    if supervised is None:
        return []
    maximize = analysis.metric.maximize
    noise = math.hypot(*(scatter(done[name]) or 0.0 for name in (SUPERVISED, ORACLE) if name in done))
    shown = [(SUPERVISED, "", supervised), *_searched(analysis), *((name, "", value) for name, value in values.items())]
    return [
        Row(
            label,
            trial,
            value,
            value - supervised if maximize else supervised - value,
            gap_closed(value, supervised, oracle, maximize, noise),
        )
        for label, trial, value in shown
    ]


def _searched(analysis: Analysis) -> list[tuple[str, str, float]]:
    """Return label, id and value of the paper's setting and of the best trial, if they are complete."""
    found: dict[str, tuple[str, str, float]] = {}
    for role, record in (("paper's setting", analysis.paper), ("best", analysis.best)):
        if record is not None and record.state == State.COMPLETED and record.value is not None:
            label = f"{role} {record.id}" if record.id not in found else f"paper's setting {record.id}, the best"
            found[record.id] = (label, record.id, record.value)
    return list(found.values())


def did_they_help(analysis: Analysis) -> str:
    """Say in a sentence what the unlabeled images brought; an empty string without a supervised training."""
    if (comparison := compare(analysis.judgement, SUPERVISED)) is not None:
        told = against(comparison, "supervised training", analysis.metric)
        lost = comparison.diverged or comparison.theirs_diverged  # then the means are of those that are left
        return f"With unlabeled images: {told}.{'' if lost else _oracle(analysis)}"
    rows = against_supervised(analysis)
    searched = [row for row in rows if row.trial]
    if not searched:
        return ""
    told = " and ".join(_told(row) for row in searched)
    versus = f"supervised training has {spoken(analysis.metric.name)} {number(rows[0].value)}"
    diverged = sum(analysis.judgement.diverged_with_baselines.values())
    left_out = f" {many(diverged, 'training')} on new seeds diverged." if diverged else ""
    no_gap = f"; {NO_GAP}" if any(row.label == ORACLE for row in rows) and rows[0].closed is None else ""
    return f"With unlabeled images: {versus}, {told}; one training each, so luck may explain it{no_gap}.{left_out}"


def _oracle(analysis: Analysis) -> str:
    """Say what share of the gap to the oracle is closed, by means over all trainings at full length."""
    seeds, baselines, use = analysis.judgement.seeds, analysis.judgement.baselines, analysis.judgement.use
    if ORACLE not in baselines or use is None or not {use, baselines[ORACLE], baselines[SUPERVISED]} <= seeds.keys():
        return ""
    value, supervised, oracle = (
        mean(value for _, value, _ in seeds[label]) for label in (use, baselines[SUPERVISED], baselines[ORACLE])
    )
    posterior = analysis.judgement.posterior
    seed_sd = 0.0 if posterior is None else posterior.seed_sd
    noise = seed_sd * math.sqrt(sum(1 / len(seeds[baselines[name]]) for name in (SUPERVISED, ORACLE)))
    closed = gap_closed(value, supervised, oracle, analysis.metric.maximize, noise)
    if closed is None:
        return f" {NO_GAP.capitalize()}."
    return f" It closes {closed:.0%} of the gap to the oracle, by the means of all trainings."


def _told(row: Row) -> str:
    share = "" if row.closed is None else f" ({row.closed:.0%} of the gap to the oracle)"
    distance = f"{abs(row.ahead):.4f}"
    stands = "level with it" if float(distance) == 0 else f"{distance} {'better' if row.ahead > 0 else 'worse'}"
    return f"the {row.label}{',' * (',' in row.label)} is {stands}{share}"


def as_rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the comparison as plain data."""
    return [{"training": row.label, "value": row.value, "ahead": row.ahead, "gap_closed": row.closed} for row in rows]
