"""The command line: verbs only. Parse, call, print; what takes long to import is imported by the verb that needs it."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from u2pl_ray.cli import checkpoints, data, machine, results, searching, training, wandb
from u2pl_ray.config.errors import UserError

# The base class of all that is wrong with a command line; typer has click's as its own, under a private name.
_CommandLineError: type[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="u2pl-ray",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Which U2PL settings work on your data? Distributed search for semi-supervised segmentation, on Ray.

    Start with [bold]u2pl-ray search quickstart --space search_spaces/quickstart.yaml --trials 6[/bold]
    (generated images, two CPU cores), then [bold]u2pl-ray doctor CONFIG[/bold] for your own data.""",
)

_VERBS: tuple[Callable[..., None], ...] = (
    training.train,
    searching.search,
    searching.resume,
    searching.extend,
    searching.confirm,
    results.status,
    results.report,
    results.best,
    results.compare,
    results.export,
    checkpoints.evaluate,
    checkpoints.predict,
    machine.doctor,
)
for verb in _VERBS:
    app.command()(verb)

data_app = typer.Typer(no_args_is_help=True, help="Look over a data set, or split one.")
data_app.command()(data.check)
data_app.command()(data.make_splits)
app.add_typer(data_app, name="data")

wandb_app = typer.Typer(no_args_is_help=True, help="An experiment in Weights & Biases.")
wandb_app.command()(wandb.sync)
wandb_app.command()(wandb.workspace)
app.add_typer(wandb_app, name="wandb")


def main(arguments: list[str] | None = None) -> Any:
    """Entry point. What the user got wrong is one line on stderr and exit code 2."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except _CommandLineError as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
