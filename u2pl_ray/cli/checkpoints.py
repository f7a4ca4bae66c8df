"""Verbs that use a checkpoint."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.cli import exit_codes
from u2pl_ray.cli.arguments import AsJson, Checkpoint, Overrides, Storage, Trial
from u2pl_ray.cli.common import check_split, say
from u2pl_ray.cli.named_checkpoint import find, find_checkpoint
from u2pl_ray.cli.views import Average, Flip, Scales, Stride, Window, check_network, with_views
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.experiment import Experiment


def evaluate(
    checkpoint: Checkpoint,
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Where the data is described. Default: as it was trained.")
    ] = None,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option("--split", help="val or test.")] = "test",
    network: Annotated[str, typer.Option("--network", help="teacher, student or both.")] = "both",
    window: Window = None,
    stride: Stride = None,
    flip: Flip = None,
    scales: Scales = None,
    average: Average = None,
    boundary: Annotated[
        float,
        typer.Option(
            "--boundary", min=0.0, max=0.2, help="Boundary IoU: width of contours, of the diagonal. 0: leave it out."
        ),
    ] = 0.02,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to add the result to. Default: results.json in the experiment."),
    ] = None,
    trial: Trial = None,
    storage_path: Storage = None,
    json_: AsJson = False,
) -> None:
    """Score the best trial of an experiment, or another checkpoint, on a split: student and teacher.

    Images are seen whole, or as the config's [bold]evaluation[/bold] section and the options say.
    """
    from u2pl_ray.analysis.evaluations import add_result, describe, read_results
    from u2pl_ray.analysis.tables import print_scores
    from u2pl_ray.config import overrides as configs
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.search.storage.layout import RESULTS
    from u2pl_ray.train.inference import NETWORKS, open_checkpoint, score

    check_split(split)
    check_network(network, "both")
    if config is not None and "=" in config:  # an override where CONFIG was left out
        overrides, config = [config, *(overrides or [])], None
    found = find(checkpoint, trial, storage_path)
    target = output or (Path(RESULTS) if found.experiment is None else found.experiment.folder / RESULTS)
    read_results(target)  # refuses another kind of file before the work
    if output is None and found.experiment is not None:
        found.experiment.check_writable(RESULTS)
    trained = open_checkpoint(found.path, NETWORKS if network == "both" else (network,))
    tree = trained.config.model_dump() if config is None else configs.load(config).model_dump()
    settings = configs.validate(configs.merge(tree, configs.parse_overrides(overrides or [])), config or "config")
    settings = resolve(with_views(settings, window, stride, flip, scales, average))
    scored = score(trained, settings, "val" if split == "val" else "test", boundary)
    result = describe(found.path, trained, settings, split, scored, boundary)
    if json_:
        print(json.dumps(result, indent=2))
    else:
        print_scores(result)
    added = add_result(target, result)
    place = str(target)
    if output is None and found.experiment is not None:
        place = _publish(found.experiment, RESULTS)
    say(f"{place}  ({'added' if added else 'has the same result already'})", sys.stderr)


def _publish(experiment: "Experiment", name: str) -> str:
    """Store a file of the experiment's folder; return where it is."""
    experiment.check_writable(name)  # the search may have begun during the work
    experiment.place.publish()
    return experiment.place.below(name)


def predict(
    checkpoint: Checkpoint,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the PNGs.")] = Path("predictions"),
    network: Annotated[str, typer.Option("--network", help="teacher or student.")] = "teacher",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing PNGs.")] = False,
    window: Window = None,
    stride: Stride = None,
    flip: Flip = None,
    scales: Scales = None,
    average: Average = None,
    trial: Trial = None,
    storage_path: Storage = None,
) -> None:
    """Segment images: for each an overlay with a legend, and the label map, as PNGs.

    Folders are searched with all below them; at the end it says how much of them each class takes. Images of more than
    4 million pixels are seen by windows in any case. What can't be read is named at the end, and the exit code is 1
    then.
    """
    from u2pl_ray.cli.progress import Progress
    from u2pl_ray.train.inference import open_checkpoint
    from u2pl_ray.train.overlay import refuse_existing, write_prediction
    from u2pl_ray.train.photographs import find_photographs, predict_photograph
    from u2pl_ray.train.tally import Tally

    check_network(network)
    photographs = find_photographs(images, output)
    if not force:
        refuse_existing([photograph.target for photograph in photographs])
    trained = open_checkpoint(find_checkpoint(checkpoint, trial, storage_path), (network,))
    views = with_views(trained.config, window, stride, flip, scales, average).evaluation
    failures: list[str] = []
    tally = Tally(trained.config.data.classes)
    with Progress(len(photographs), "images") as progress:
        for photograph in photographs:
            try:
                pixels, labels = predict_photograph(trained, network, photograph.path, views)
            except UserError as error:
                failures.append(str(error))
            else:
                try:
                    files = write_prediction(photograph.target, pixels, labels, trained.config.data)
                except MemoryError:
                    failures.append(f"{photograph.path}: too little memory for its overlay")
                else:
                    tally.add(labels)
                    for written in files:
                        say(str(written))
            progress.step()
    for line in tally.lines() if len(photographs) > 1 else ():
        say(line, sys.stderr)  # the paths alone are for other programs
    for failure in failures:
        say(f"error: {failure}", sys.stderr)
    if failures:
        say(f"{len(failures)} of {len(photographs)} images were not predicted", sys.stderr)
        raise typer.Exit(exit_codes.FAILED)


def write_weights_of(checkpoint: str, trial: str | None, storage_path: str | None, target: Path, network: str) -> None:
    """Write one network of a checkpoint as a safetensors file.

    Args:
        checkpoint: experiment, NAME:TRIAL, or a checkpoint's folder or URI.
        trial: which trial of the experiment.
        storage_path: where experiments are kept.
        target: the file.
        network: teacher or student.

    Raises:
        UserError: no such checkpoint, or the file exists or has another suffix.
    """
    from u2pl_ray.train.inference import open_checkpoint
    from u2pl_ray.train.weights_file import SUFFIX, write_weights

    check_network(network)
    if target.suffix != SUFFIX:
        raise UserError(f"--weights {target}: weights are written as safetensors: call it {target.stem}{SUFFIX}")
    if target.exists():
        raise UserError(f"{target}: exists already; choose another --weights")
    trained = open_checkpoint(find_checkpoint(checkpoint, trial, storage_path), (network,))
    write_weights(target, trained.networks[network], trained.config, network, trained.epochs_done)
    size = target.stat().st_size / 2**20
    say(f"{target}  (the {network} after {trained.epochs_done} epochs, {size:.1f} MiB)")
