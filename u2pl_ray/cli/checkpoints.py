"""Verbs that use a checkpoint."""

import json
from pathlib import Path
from typing import Annotated

import typer

from u2pl_ray.cli.arguments import AsJson, Checkpoint, Overrides, Storage, Trial
from u2pl_ray.cli.common import check_split
from u2pl_ray.cli.named_checkpoint import find_checkpoint
from u2pl_ray.config.errors import UserError


def evaluate(
    checkpoint: Checkpoint,
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Where the data is described. Default: as it was trained.")
    ] = None,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option("--split", help="val or test.")] = "test",
    trial: Trial = None,
    storage_path: Storage = None,
    json_: AsJson = False,
) -> None:
    """Score the best trial of an experiment, or another checkpoint, on whole images of a split: student and teacher."""
    from u2pl_ray.analysis.tables import print_scores
    from u2pl_ray.config import overrides as configs
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.train.inference import open_checkpoint, score

    check_split(split)
    if config is not None and "=" in config:  # an override where CONFIG was left out
        overrides, config = [config, *(overrides or [])], None
    checkpoint = find_checkpoint(checkpoint, trial, storage_path)
    trained = open_checkpoint(checkpoint)
    tree = trained.config.model_dump() if config is None else configs.load(config).model_dump()
    settings = resolve(
        configs.validate(configs.merge(tree, configs.parse_overrides(overrides or [])), config or "config")
    )
    images, metrics = score(trained, settings, "val" if split == "val" else "test")
    result = {
        "checkpoint": checkpoint,
        "split": split,
        "images": images,
        "epochs": trained.epochs_done,
        "metrics": metrics,
    }
    if json_:
        print(json.dumps(result, indent=2))
    else:
        print_scores(result, settings.data.classes)


def predict(
    checkpoint: Checkpoint,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the PNGs.")] = Path("predictions"),
    network: Annotated[str, typer.Option("--network", help="teacher or student.")] = "teacher",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing PNGs.")] = False,
    trial: Trial = None,
    storage_path: Storage = None,
) -> None:
    """Segment images: for each an overlay with a legend, and the label map, as PNGs."""
    from u2pl_ray.train.inference import open_checkpoint, predictions
    from u2pl_ray.train.overlay import image_files, write_prediction

    if network not in ("teacher", "student"):
        raise UserError(f"--network {network}: there are teacher and student")
    files = image_files(images)
    trained = open_checkpoint(find_checkpoint(checkpoint, trial, storage_path))
    for path, pixels, labels in predictions(trained, files, "student" if network == "student" else "teacher"):
        for written in write_prediction(output, path, pixels, labels, trained.config.data, force):
            print(written)
