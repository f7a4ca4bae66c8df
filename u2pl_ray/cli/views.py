"""The options that say how images are seen, shared by the verbs that use a checkpoint."""

from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.config.schema import Config

Window = Annotated[
    int | None,
    typer.Option(
        "--window", help="Slide a window with a side of this many pixels, a multiple of 32. 0: the whole image at once."
    ),
]
Stride = Annotated[
    int | None, typer.Option("--stride", help="Pixels from window to window. Default: two thirds of --window.")
]
Flip = Annotated[bool | None, typer.Option("--flip/--no-flip", help="Average with the mirrored image.")]
Scales = Annotated[str | None, typer.Option("--scales", help="Average over these sizes, e.g. 0.5,0.75,1,1.25,1.5")]
Average = Annotated[str | None, typer.Option("--average", help="What is averaged: softmax or logits.")]


def with_views(
    config: "Config",
    window: int | None,
    stride: int | None,
    flip: bool | None,
    scales: str | None,
    average: str | None = None,
) -> "Config":
    """Return the configuration with its `evaluation` section as the options say; None leaves a setting.

    Args:
        config: to start from.
        window: side of the sliding window; 0 for none.
        stride: from window to window.
        flip: average with the mirrored image.
        scales: numbers parted by commas.
        average: softmax or logits.

    Raises:
        UserError: the options do not go together, or are no numbers.
    """
    from u2pl_ray.config.overrides import apply

    values: dict[str, object] = {}
    if window is not None:
        values |= {"evaluation.window": window or None, "evaluation.stride": None}
    if stride is not None:
        values["evaluation.stride"] = stride
    if flip is not None:
        values["evaluation.flip"] = flip
    if average is not None:
        values["evaluation.average"] = average
    if scales is not None:
        try:
            values["evaluation.scales"] = [float(scale) for scale in scales.split(",")]
        except ValueError:
            raise UserError(f"--scales {scales}: write numbers parted by commas, such as 0.75,1,1.25") from None
    return apply(config, values) if values else config


def check_network(network: str, *more: str) -> None:
    """Refuse the name of a network that there is not.

    Args:
        network: given with --network.
        more: further words that stand for networks.
    """
    known = ("teacher", "student", *more)
    if network not in known:
        raise UserError(f"--network {network}: there are {', '.join(known[:-1])} and {known[-1]}")
