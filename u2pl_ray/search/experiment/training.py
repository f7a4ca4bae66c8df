"""Plan a single training: a search of one trial, with all that continues it after an interruption."""

from collections.abc import Callable
from pathlib import Path

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.plan import Plan, plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.storage.place import Place


def plan_training(
    config: Config,
    *,
    name: str,
    storage_path: str | Path | None = None,
    examine: Callable[[Config], None] = lambda config: None,
    reserve: Callable[[Place], None] = lambda place: None,
) -> Plan:
    """Check a single training against storage and cluster; see `plan_search`.

    Args:
        config: the training's.
        name: the experiment's; must be new in the storage.
        storage_path: folder or URI; default: `default_storage()`.
        examine: see `plan_search`.
        reserve: see `plan_search`.
    """
    space = parse_space(f"parameters:\n  seed: {{values: [{config.seed}]}}\n", "one training")
    return plan_search(
        config,
        space,
        name=name,
        trials=1,
        storage_path=storage_path,
        sampler="random",
        scheduler="none",
        examine=examine,
        reserve=reserve,
    )
