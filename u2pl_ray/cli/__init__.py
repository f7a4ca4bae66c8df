"""The command line: verbs only. Parse, call, print; what takes long to import is imported by the verb that needs it."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from u2pl_ray.cli import (
    checkpoints,
    continuing,
    data,
    ending,
    exit_codes,
    init,
    machine,
    results,
    searching,
    settings,
    training,
    wandb,
)
from u2pl_ray.cli.notice import heed_notice
from u2pl_ray.cli.terminal import outlive_terminal
from u2pl_ray.config.errors import LostError, UserError

# The base class of all that is wrong with a command line; typer has click's as its own, under a private name.
_CommandLineError: type[Any] = typer.BadParameter.__mro__[2]

_INTERRUPTED = 128 + signal.SIGINT
"""What typer returns instead of raising KeyboardInterrupt."""

app = typer.Typer(
    name="u2pl-ray",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Which U2PL settings work on your data? Distributed search for semi-supervised segmentation, on Ray.

    Start with [bold]u2pl-ray search quickstart --space quickstart --trials 3[/bold] (generated images, two CPU
    cores), then [bold]u2pl-ray doctor CONFIG[/bold] for your own data.

    Exit codes: 0 done; 1 nothing succeeded, or our fault; 2 your input; 75 stopped on notice (Ctrl-C, SIGTERM,
    SIGUSR1): start it again.""",
)

_VERBS: tuple[tuple[Callable[..., None], str | None], ...] = (
    (init.init, None),
    (training.train, None),
    (searching.search, None),
    (continuing.resume, None),
    (continuing.extend, None),
    (continuing.confirm, None),
    (continuing.worth, None),
    (ending.stop, None),
    (results.list_experiments, "list"),
    (results.status, None),
    (results.report, None),
    (results.best, None),
    (results.compare, None),
    (results.export, None),
    (checkpoints.evaluate, None),
    (checkpoints.predict, None),
    (ending.delete, None),
    (machine.doctor, None),
    (settings.settings, None),
)
_TRAINING = (
    *(training.train, searching.search),
    *(continuing.resume, continuing.extend, continuing.confirm, continuing.worth),
)
"""Verbs that go on when their terminal is gone."""
for verb, name in _VERBS:
    app.command(name)(outlive_terminal()(verb) if verb in _TRAINING else verb)

data_app = typer.Typer(no_args_is_help=True, help="Look over a data set, or split one.")
data_app.command()(data.check)
data_app.command()(data.make_splits)
app.add_typer(data_app, name="data")

wandb_app = typer.Typer(no_args_is_help=True, help="An experiment in Weights & Biases.")
wandb_app.command()(wandb.sync)
wandb_app.command()(wandb.workspace)
app.add_typer(wandb_app, name="wandb")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"u2pl-ray {metadata.version('u2pl_ray')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def _unread(stream: Any) -> bool:
    """Return whether nobody reads a stream any more; then what it still holds is dropped."""
    try:
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return True
    return False


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. What the user got wrong is one line on stderr; see `exit_codes`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no umlauts shows `?` for them
    try:
        with heed_notice():
            code = app(args=arguments, standalone_mode=False)
            if code == _INTERRUPTED:
                raise KeyboardInterrupt
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_codes.INPUT)
    except LostError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_codes.AGAIN)
    except _CommandLineError as error:
        if message := error.format_message():  # none, but the help, where there were no arguments
            print(f"error: {message}", file=sys.stderr)
        sys.exit(exit_codes.INPUT)
    except BrokenPipeError:
        if not _unread(sys.stdout):
            raise
        sys.exit(exit_codes.DONE)  # as in `u2pl-ray status NAME | head -1`
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(exit_codes.AGAIN)
    sys.exit(code if isinstance(code, int) else exit_codes.DONE)
