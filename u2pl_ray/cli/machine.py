"""The verb that examines this machine."""

from typing import Annotated

import typer

from u2pl_ray.cli.arguments import Overrides, Storage


def doctor(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="Also check this configuration: data, model, settings; and take some steps: memory, time.",
        ),
    ] = None,
    overrides: Overrides = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Also look at every node of the cluster that RAY_ADDRESS names: versions, GPUs, disk, clock; do they "
            "reach the storage and each other, is the data of CONFIG the same on all? Takes up to a minute.",
        ),
    ] = False,
    storage_path: Storage = None,
) -> None:
    """Say what this machine and cluster can do, and what is missing."""
    from u2pl_ray.doctor import examine

    problems = examine(config, overrides or [], storage_path, cluster)
    if problems:
        raise typer.Exit(1)
