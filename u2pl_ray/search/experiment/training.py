"""One training as an experiment of one trial, so that resume, status, best and W&B work on it as on a search."""

from pathlib import Path

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.plan import Plan, plan_search
from u2pl_ray.search.space.space import parse_space


def plan_training(config: Config, *, name: str, storage_path: str | Path | None = None) -> Plan:
    """Check a single training of `config` against storage and cluster; see `plan_search`."""
    space = parse_space(f"parameters:\n  seed: {{values: [{config.seed}]}}\n", "one training")
    return plan_search(
        config, space, name=name, trials=1, storage_path=storage_path, sampler="random", scheduler="none"
    )
