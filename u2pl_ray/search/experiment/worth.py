"""What unlabeled images are worth: a search's setting, and supervised training on all labels and on parts of them.

It is an experiment of its own, `<name>-worth`, with fixed trials on common new seeds. The note of a trial names its
training: the method, or "supervised" and the share of the labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.splits import part_size
from u2pl_ray.data.voc import open_training_splits
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.fixed_trials import plan_fixed
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.storage.place import Place

PARTS = (1.0, 0.5, 0.25)
"""Of the search's labeled images, on which supervised training is run."""
SHARE, METHOD, SUPERVISED = "data.labeled_share", "method.name", "supervised"


def worth_name(name: str) -> str:
    """Return the name of the experiment that says what the unlabeled images of a search are worth."""
    return f"{name}-worth"


def plan_worth(
    experiment: Experiment,
    seeds: int,
    examine: Callable[[Config], None] = lambda config: None,
    reserve: Callable[[Place], None] = lambda place: None,
) -> Plan:
    """Check the trainings against storage and cluster; nothing is written yet.

    Supervised training has the same settings as the search's (its learning rate, its length), so that the unlabeled
    images are all that differs.

    Args:
        experiment: the search.
        seeds: trainings of each kind, on seeds that serve nothing else.
        examine: see `plan_search`.
        reserve: see `plan_search`.

    Raises:
        UserError: too few seeds, no trial to compare, a search of supervised training, or of what that does not report.
    """
    from u2pl_ray.posterior.allocation import Purpose, seed_for  # with scipy, which looking at a result does not need

    if seeds < 1:
        raise UserError(f"--seeds {seeds}: give at least 1")
    study = experiment.study()
    best = experiment.best(study, experiment.judgement(study))
    if best is None:
        raise UserError(f"{experiment.name}: no trial has succeeded yet; see `u2pl-ray status {experiment.argument}`")
    params: dict[str, Any] = {path: value for path, value in best.params.items() if path != "seed"}
    whole = experiment.space.configure(experiment.config, params)
    metric = experiment.space.metric.name
    if not whole.method.semi_supervised:
        raise UserError(f"{experiment.name}: {whole.method.name} learns nothing from unlabeled images")
    if not metric.startswith("val/"):
        raise UserError(f"{experiment.name}: compares {metric}, which supervised training does not report")
    method, share = whole.method.name, whole.data.labeled_share
    rows: dict[str, Mapping[str, Any]] = {method: {**params, METHOD: method, SHARE: share}}
    data = resolve(whole).data.model_copy(update={"labeled_share": 1.0})
    images = tuple(map(len, open_training_splits(data)))
    parts = {part_size(part * share, images[0]): part for part in reversed(PARTS)}  # of so few, some are the same
    if len(parts) < 2:
        raise UserError(f"{experiment.name}: has one labeled image: supervised training can't have fewer")
    rows |= {label(part): {**params, METHOD: SUPERVISED, SHARE: part * share} for part in reversed(parts.values())}
    new = [seed_for(experiment.config.seed % 1000, Purpose.WORTH, number) for number in range(seeds)]
    name = worth_name(experiment.name)
    plan = plan_fixed(experiment, rows, new, name=name, purpose="worth", examine=examine, reserve=reserve)
    notes = [*plan.notes, f"the setting is that of trial {best.id}; supervised training has it too"]
    if seeds == 1:
        notes.append("one seed tells nothing of the noise; use --seeds 3 or more")
    return replace(plan, options=replace(plan.options, worth_of=experiment.name, images=images), notes=notes)


def label(part: float) -> str:
    """Return the note of the supervised trainings on a part of the labels: `supervised 1/2`."""
    return SUPERVISED if part == 1 else f"{SUPERVISED} 1/{round(1 / part)}"
