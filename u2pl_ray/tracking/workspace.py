"""Create an experiment's saved view and report in W&B: which settings matter, how trials went, and why.

Needs the optional package wandb-workspaces (`pip install 'u2pl_ray[wandb]'`) and runs on the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.tracking.client import Client
from u2pl_ray.tracking.payload import OBJECTIVE_PREFIX

EPOCH_AXIS = "training_iteration"


@dataclass(frozen=True)
class View:
    """Content of a view and a report.

    Attributes:
        group: The experiment's name, also the view's and the report's.
        objective: Metric that trials are compared by.
        parameters: Dotted paths of the searched settings.
        choices: Those of them that curves are grouped by, each in a panel: best the ones with few values.
        best: Id of the best trial; None: none yet.
        paper: Id of the trial with the paper's own setting; None: there is none.
    """

    group: str
    objective: str
    parameters: Sequence[str]
    choices: Sequence[str] = ()
    best: str | None = None
    paper: str | None = None


def save(directory: Path, project: str, entity: str | None, view: View) -> None:
    """Create the experiment's view and report on the server, or bring them up to date.

    Args:
        directory: The experiment's directory; the ids of view and report are kept in `wandb/experiment.json`.
        project: W&B project; the runs must have been uploaded.
        entity: W&B user or team; None: the account's default.
        view: What to show.

    Raises:
        UserError: the package or a key is missing, or the server refused.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise UserError("W&B workspaces need a further package: pip install 'u2pl_ray[wandb]'") from None
    client = Client(directory, project, entity, view.group)
    if not client.connect("online"):
        raise UserError("no W&B key was found: run `wandb login`, or set WANDB_API_KEY")
    import wandb

    kept = client.memory.read()
    try:
        owner = entity or wandb.Api(timeout=30).default_entity or ""
        workspace = workspaces.Workspace(
            entity=owner,
            project=project,
            name=view.group,
            sections=[
                workspaces.Section(name=title, panels=panels, is_open=True)
                for title, panels in _panels(reports, view).items()
            ],
            settings=workspaces.WorkspaceSettings(x_axis=EPOCH_AXIS),
            runset_settings=workspaces.RunsetSettings(
                filters=f"Group = '{view.group}'",
                pinned_columns=[f"summary:{OBJECTIVE_PREFIX}{view.objective}", "summary:trial/state"],
                baseline_run=client.memory.run_id(view.paper) if view.paper else None,
                pinned_runs=[client.memory.run_id(trial) for trial in (view.best, view.paper) if trial],
            ),
        )
        workspace._internal_name, workspace._internal_id = kept.get("view", ["", ""])
        workspace.save()
        client.memory.update(view=[workspace._internal_name, workspace._internal_id])
        report = reports.Report(
            project=project,
            entity=owner,
            title=view.group,
            description="Written by u2pl-ray",
            blocks=_blocks(reports, client, owner, project, view),
            width="fluid",
        )
        report.id = kept.get("report", "")
        report.save()
        client.memory.update(report=report.id)
    except Exception as error:  # the client's own texts may name the account
        raise UserError(
            f"W&B did not save the view ({type(error).__name__}): run `u2pl-ray wandb sync {view.group}` first, "
            "and check that the server answers"
        ) from error


def _panels(reports: Any, view: View) -> dict[str, list[Any]]:
    """Build the panels of view and report, by title of their section."""
    best = OBJECTIVE_PREFIX + view.objective

    def line(title: str, metrics: Sequence[str] = (), regex: str | None = None, **options: Any) -> Any:
        return reports.LinePlot(title=title, x=EPOCH_AXIS, y=list(metrics), metric_regex=regex, **options)

    def media(title: str, metric: str) -> Any:
        return reports.MediaBrowser(title=title, media_keys=[metric], num_columns=4)

    columns = [reports.ParallelCoordinatesPlotColumn(reports.Config(name)) for name in view.parameters]
    columns.append(reports.ParallelCoordinatesPlotColumn(reports.SummaryMetric(best)))
    return {
        "Which settings matter": [
            reports.ParallelCoordinatesPlot(title="Settings and result", columns=columns),
            reports.ParameterImportancePlot(with_respect_to=best),
        ],
        "How trials went": [
            line(view.objective, [view.objective]),
            *(
                line(f"{view.objective} by {name}", [view.objective], groupby=reports.Config(name))
                for name in view.choices
            ),
            line("IoU per class", regex=r"val/iou/.*"),
        ],
        "Threshold and entropy": [
            line("alpha and gamma", ["diag/alpha", "diag/gamma"]),
            line("Entropy of the teacher", ["diag/entropy/mean"]),
            line("Entropy, all pixels", ["diag/entropy/hist"]),
            line("Entropy, right pseudo-labels", ["diag/entropy/hist_right"]),
            line("Entropy, wrong pseudo-labels", ["diag/entropy/hist_wrong"]),
            line("Reliable pixels", ["diag/reliable_fraction"]),
            line("Reliable pixels per class", regex=r"diag/reliable_fraction/.*"),
        ],
        "Pseudo-labels and memory bank": [
            line("Right among reliable", ["diag/pseudo_label/accuracy_reliable"]),
            line("Right among reliable per class", regex=r"diag/pseudo_label/accuracy_reliable/.*"),
            line("Right among unreliable", ["diag/pseudo_label/accuracy_unreliable"]),
            line("False negatives", ["diag/negatives/false_rate"]),
            line("Queue fill per class", regex=r"diag/bank/fill/.*"),
            line("Keys pushed per class", regex=r"diag/bank/pushed/.*"),
            line("Age of keys per class", regex=r"diag/bank/key_age/.*"),
            line("Losses", regex=r"train/loss/.*"),
        ],
        "Images": [
            media("Validation images", "media/images/val"),
            media("Unlabeled images", "media/images/unlabeled"),
            media("Confusion matrix", "val/confusion"),
        ],
    }


def _blocks(reports: Any, client: Client, owner: str, project: str, view: View) -> list[Any]:
    """Build the report: the view's panels under headings, then the best trial against the paper's setting."""

    def runs(name: str, filters: str) -> Any:
        return reports.Runset(entity=owner, project=project, name=name, filters=filters)

    everything = f"Group = '{view.group}'"
    blocks = []
    for title, panels in _panels(reports, view).items():
        blocks += [reports.H1(title), reports.PanelGrid(runsets=[runs("Trials", everything)], panels=panels)]
    rivals = [client.memory.run_id(trial) for trial in (view.best, view.paper) if trial]
    if len(set(rivals)) == 2:
        one_of = ", ".join(f"'{run_id}'" for run_id in rivals)
        blocks += [
            reports.H1("The best trial against the paper's setting"),
            reports.PanelGrid(
                runsets=[runs("Best and paper", f"ID in [{one_of}]")],
                panels=[
                    reports.RunComparer(diff_only="split"),
                    *(
                        reports.LinePlot(title=metric, x=EPOCH_AXIS, y=[metric])
                        for metric in (view.objective, "diag/gamma", "diag/pseudo_label/accuracy_reliable")
                    ),
                    reports.MediaBrowser(title="Validation images", media_keys=["media/images/val"], num_columns=4),
                ],
            ),
        ]
    return blocks
