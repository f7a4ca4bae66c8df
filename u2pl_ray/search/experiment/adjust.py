"""Change options of an experiment on which no result depends: how many trials run at once, which files are kept."""

import json
from dataclasses import replace

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.cluster.capacity import check_growth
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.storage import layout


def plan_options(
    experiment: Experiment, max_concurrent: int | None = None, keep: int | None = None, autoscale: bool = False
) -> tuple[Experiment, list[str]]:
    """Return the experiment with other options, and a line for each that was another; nothing is written yet.

    Args:
        experiment: to be changed.
        max_concurrent: upper limit of trials at once; None: as it is.
        keep: number of finished trials that keep their checkpoints; None: as it is.
        autoscale: the cluster adds nodes on demand; False: as it is.

    Raises:
        UserError: naming the option that cannot be.
    """
    for flag, value in (("--max-concurrent", max_concurrent), ("--keep-trials", keep)):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value}: give at least 1")
    before, lines = experiment.options, []
    if max_concurrent not in (None, before.max_concurrent):
        lines.append(f"--max-concurrent: {before.max_concurrent or 'what the cluster holds'} -> {max_concurrent}")
    if keep not in (None, before.keep):
        lines.append(f"--keep-trials: {before.keep} -> {keep}")
    if autoscale and not before.autoscale:
        lines.append("--autoscale: the cluster is asked for more nodes from now on")
    after = replace(
        before,
        max_concurrent=before.max_concurrent if max_concurrent is None else max_concurrent,
        keep=before.keep if keep is None else keep,
        autoscale=before.autoscale or autoscale,
    )
    if after.autoscale:
        check_growth(experiment.config, after.max_concurrent)
    return replace(experiment, options=after), lines


def record_options(experiment: Experiment) -> None:
    """Write what `plan_options` returned into the experiment's files; it is held meanwhile (`Experiment.held`)."""
    options = experiment.options
    tree = json.loads((experiment.folder / layout.EXPERIMENT).read_text("utf-8"))
    tree["options"] |= {name: getattr(options, name) for name in ("max_concurrent", "keep", "autoscale")}
    snapshot.write(experiment.folder, layout.EXPERIMENT, json.dumps(tree, indent=2))
    experiment.place.commit()
