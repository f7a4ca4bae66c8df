"""The verb that trains once."""

from contextlib import ExitStack

from u2pl_ray.cli.arguments import ConfigName, DumpConfig, NewName, Overrides, Quiet, ResumeIfExists, Storage
from u2pl_ray.cli.common import check_data, default_name, load_config, print_config, warn
from u2pl_ray.cli.running import existing, run_again, run_experiment


def train(
    config: ConfigName,
    overrides: Overrides = None,
    name: NewName = None,
    storage_path: Storage = None,
    resume_if_exists: ResumeIfExists = False,
    quiet: Quiet = False,
    dump_config: DumpConfig = False,
) -> None:
    """Train once, data-parallel with [bold]workers=N[/bold].

    Any preset small, to see it run: [bold]u2pl-ray train quickstart train.epochs=2 method.warmup_epochs=1
    train.steps_per_epoch=5[/bold].
    """
    settings = load_config(config, overrides)
    if dump_config:
        print_config(settings)
        return
    if resume_if_exists and (there := existing(name, storage_path)) is not None:
        run_again(there, settings, None, quiet)
        return
    from u2pl_ray.config.preset import rate_note
    from u2pl_ray.search.experiment.training import plan_training

    new = name or default_name(config, settings.method.name)
    with ExitStack() as held:
        plan = plan_training(
            settings,
            name=new,
            storage_path=storage_path,
            examine=check_data,
            reserve=lambda place: held.enter_context(place.starting()),
        )
        optim = settings.optim
        rate = rate_note(config, settings.train.batch_size, optim.lr, adaptive=optim.name == "adamw")
        for note in (*plan.notes, *([rate] if rate else [])):
            warn(note)
        run_experiment(plan.create(), quiet=quiet)
