"""The verb that examines this machine."""

from typing import Annotated

import typer

from u2pl_ray.cli.arguments import Overrides, Storage


def doctor(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Also check this configuration: data, model, settings.")
    ] = None,
    overrides: Overrides = None,
    storage_path: Storage = None,
) -> None:
    """Say what this machine and cluster can do, and what is missing."""
    from u2pl_ray.doctor import examine

    problems = examine(config, overrides or [], storage_path)
    if problems:
        raise typer.Exit(1)
