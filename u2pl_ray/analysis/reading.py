"""Interpret the diagnostics in words: each finding names an observation, its trials, the likely cause and a remedy."""

from dataclasses import dataclass

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.analysis.rules import RULES, Trial
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


def read(analysis: Analysis) -> list[Finding]:
    """Apply all rules to an experiment; return the findings, severe ones first."""
    trials = [
        Trial(record.id, analysis.config(record.id), analysis.epochs[record.id], analysis.classes)
        for record in analysis.records
        if analysis.epochs[record.id]
    ]
    findings = []
    for rule, (kind, title, severe, _) in RULES.items():
        cases = {trial.id: seen for trial in trials if (seen := rule(trial)) is not None}
        if cases:
            order = tuple(sorted(cases, key=lambda trial: -cases[trial].weight))
            findings.append(Finding(kind, title, f"Trial {order[0]}: {cases[order[0]].text}", order, severe))
    return sorted([*findings, *_at_an_edge(analysis)], key=lambda finding: not finding.severe)


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
