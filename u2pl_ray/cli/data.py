"""`u2pl-ray data`: look over a data set, or split one."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from u2pl_ray.cli.arguments import AsJson, ConfigName, Overrides
from u2pl_ray.cli.common import say, warn
from u2pl_ray.config.errors import UserError


def check(
    config: ConfigName,
    overrides: Overrides = None,
    json_: AsJson = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Write a picture of some images with their masks.")
    ] = None,
) -> None:
    """Open every image and label of a configuration's splits, name all bad files, and count classes."""
    from u2pl_ray.config.overrides import load
    from u2pl_ray.data import check as checking

    loaded = load(config, overrides or [])
    report, problems = checking.examine(loaded)
    if sheet:
        from u2pl_ray.data.sheet import write_sheet

        write_sheet(loaded, sheet)
        if not json_:
            say(f"picture sheet: {sheet}")
    say(json.dumps(report.to_dict(), indent=2) if json_ else "\n".join(report.lines()))
    for warning in report.warnings:
        warn(warning)
    for problem in problems[:-1]:
        say(f"error: {problem}", sys.stderr)
    if problems:
        raise UserError(problems[-1] + (f" ({len(problems)} bad files in all)" if problems[1:] else ""))


def make_splits(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder in PASCAL VOC layout.")],
    sizes: Annotated[list[str], typer.Argument(metavar="SIZES...", help="Labeled shares or counts: 1/16 1/8 92 ...")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw.")] = 0,
    source: Annotated[str, typer.Option("--from", help="List of training ids.")] = "ImageSets/Segmentation/train.txt",
) -> None:
    """Draw nested labeled/unlabeled splits in which every class is labeled; images without a mask are unlabeled."""
    from u2pl_ray.config.schema import DataConfig
    from u2pl_ray.data import splits

    data = DataConfig(root=str(root))
    for folder in splits.make_splits(data, sizes, seed=seed, source=source):
        say(str(folder))
    if spare := splits.unlisted(data, source):
        warn(
            f"{spare} images in {root / data.images} are in no list, so they are in no split: add them to {source} to "
            "learn from them (without a mask, as unlabeled ones), or use u2pl-ray init, which takes all images"
        )
