"""The share of a search's budget that trains the leaders again, and more of it for a finished search."""

import json
from dataclasses import asdict, replace

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.driver.budget import Budget, spent
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.space.one_length import check_one_length
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.judgement import Judgement

SHARE = 0.3
"""Part of a budget for replicates; simulated in benchmarks/noise, see docs/noise.md."""


def with_replicates(budget: Budget, paper: bool, space: Space) -> tuple[Budget, list[str]]:
    """Return a budget with the share for replicates, and a sentence if it can have none.

    Args:
        budget: as asked for; one with neither `trainings` nor `replicating` stays as it is.
        paper: whether the search trains the paper's setting, which others are compared with.
        space: what is searched.

    Raises:
        UserError: there are several objectives, or the length is searched.
    """
    if budget.trainings is None and not budget.replicating:
        return budget, []
    asked = "--replicate" if budget.trainings is None else "--trainings"
    check_one_length(space, asked)
    if space.further:
        raise UserError(f"{asked}: judges settings by one objective; use --trials alone with several")
    if not paper or "seed" in space.parameters:
        why = "the seed is searched" if paper else "the paper's setting is not in the space"
        return replace(budget, replicating=0.0), [
            f"all trainings go to new settings: {why}, so there is nothing to repeat on new seeds"
        ]
    return replace(budget, replicating=SHARE), []


def add_replicates(experiment: Experiment, trainings: int) -> Experiment:
    """Add trainings to a search for replicates alone; `Experiment.run` then runs them.

    Args:
        experiment: the search.
        trainings: how many, at least 1.

    Raises:
        UserError: too few, several objectives, the length is searched, or nothing to compare.
    """
    if trainings < 1:
        raise UserError(f"--trainings {trainings:+d}: give at least +1")
    check_one_length(experiment.space, "--trainings")
    if experiment.space.further:
        raise UserError(f"{experiment.name}: --trainings judges by one objective; use --top and --seeds")
    study = experiment.study()
    records = study.all_records()
    if not Judgement(experiment.space, experiment.config, records).comparable:
        raise UserError(f"{experiment.name}: the paper's setting and another one must have a value to be compared")
    before = experiment.options.budget
    allowance = experiment.allowance
    confirming = before.confirming
    if not before.answers:
        confirming = max(confirming, allowance.replicated(records))
    if before.closed is None and spent(study, before):  # what is added comes on top of what the limits allowed
        beyond = max(0, allowance.replicated(records) - confirming)
        before = replace(before, closed=allowance.explored(records) + beyond)
    return record_budget(experiment, replace(before, confirming=confirming + trainings, looks=before.looks + 1))


def record_budget(experiment: Experiment, budget: Budget) -> Experiment:
    """Write another budget into experiment.json; return the experiment with it."""
    tree = json.loads((experiment.folder / layout.EXPERIMENT).read_text("utf-8"))
    tree["options"] |= {"budget": asdict(budget)}
    snapshot.write(experiment.folder, layout.EXPERIMENT, json.dumps(tree, indent=2))
    experiment.place.commit()
    return replace(experiment, options=replace(experiment.options, budget=budget))
