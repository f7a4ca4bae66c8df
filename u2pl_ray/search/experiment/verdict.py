"""The answer of a search in words: which setting to use, with which probability, and what more budget would bring."""

from typing import TYPE_CHECKING

from u2pl_ray.config.metrics import spoken
from u2pl_ray.search.listeners.formatting import many
from u2pl_ray.search.space.space import Metric
from u2pl_ray.search.study.comparison import Comparison
from u2pl_ray.search.study.judgement import Judgement

if TYPE_CHECKING:
    from u2pl_ray.posterior import Answer

_CERTAIN = 0.9995
"""From here on a probability is written as more than 99.9 %."""


def verdict(judgement: Judgement) -> str:
    """Return the answer in one or two sentences; an empty string while nothing can be said.

    It says so where replicates are still missing: its probability is what they may yet change.

    Args:
        judgement: of a search.
    """
    if (said := _verdict(judgement)) and judgement.missing:
        return f"So far, with {many(judgement.missing, 'training')} on new seeds to come: {said}"
    return said


def _verdict(judgement: Judgement) -> str:
    told, reference = judgement.answer, judgement.reference
    if told is None:
        return ""
    from u2pl_ray.posterior import Verdict

    if told.leader is None:
        return f"Keep the paper's setting ({reference}): no other has a value."
    amount = _amount(told, judgement.space.metric)
    luck = f"Seeds alone spread by {told.seed_sd:.4f}.{_diverged(judgement)}"
    if told.verdict == Verdict.BETTER:
        return f"{told.leader} is better than the paper's setting with {share(told.probability)}: {amount}. {luck}"
    needed = ", but with too few complete trainings" if told.leader not in judgement.diverged else ""
    if told.probability < told.threshold:
        needed = f", where {share(told.threshold)} are needed"
    why = f"{told.leader} is better with {share(told.probability)}{needed}: {amount}"
    if told.verdict == Verdict.NOTHING:
        why = f"there is most likely nothing to find. The best other one: {why}"
    return f"Keep the paper's setting ({reference}): {why}. {luck}"


def _diverged(judgement: Judgement) -> str:
    """Return how many of a setting's trainings diverged, a sentence for each setting; empty where none did."""
    told = ""
    for label, count in judgement.diverged.items():
        whole = count + sum(run.setting == label for run in judgement.runs)
        told += f" {count} of {label}'s {whole} trainings diverged."
    return told


def prospect(told: "Answer") -> str:
    """Return what as much budget again is expected to add, in a sentence."""
    more = told.prospect
    return (
        f"With {more.trainings:.0f} more trainings the chance to find a setting that is better than the paper's by "
        f"half a seed's spread or more is {share(more.chance)}."
    )


def against(comparison: Comparison, method: str, metric: Metric) -> str:
    """Return how the setting to use compares with another method, in a clause.

    Args:
        comparison: see `comparison.compare`.
        method: what it is compared with.
        metric: in which they differ.
    """
    amount = _amount(comparison, metric)
    seeds = f"on {comparison.seeds} new seed{'s' * (comparison.seeds != 1)}"
    word, probability = "better", comparison.probability
    if probability < 0.5:
        word, probability = "worse", 1 - probability
    enough = "" if probability >= comparison.threshold else f", where {share(comparison.threshold)} are needed"
    if lost := lost_words(comparison.diverged, comparison.setting, comparison.theirs_diverged, method):
        seeds += f", by the trainings that are left: {lost}, so neither is called better"
    return f"{comparison.setting} is {word} than {method} with {share(probability)}{enough}: {amount}, {seeds}"


def lost_words(diverged: int, setting: str, theirs: int, method: str) -> str:
    """Return how many trainings on new seeds diverged, in a clause; empty if none did.

    Args:
        diverged: of the setting's.
        setting: its name.
        theirs: of the other method's.
        method: its name.
    """
    told = [f"{count} of {who}" for count, who in ((diverged, setting), (theirs, method)) if count]
    return f"{' and '.join(told)} diverged on new seeds" if told else ""


def _amount(told: "Answer | Comparison", metric: Metric) -> str:
    """Return a difference with its interval in the metric's own sign: below 0 is better where it is minimized."""
    low, high = (told.low, told.high) if metric.maximize else (-told.high, -told.low)
    return f"{told.difference * (1 if metric.maximize else -1):+.4f} {spoken(metric.name)} ({low:+.4f} .. {high:+.4f})"


def share(probability: float) -> str:
    """Return a probability in per cent, never as 100 %."""
    if probability >= _CERTAIN:
        return "more than 99.9 %"
    return f"{probability:.1%}".replace("%", " %") if probability > 0.95 else f"{probability:.0%}".replace("%", " %")
