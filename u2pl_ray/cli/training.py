"""The verb that trains once."""

from u2pl_ray.cli.arguments import ConfigName, DumpConfig, NewName, Overrides, Storage
from u2pl_ray.cli.common import check_data, default_name, load_config, print_config, run_experiment


def train(
    config: ConfigName,
    overrides: Overrides = None,
    name: NewName = None,
    storage_path: Storage = None,
    dump_config: DumpConfig = False,
) -> None:
    """Train once, data-parallel with [bold]workers=N[/bold]."""
    settings = load_config(config, overrides)
    from u2pl_ray.search.experiment.plan import plan_training

    if dump_config:
        print_config(settings)
        return
    check_data(settings)
    plan = plan_training(settings, name=name or default_name(config, settings.method.name), storage_path=storage_path)
    run_experiment(plan.create())
