"""Interpret the diagnostics in words: each finding names an observation, its trials, the likely cause and a remedy.

A rule examines the configuration and the reported metrics of one trial, and makes statements about that trial only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.config import metrics as names
from u2pl_ray.config.checks import rank_window, working_ranks
from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.formatting import number


@dataclass(frozen=True)
class Finding:
    """One observation about an experiment.

    Attributes:
        kind: a short name of the rule, such as "alpha".
        title: the observation in a few words.
        text: the observation, the cause, and the remedy.
        trials: in which it was observed, the clearest first.
        severe: whether it makes the trials' values unreliable.
    """

    kind: str
    title: str
    text: str
    trials: tuple[str, ...] = ()
    severe: bool = False


@dataclass(frozen=True)
class _Seen:
    """A finding in one trial; of several trials, the one with the largest `weight` is described."""

    weight: float
    text: str


@dataclass(frozen=True)
class _Trial:
    id: str
    config: Config
    epochs: Sequence[Mapping[str, Any]]
    classes: Sequence[str]

    @property
    def semi_supervised(self) -> list[Mapping[str, Any]]:
        """Return the epochs in which unlabeled images were used."""
        return [row for row in self.epochs if "diag/alpha" in row]

    def by_class(self, row: Mapping[str, Any], group: str) -> dict[str, float]:
        """Return a per-class diagnostic by class, for the classes that have it.

        Args:
            row: metrics of an epoch.
            group: the metric's name without the class.
        """
        found = {name: row.get(names.per_class(group, name)) for name in self.classes}
        return {name: value for name, value in found.items() if value is not None}


def read(analysis: Analysis) -> list[Finding]:
    """Apply all rules to an experiment; return the findings, severe ones first."""
    trials = [
        _Trial(record.id, analysis.config(record.id), analysis.epochs[record.id], analysis.classes)
        for record in analysis.records
        if analysis.epochs[record.id]
    ]
    findings = []
    for rule, (kind, title, severe) in _RULES.items():
        cases = {trial.id: seen for trial in trials if (seen := rule(trial)) is not None}
        if cases:
            order = tuple(sorted(cases, key=lambda trial: -cases[trial].weight))
            findings.append(Finding(kind, title, f"Trial {order[0]}: {cases[order[0]].text}", order, severe))
    return sorted([*findings, *_at_an_edge(analysis)], key=lambda finding: not finding.severe)


def _alpha(trial: _Trial) -> _Seen | None:
    """Find an alpha that discards most pixels at the first epochs with unlabeled images."""
    rows = trial.semi_supervised
    if not rows or rows[0]["diag/reliable_fraction"] > 0.4:
        return None
    used, alpha = rows[0]["diag/reliable_fraction"], trial.config.method.alpha
    text = (
        f"in the first epoch with unlabeled images only {used:.0%} of their pixels got a pseudo-label, "
        f"{mean(row['diag/reliable_fraction'] for row in rows):.0%} over the training. The cause is "
        f"method.alpha.start={alpha.start:g} ({alpha.kind}), which calls the rest unreliable"
    )
    right = rows[0].get("diag/pseudo_label/accuracy_unreliable")
    if right is not None:
        text += f", although {right:.0%} of those pseudo-labels were right"
    return _Seen(1 - used, f"{text}. Lower method.alpha.start; the paper's is 0.2.")


def _capacity(trial: _Trial) -> _Seen | None:
    """Find queues with fewer keys than an anchor draws negatives."""
    rows, method = trial.semi_supervised, trial.config.method
    fills = trial.by_class(rows[-1], "bank/fill") if rows else {}
    wanted = method.contrastive.negatives
    if not fills or median(fills.values()) >= wanted or method.memory_bank.capacity >= wanted:
        return None
    held = median(fills.values())
    text = (
        f"a class's queue holds {held:.0f} key{'s' * (held != 1)}, and every anchor draws {wanted} negatives from it: "
        f"the same ones over and over. The cause is method.memory_bank.capacity={method.memory_bank.capacity}. Raise "
        "it to some thousands; the paper's is 30000."
    )
    return _Seen(wanted / max(held, 1.0), text)


def _rank_window(trial: _Trial) -> _Seen | None:
    """Find a rank window that leaves few of the classes."""
    classes, ranks = len(trial.classes), trial.config.method.contrastive
    rows = [row for row in trial.semi_supervised if trial.by_class(row, "bank/pushed")]
    low, high = working_ranks(classes)
    set_low, set_high = rank_window(ranks, classes)
    if not rows or set_low <= max(low, classes / 2):
        return None
    left = min(set_high, classes) - set_low
    text = (
        f"with {classes} classes, method.contrastive.low_rank={set_low} leaves an unreliable pixel as a "
        f"negative of only {left} class{'es' * (left > 1)}, and makes labeled pixels negatives of "
        "classes they do not resemble"
    )
    false_rate = rows[-1].get("diag/negatives/false_rate")
    if false_rate is not None and false_rate < 0.01:
        text += f": the keys are easy ({false_rate:.1%} truly are of their class), and the contrast teaches little"
    cure = f"method.contrastive.low_rank={low} method.contrastive.high_rank={high}"
    return _Seen(set_low / classes, f"{text}. The cause is low_rank, too high for so few classes. Use {cure}.")


def _no_separation(trial: _Trial) -> _Seen | None:
    """Find an entropy threshold that does not separate right from wrong pseudo-labels."""
    last = trial.semi_supervised[-1] if trial.semi_supervised else {}
    good, bad = (last.get(f"diag/pseudo_label/accuracy_{kind}") for kind in ("reliable", "unreliable"))
    if good is None or bad is None or bad < good - 0.05:
        return None
    text = (
        f"in its last epoch {good:.0%} of the reliable and {bad:.0%} of the unreliable pseudo-labels are right: "
        "entropy does not tell them apart yet. Train the teacher longer before it is used (method.warmup_epochs), or "
        "longer altogether."
    )
    return _Seen(bad - good, text)


def _no_negatives(trial: _Trial) -> _Seen | None:
    """Find classes whose queue stays empty."""
    return _missing(
        trial,
        "negatives/missing",
        "had no negatives",
        "No pixel ranks them within [low_rank, high_rank): lower method.contrastive.low_rank.",
    )


def _no_anchors(trial: _Trial) -> _Seen | None:
    """Find classes without anchors, because no pixel is confident enough."""
    return _missing(
        trial,
        "anchors/missing",
        "had no anchors",
        "The teacher is never that sure of them (method.contrastive.anchor_threshold), or they are rarely seen: the "
        "contrast does nothing for them.",
    )


def _missing(trial: _Trial, group: str, what: str, why: str) -> _Seen | None:
    rows = trial.semi_supervised
    shares = trial.by_class(rows[-1], group) if rows else {}
    without = [name for name, share in shares.items() if share > 0.9]
    if not without:
        return None
    return _Seen(len(without), f"in the last epoch {', '.join(without)} {what} in over 90% of the steps. {why}")


def _turnover(trial: _Trial) -> _Seen | None:
    """Find queues whose keys are replaced within less than one step."""
    rows, bank = trial.semi_supervised, trial.config.method.memory_bank
    ages = trial.by_class(rows[-1], "bank/key_age") if rows else {}
    if not ages or median(ages.values()) >= 1 or bank.capacity < trial.config.method.contrastive.negatives:
        return None
    text = (
        f"keys are {median(ages.values()):.1f} steps old on average, so a queue of {bank.capacity} is replaced almost "
        "every step and its length hardly matters. Raise method.memory_bank.capacity or lower "
        f"method.memory_bank.push_cap ({bank.push_cap or 'none'})."
    )
    return _Seen(1 - median(ages.values()), text)


def _collapse(trial: _Trial) -> _Seen | None:
    """Find a metric that is lower at the end than at the first epochs with unlabeled images."""
    warmup = trial.config.method.warmup_epochs
    if not trial.semi_supervised or not 0 < warmup < len(trial.epochs):
        return None
    before, after = (trial.epochs[index][names.VAL_MIOU] for index in (warmup - 1, -1))
    if before is None or after is None or after > 0.85 * before:
        return None
    text = (
        f"validation mIoU fell from {before:.3f} at the end of the warm-up to {after:.3f}: the pseudo-labels teach "
        "wrong things. Lengthen method.warmup_epochs or lower method.unsupervised_weight."
    )
    return _Seen(before - after, text)


def _teacher_behind(trial: _Trial) -> _Seen | None:
    """Find a teacher whose moving average is still behind the student."""
    last = trial.epochs[-1]
    student, teacher = last.get(names.VAL_MIOU), last.get(names.VAL_TEACHER_MIOU)
    if not trial.semi_supervised or student is None or teacher is None or teacher > 0.8 * student:
        return None
    text = (
        f"the teacher ends at {teacher:.3f}, the student at {student:.3f}: pseudo-labels come from a network that has "
        f"not caught up. Lower method.teacher_momentum ({trial.config.method.teacher_momentum:g}) or train for longer."
    )
    return _Seen(student - teacher, text)


_RULES: dict[Callable[[_Trial], _Seen | None], tuple[str, str, bool]] = {
    _alpha: ("alpha", "alpha throws most pixels away", True),
    _capacity: ("capacity", "The memory bank holds fewer keys than an anchor draws", True),
    _rank_window: ("rank_window", "low_rank is too high for the number of classes", True),
    _no_negatives: ("no_negatives", "Classes without negatives", True),
    _no_separation: ("no_separation", "Entropy does not separate right from wrong", True),
    _collapse: ("collapse", "The unlabeled images made it worse", True),
    _teacher_behind: ("teacher_behind", "The teacher lags behind", False),
    _no_anchors: ("no_anchors", "Classes without anchors", False),
    _turnover: ("turnover", "The memory bank is replaced almost every step", False),
}


def _at_an_edge(analysis: Analysis) -> list[Finding]:
    """Find settings whose best value is at the end of its range: the optimum may lie outside."""
    if analysis.best is None or len(analysis.ranked()) < 4:
        return []
    best, ends = analysis.best, []
    for path, parameter in analysis.experiment.space.parameters.items():
        value = best.params.get(path)
        where = None if value is None else parameter.position(value)
        if where is not None and (where < 0.02 or where > 0.98):
            ends.append(f"{path}={number(value)} ({parameter.extent()})")
    if not ends:
        return []
    text = f"Trial {best.id}: {'; '.join(ends)}. A better value may lie outside: search again with a wider range."
    return [Finding("edge", "The best value lies at the end of its range", text, (best.id,))]
