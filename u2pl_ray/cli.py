"""The command line: verbs only. Parse, call, print; what takes long to import is imported by the verb that needs it."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.config.schema import Config
    from u2pl_ray.search.experiment import Experiment, Plan, Summary

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
data_app = typer.Typer(no_args_is_help=True, help="Look over a data set, or split one.")
app.add_typer(data_app, name="data")
wandb_app = typer.Typer(no_args_is_help=True, help="An experiment in Weights & Biases.")
app.add_typer(wandb_app, name="wandb")

ConfigName = Annotated[str, typer.Argument(metavar="CONFIG", help="A preset (quickstart, camvid) or a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Settings to change, e.g. method.alpha.start=0.3")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The experiment's name (or the path of its folder).")]
Storage = Annotated[
    Path | None,
    typer.Option("--storage-path", help="Where experiments are kept. Default: U2PL_RAY_STORAGE, else ~/u2pl-ray."),
]
NewName = Annotated[
    str | None, typer.Option("--name", help="Name of the new experiment. Default: made from config and time.")
]
DumpConfig = Annotated[bool, typer.Option("--dump-config", help="Print the whole resolved configuration and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MaxConcurrent = Annotated[
    int | None,
    typer.Option("--max-concurrent", help="At most so many trials at once. Default: what the cluster holds."),
]


@app.command()
def train(
    config: ConfigName,
    overrides: Overrides = None,
    name: NewName = None,
    storage_path: Storage = None,
    dump_config: DumpConfig = False,
) -> None:
    """Train once, data-parallel with [bold]workers=N[/bold]."""
    from u2pl_ray.search.training import plan_training

    settings = _load(config, overrides)
    if dump_config:
        _print_config(settings)
        return
    _check_data(settings)
    plan = plan_training(settings, name=name or _default_name(config, settings.method.name), storage_path=storage_path)
    _run(plan.create())


@app.command()
def search(
    config: ConfigName,
    overrides: Overrides = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="What to search: a YAML file, see search_spaces/.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", help="How many trials.")] = 20,
    name: NewName = None,
    storage_path: Storage = None,
    sampler: Annotated[
        str | None,
        typer.Option("--sampler", help="tpe, random, qmc, gp, nsga2. Default: the space's method, else tpe."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", help="none, asha, hyperband, median. Default: the space's early_terminate, else asha."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the proposals.")] = 0,
    max_concurrent: MaxConcurrent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    dump_config: DumpConfig = False,
) -> None:
    """Search for the best settings. The paper's own setting is always the first trial."""
    from u2pl_ray.search.experiment import Experiment
    from u2pl_ray.search.space import load_space

    settings = _load(config, overrides)
    if dump_config:
        _print_config(settings)
        return
    if space is None:
        raise UserError("--space: name a search space, for example --space search_spaces/paper.yaml")
    if trials < 1:
        raise UserError(f"--trials {trials}: give at least 1")
    searched = load_space(space)
    _check_data(settings)
    plan = Experiment.plan(
        settings,
        searched,
        name=name or _default_name(config, space.stem),
        trials=trials,
        storage_path=storage_path,
        sampler=sampler,
        scheduler=scheduler,
        seed=seed,
        max_concurrent=max_concurrent,
    )
    _print_plan(plan)
    if not dry_run:
        _run(plan.create())


@app.command()
def resume(name: Name, storage_path: Storage = None) -> None:
    """Continue a search or training that was interrupted, wherever it stands."""
    from u2pl_ray.search.experiment import Experiment

    _run(Experiment.open(name, storage_path))


@app.command()
def extend(
    name: Name,
    trials: Annotated[str, typer.Option("--trials", help="How many more, such as +10.")],
    storage_path: Storage = None,
) -> None:
    """Add trials to a search that has finished, on the same study."""
    from u2pl_ray.search.experiment import Experiment

    more = trials.removeprefix("+")
    if not more.isdecimal() or int(more) < 1:
        raise UserError(f"--trials {trials}: give how many more, such as +10")
    _run(Experiment.open(name, storage_path).extend(int(more)))


@app.command()
def status(name: Name, storage_path: Storage = None, json_: AsJson = False) -> None:
    """Show the trials of an experiment, running or finished."""
    from u2pl_ray.analysis.tables import print_status
    from u2pl_ray.search.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    if json_:
        print(json.dumps(experiment.status(), indent=2))
    else:
        print_status(experiment)


@app.command()
def best(name: Name, storage_path: Storage = None, json_: AsJson = False) -> None:
    """Show the best trial: its settings, its score, its checkpoint."""
    from u2pl_ray.analysis.tables import best_of, print_best
    from u2pl_ray.search.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    if json_:
        print(json.dumps(best_of(experiment), indent=2))
    else:
        print_best(experiment)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAMES...", help="Experiments, searches or single trainings.")],
    split: Annotated[str, typer.Option("--split", help="val (as reported) or test (evaluated now).")] = "val",
    storage_path: Storage = None,
) -> None:
    """Put the best trials of several experiments side by side, student and teacher."""
    from u2pl_ray.analysis.tables import print_comparison
    from u2pl_ray.search.experiment import Experiment

    _check_split(split)
    print_comparison([Experiment.open(name, storage_path) for name in names], split)


@app.command()
def export(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: NAME-best.yaml.")
    ] = None,
    storage_path: Storage = None,
) -> None:
    """Write the best trial's configuration to a file that [bold]train[/bold] accepts unchanged."""
    from u2pl_ray.search.experiment import Experiment

    experiment = Experiment.open(name, storage_path)
    target = output or Path(f"{experiment.name}-best.yaml")
    if target.exists():
        raise UserError(f"{target}: exists already; choose another --output")
    written = experiment.write_best()
    if written is None:
        raise UserError(
            f"{experiment.name}: no trial has reported a result yet; see `u2pl-ray status {experiment.name}`"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(written.read_text("utf-8"), "utf-8")
    except OSError as error:
        raise UserError(f"--output {target}: {error.strerror or error}") from None
    print(f"{target}  (train it: u2pl-ray train {target})")


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's folder or file.")],
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Where the data is described. Default: as it was trained.")
    ] = None,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option("--split", help="val or test.")] = "test",
    json_: AsJson = False,
) -> None:
    """Score a checkpoint's student and teacher on whole images of a split."""
    from u2pl_ray.analysis.tables import print_scores
    from u2pl_ray.config import overrides as configs
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.train.inference import open_checkpoint, score

    _check_split(split)
    if config is not None and "=" in config:  # an override where CONFIG was left out
        overrides, config = [config, *(overrides or [])], None
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


@app.command()
def predict(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's folder or file.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the PNGs.")] = Path("predictions"),
    network: Annotated[str, typer.Option("--network", help="teacher or student.")] = "teacher",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing PNGs.")] = False,
) -> None:
    """Segment images: for each an overlay with a legend, and the label map, as PNGs."""
    from u2pl_ray.train.inference import open_checkpoint, predictions
    from u2pl_ray.train.overlay import image_files, write_prediction

    if network not in ("teacher", "student"):
        raise UserError(f"--network {network}: there are teacher and student")
    files = image_files(images)
    trained = open_checkpoint(checkpoint)
    for path, pixels, labels in predictions(trained, files, "student" if network == "student" else "teacher"):
        for written in write_prediction(output, path, pixels, labels, trained.config.data.classes, force):
            print(written)


@app.command()
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


@data_app.command("check")
def data_check(config: ConfigName, overrides: Overrides = None, json_: AsJson = False) -> None:
    """Open every image and label of a configuration's splits, and count classes."""
    from u2pl_ray.config.overrides import load
    from u2pl_ray.data.check import check

    report = check(load(config, overrides or []))
    print(json.dumps(report.to_dict(), indent=2) if json_ else "\n".join(report.lines()))
    for warning in report.warnings:
        _warn(warning)


@data_app.command("make-splits")
def data_make_splits(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder in PASCAL VOC layout.")],
    sizes: Annotated[list[str], typer.Argument(metavar="SIZES...", help="Labeled shares or counts: 1/16 1/8 92 ...")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw.")] = 0,
    source: Annotated[str, typer.Option("--from", help="List of training ids.")] = "ImageSets/Segmentation/train.txt",
) -> None:
    """Draw nested labeled/unlabeled splits in which every class is labeled."""
    from u2pl_ray.config.schema import DataConfig
    from u2pl_ray.data.splits import make_splits

    for folder in make_splits(DataConfig(root=str(root)), sizes, seed=seed, source=source):
        print(folder)


@wandb_app.command("sync")
def wandb_sync(name: Name, storage_path: Storage = None) -> None:
    """Upload what was logged offline, as runs of a native Sweep, and check that it arrived."""
    from u2pl_ray.search.experiment import Experiment
    from u2pl_ray.search.telemetry import sweep_of
    from u2pl_ray.tracking.sync import sync

    experiment = Experiment.open(name, storage_path)
    tracking = experiment.config.tracking
    sweep = sweep_of(experiment.space.text)
    report = sync(
        experiment.folder, tracking.project, tracking.entity, experiment.name, sweep, running=experiment.is_running()
    )
    print(
        f"{report.uploaded} of {report.runs} runs uploaded" + (f", {report.running} still run" * bool(report.running))
    )
    for note in report.notes:
        _warn(note)
    if report.uploaded < report.runs:
        raise typer.Exit(1)


@wandb_app.command("workspace")
def wandb_workspace(name: Name, storage_path: Storage = None) -> None:
    """Save a view and a report of an uploaded experiment: parallel coordinates, importance, curves, diagnostics."""
    from u2pl_ray.search.experiment import Experiment
    from u2pl_ray.tracking.workspace import View, save

    experiment = Experiment.open(name, storage_path)
    study = experiment.study()
    best_trial, parameters = study.best(), experiment.space.parameters
    paper = next((trial.id for trial in study.records() if trial.note == "paper"), None)
    view = View(
        experiment.name,
        experiment.space.metric.name,
        list(parameters),
        [path for path, parameter in parameters.items() if parameter.choices is not None],
        None if best_trial is None else best_trial.id,
        paper,
    )
    save(experiment.folder, experiment.config.tracking.project, experiment.config.tracking.entity, view)
    print(f"saved the view and the report {experiment.name} in project {experiment.config.tracking.project}")


def _load(name: str, overrides: list[str] | None) -> "Config":
    from u2pl_ray.config.overrides import load
    from u2pl_ray.data.registry import resolve

    return resolve(load(name, overrides or []))


def _check_data(config: "Config") -> None:
    from u2pl_ray.data.check import check
    from u2pl_ray.models.segmentor import check_model

    check_model(config.model)
    for warning in check(config, full=False).warnings:
        _warn(warning)


def _check_split(split: str) -> None:
    if split not in ("val", "test"):
        raise UserError(f"--split {split}: there are val and test")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _print_config(config: "Config") -> None:
    from u2pl_ray.config.overrides import dump

    print(dump(config), end="")


def _print_plan(plan: "Plan") -> None:
    for line in plan.lines():
        print(line)


def _run(experiment: "Experiment") -> None:
    from rich.console import Console

    from u2pl_ray.analysis.tables import print_summary
    from u2pl_ray.search.console import ConsoleListener
    from u2pl_ray.search.telemetry import WandbListener, sweep_of
    from u2pl_ray.tracking.sink import WandbSink

    tracking, metric = experiment.config.tracking, experiment.space.metric
    sink = WandbSink(
        experiment.folder,
        tracking.project,
        tracking.entity,
        experiment.name,
        tracking.wandb,
        objective=metric.name,
        maximize=metric.maximize,
        sweep=sweep_of(experiment.space.text),
    )
    console = Console(soft_wrap=True, highlight=False)
    listeners = [ConsoleListener(console, metric.name), WandbListener(sink, console.print)]
    summary: Summary = experiment.run(listeners)
    print_summary(experiment, summary, console)
    if not summary.finished:
        raise typer.Exit(1)


def _default_name(config: str, what: str) -> str:
    return f"{Path(config).stem}-{what}-{datetime.now():%Y%m%d-%H%M%S}"


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
