"""Confirmation: train the best settings of a search and the paper's setting again, at full length on new seeds.

It is an experiment of its own, `<name>-confirm`, with fixed trials: every setting with every seed. The note of a trial
names its setting: "paper", or the number of the trial in the search.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.fixed_trials import plan_fixed
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.storage.place import Place
from u2pl_ray.search.study.trial_record import PAPER, State


def plan_confirmation(
    experiment: Experiment,
    top: int,
    seeds: int,
    max_concurrent: int | None = None,
    examine: Callable[[Config], None] = lambda config: None,
    reserve: Callable[[Place], None] = lambda place: None,
) -> Plan:
    """Check the confirmation of an experiment against storage and cluster; nothing is written yet.

    Args:
        experiment: the search.
        top: how many of its completed trials, best first.
        seeds: number of trainings per setting; their seeds follow the largest that the search used.
        max_concurrent: upper limit of trials at once; default: the search's.
        examine: see `plan_search`.
        reserve: see `plan_search`.

    Raises:
        UserError: `top` or `seeds` is too small, or no trial is complete.
    """
    for flag, value in (("--top", top), ("--seeds", seeds)):
        if value < 1:
            raise UserError(f"{flag} {value}: give at least 1")
    settings = _settings(experiment, top)
    searched = [params.get("seed", 0) for params in settings.values()]
    first = max(experiment.config.seed, *searched) + 1
    plan = plan_fixed(
        experiment,
        settings,
        range(first, first + seeds),
        name=experiment.confirmation,
        purpose="confirmation",
        max_concurrent=max_concurrent,
        examine=examine,
        reserve=reserve,
    )
    notes = list(plan.notes)
    if seeds == 1:
        notes.append("one seed tells nothing of the noise: no setting can be called better; use --seeds 3 or more")
    best = experiment.study().best()
    if best is not None and best.params == settings[PAPER]:
        notes.append("the paper's setting is the best of the search; it is compared with the best of the others")
    return replace(plan, options=replace(plan.options, confirms=experiment.name), notes=notes)


def _settings(experiment: Experiment, top: int) -> dict[str, dict[str, Any]]:
    """Return the paper's setting (as the search tried it) and those of the `top` best trials, by label."""
    records = experiment.study().records()
    paper = next((record.params for record in records if record.note == PAPER), None)
    if paper is None:
        paper, notes = paper_setting(experiment.space, experiment.config)
        if not paper:
            raise UserError(f"{experiment.name}: there is no setting of the paper to compare with: {' '.join(notes)}")
    completed = [record for record in records if record.state == State.COMPLETED and record.params != paper]
    if not completed:
        raise UserError(
            f"{experiment.name}: no trial but the paper's is complete; see `u2pl-ray status {experiment.argument}`"
        )
    completed.sort(key=lambda record: record.value or 0.0, reverse=experiment.space.metric.maximize)
    leaders: dict[str, dict[str, Any]] = {}
    for record in completed:
        if record.params not in leaders.values():
            leaders[record.id] = record.params
    return {PAPER: paper, **dict(list(leaders.items())[:top])}
