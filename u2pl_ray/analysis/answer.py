"""State the result of a search in a sentence, and how certain it is."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from u2pl_ray.analysis.confirmation import confirmation, diverged_words
from u2pl_ray.analysis.label_worth import worth
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.analysis.scatter import scatter
from u2pl_ray.analysis.tables import evaluate_command
from u2pl_ray.analysis.unlabeled import did_they_help
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.metrics import spoken
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.options import Options
from u2pl_ray.search.experiment.verdict import prospect, verdict
from u2pl_ray.search.listeners.formatting import many, number, settings, why_failed
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import State, TrialRecord, state_word
from u2pl_ray.system.stores import is_uri


@dataclass(frozen=True)
class Answer:
    """Result of a search in words.

    Attributes:
        sentence: the result.
        doubt: why the result may be less certain than it looks.
    """

    sentence: str
    doubt: str = ""


def confirmed(analysis: Analysis) -> dict[str, Any] | None:
    """Compare the best trials with the paper's setting on several seeds, see `confirmation`.

    Returns:
        None if it never ran, or cannot be read: then the search's judgement has warned of it, see `Confirmation`.
    """
    experiment = analysis.experiment
    if experiment.options.confirms:
        return confirmation(experiment)
    try:
        return confirmation(Experiment.open(experiment.confirmation, experiment.place.storage))
    except (UserError, ValueError, KeyError):
        return None


def answer(analysis: Analysis, on_seeds: Mapping[str, Any] | None = None) -> Answer:
    """Say whether unlabeled images helped, name the best trial, compare it with the paper's setting, and how surely.

    Args:
        analysis: the experiment.
        on_seeds: from `confirmed`. Without it, the scatter of both curves replaces the noise between seeds.
    """
    if analysis.experiment.options.confirms and on_seeds is not None:
        return Answer(" ".join(_on_seeds(on_seeds, row) for row in _leaders(on_seeds)))
    if analysis.experiment.options.worth_of:
        return Answer(" ".join(worth(analysis.experiment)["sentences"]) or "Too few trainings are complete to say.")
    told = _of_replicates(analysis) or _of_one_seed(analysis)
    first = did_they_help(analysis)
    told = replace(told, sentence=f"{first} {told.sentence}{_not_beaten(analysis)}".strip())
    repeated = [
        row for row in _leaders(on_seeds or {}) if analysis.best is not None and row["label"] == analysis.best.id
    ]
    if on_seeds is None or not repeated:
        return told
    return Answer(told.sentence, _on_seeds(on_seeds, repeated[0]))


def _of_replicates(analysis: Analysis) -> Answer | None:
    """Return the answer that replicates on new seeds allow; None without any."""
    judgement = analysis.judgement
    if not judgement.repeated or judgement.answer is None:
        return None
    exploring = {(judgement.labels[it.number], judgement.seed(it)) for it in analysis.everything if not it.replicate}
    again = sum((run.setting, run.seed) not in exploring for run in judgement.runs)
    tried = len({run.setting for run in judgement.runs})
    rests = f"By {len(judgement.runs)} trainings of {tried} settings; {again} trainings were on new seeds."
    return Answer(verdict(judgement), f"{rests} {prospect(judgement.answer)}")


def _leaders(on_seeds: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in on_seeds.get("settings", ()) if "verdict" in row]


def _on_seeds(on_seeds: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Describe in a sentence how one setting compares with the paper's on new seeds.

    Args:
        on_seeds: from `confirmed`.
        row: the setting's entry in `settings`.
    """
    if row["low"] is None:
        return f"Trial {row['label']}'s setting has run with too few new seeds to say more."
    interval = f"{on_seeds['confidence']:.0%} interval {row['low']:+.4f} to {row['high']:+.4f}"
    return (
        f"On {row['pairs']} new seeds trial {row['label']}'s setting differs from the paper's by "
        f"{row['difference']:+.4f} on average ({interval}): {row['verdict']}{diverged_words(row)}."
    )


def _of_one_seed(analysis: Analysis) -> Answer:
    metric, best, paper = spoken(analysis.metric.name), analysis.best, analysis.paper
    if best is None:
        ended = [record for record in analysis.records if record.state.finished]
        if not ended:
            return Answer("No trial has reported a value yet.")
        several = f"None of {len(ended)} trials succeeded"
        which = several if len(ended) > 1 else "The training failed"
        return Answer(f"{which}. {'; '.join(why_failed(ended))}")
    how = f" with {settings(best.params)}" if best.params else ""
    who = "The training" if analysis.experiment.single else f"Trial {best.id}"
    first = f"{who} reached {metric} {number(best.latest)} after {many(best.epochs, 'epoch')}{how}"
    if len(analysis.records) == 1:
        return Answer(f"{first}.", _plus_minus(best) + "One training with one seed.")
    among = len(analysis.ranked())
    if among > 1:
        first += f", the best of {among} trials"
        one_seed = f"Each setting was trained once, with one seed, and the best of {among} is flattered by luck."
    else:
        first += f", the only one of {len(analysis.records)} trials with a value"
        one_seed = "One training with one seed."
    if paper is None or paper.result is None or best.result is None:
        return Answer(f"{first}.", _plus_minus(best) + one_seed)
    if paper.id == best.id:
        return Answer(f"{first}: the paper's own setting.", _plus_minus(best) + one_seed)
    ahead = (best.result - paper.result) * (1 if analysis.metric.maximize else -1)
    distance = f"{abs(ahead):.4f}"
    side = "ahead of" if ahead >= 0 else "behind"
    versus = f"{first}, {'level with' if float(distance) == 0 else f'{distance} {side}'} the paper's setting"
    versus += f" ({paper.id}: {number(paper.result)}"
    versus += f", stopped after {many(paper.epochs, 'epoch')})" if paper.epochs < best.epochs else ")"
    return Answer(f"{versus}.", f"{_against_scatter(abs(ahead), best, paper)} {one_seed}")


def _not_beaten(analysis: Analysis) -> str:
    """Describe the Pareto front of a search with several objectives."""
    objectives, front = analysis.experiment.space.objectives, analysis.front
    if len(objectives) < 2 or not front:
        return ""
    together = " and ".join(metric.name for metric in objectives)
    few = ", ".join(record.id for record in front[:8]) + (f" and {len(front) - 8} more" if len(front) > 8 else "")
    alone = "is the one trial that no other beats" if len(front) == 1 else "are the trials that no other beats"
    return f" By {together} together {few} {alone} (the Pareto front)."


def _plus_minus(record: TrialRecord) -> str:
    found = scatter(record)
    return "" if found is None else f"From epoch to epoch it scatters by ±{number(round(found, 4))}. "


def _against_scatter(ahead: float, best: TrialRecord, paper: TrialRecord) -> str:
    scatters = [found for record in (best, paper) if (found := scatter(record)) is not None]
    if len(scatters) < 2:
        return "The trials are too short to say how much of that is chance."
    together = sum(found**2 for found in scatters) ** 0.5
    told = f"From epoch to epoch the two curves scatter by ±{number(round(together, 4))} together, so the difference "
    if ahead <= together:
        return f"{told}is within that noise: they cannot be told apart."
    if ahead <= 2 * together:
        return f"{told}is one to two times that noise: a hint, no more."
    return f"{told}is {ahead / together:.1f} times that noise." if together else f"{told}is not noise of that kind."


def next_steps(analysis: Analysis) -> list[tuple[str, str]]:
    """Return the commands that are useful now, each as (what it does, the command)."""
    finished, name = is_finished(analysis), analysis.experiment.argument
    steps = []
    if analysis.running:
        steps.append(("watch it", f"u2pl-ray status {name} --watch"))
    elif not finished:
        steps.append(("go on where it stopped", f"u2pl-ray resume {name}"))
    elif standing(analysis) == "failed":
        steps.append(("run it again, after mending what the failures say", f"u2pl-ray resume {name} --retry-errored"))
    if analysis.best is not None and finished and len(analysis.records) > 1:
        steps.append(("write the best setting to a file", f"u2pl-ray export {name}"))
        steps.append(("see why one setting beat another, on one page", f"u2pl-ray report {name}"))
        rivals = [it for it in analysis.records if it.state == State.COMPLETED and it.note != "paper"]
        allowance = analysis.experiment.allowance
        if allowance.limited:
            more = f"--trainings +{math.ceil(allowance.spent(analysis.everything))}"
            steps.append(("be surer of the answer: more new seeds", f"u2pl-ray confirm {name} {more}"))
            further = _same_again(analysis.experiment.options) or more
            steps.append(("look further: more settings, and seeds", f"u2pl-ray extend {name} {further}"))
        elif rivals and not (analysis.experiment.options.confirms or analysis.experiment.options.worth_of):
            steps.append(
                ("train the best and the paper's on new seeds, before you believe it", f"u2pl-ray confirm {name}")
            )
        steps += _baseline(analysis.experiment)
        if not allowance.limited:
            steps.append(("add trials to the same study", f"u2pl-ray extend {name} --trials +{len(analysis.records)}"))
    if analysis.best is not None and finished and analysis.experiment.checkpoint(analysis.best.id) is not None:
        images = "test" if analysis.experiment.config.data.test is not None else "val"
        steps.append((f"score it on the {images} images", evaluate_command(analysis.experiment)))
    return steps


def _same_again(options: Options) -> str:
    """Return the option that adds as much as the budget was, where it is none of trainings; else an empty string."""
    budget = options.budget
    for flag, limit in (("--hours", budget.hours), ("--gpu-hours", budget.device_hours), ("--trials", options.trials)):
        if limit is not None and budget.trainings is None:
            return f"{flag} +{limit:g}"
    return ""


def _baseline(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the command that trains the best setting on labeled images alone, if there is such a comparison."""
    best, there = experiment.place.below(layout.BEST), experiment.argument.removeprefix(experiment.name)
    options = experiment.options
    there_is_one = "supervised" in options.baselines or options.confirms or options.worth_of
    if not experiment.config.method.semi_supervised or there_is_one or is_uri(best):
        return []
    train = f"u2pl-ray train {shlex.quote(best)} method.name=supervised --name {experiment.name}-supervised{there}"
    return [("train it on the labeled images alone: do the unlabeled ones pay?", train)]


def is_finished(analysis: Analysis) -> bool:
    """Whether nothing is left to run within the budget."""
    return analysis.experiment.is_finished(analysis.study)


def standing(analysis: Analysis) -> str:
    """Return running, interrupted, finished, or failed (it ended, and no training succeeded)."""
    if analysis.running:
        return "running"
    if not is_finished(analysis):
        return "interrupted"
    succeeded = any(record.state in (State.COMPLETED, State.STOPPED) for record in analysis.records)
    return "finished" if succeeded else "failed"


def counts(analysis: Analysis) -> dict[str, int]:
    """Return how many trials are in which state, by its word; states without any are left out."""
    found: dict[str, int] = {}
    for state in State:
        for record in analysis.records:
            if record.state == state:
                word = state_word(record, analysis.running).lower()
                found[word] = found.get(word, 0) + 1
    return found
