"""Objectives that no trial can report, found before one has trained for it."""

from u2pl_ray.config import metrics
from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.space import Space


def check_objectives(space: Space, config: Config) -> None:
    """Refuse an objective that a training of this configuration does not report.

    Args:
        space: its objectives are those of its file and of `--objective`.
        config: resolved: its classes are known.

    Raises:
        UserError: naming the objective, and the nearest metric.
    """
    known = metrics.reported(config.data.classes)
    for objective in space.objectives:
        if objective.name not in known:
            raise UserError(
                f"{space.source}: metric: {objective.name} is not among the metrics of a training"
                f"{nearest(objective.name, known)} (docs/metrics.md lists them)"
            )
