"""Arguments and options that several verbs share."""

from typing import Annotated

import typer

ConfigName = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A preset (`settings --presets` lists them) or a YAML file.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Settings to change, e.g. method.alpha.start=0.3")
]


def _experiments(incomplete: str) -> list[str]:
    """Return the names of experiments that begin so, for the shell's completion."""
    from u2pl_ray.search.storage.place import experiments

    try:
        return [name for name in experiments() if name.startswith(incomplete)]
    except Exception:  # nothing that could be said in the middle of a command line
        return []


Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The experiment's name (or its path or URI).", autocompletion=_experiments),
]
Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="An experiment (its best trial's newest checkpoint), NAME:TRIAL, a checkpoint's folder or URI, or a file "
        "that export --weights wrote.",
        autocompletion=_experiments,
    ),
]
Trial = Annotated[str | None, typer.Option("--trial", help="Which trial of the experiment. Default: the best.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print how it ended, and what goes wrong, and nothing else.")
]
ResumeIfExists = Annotated[
    bool,
    typer.Option(
        "--resume-if-exists",
        help="With --name: go on if the experiment exists, with the same configuration and space. For job queues.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage-path",
        help="Where experiments are kept: a folder or s3://bucket/prefix. Default: U2PL_RAY_STORAGE, else ~/u2pl-ray.",
    ),
]
NewName = Annotated[
    str | None, typer.Option("--name", help="Name of the new experiment. Default: made from config and time.")
]
DumpConfig = Annotated[bool, typer.Option("--dump-config", help="Print the whole resolved configuration and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MaxConcurrent = Annotated[
    int | None,
    typer.Option("--max-concurrent", help="Run at most this many trials at once. Default: what the cluster holds."),
]
Patience = Annotated[
    int | None,
    typer.Option("--patience", help="End when this many results in a row were no improvement."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Go on although the experiment's files were edited since the start.")
]
