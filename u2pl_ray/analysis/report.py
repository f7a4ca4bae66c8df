"""Write one or several experiments as a single HTML file that needs no network, account or server."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from u2pl_ray.analysis.answer import answer, confirmed, counts, next_steps, standing
from u2pl_ray.analysis.figures.certainty import certainty_panels
from u2pl_ray.analysis.figures.comparison import comparison_panels
from u2pl_ray.analysis.figures.inside import inside_panels
from u2pl_ray.analysis.figures.objectives import objective_panels
from u2pl_ray.analysis.figures.panel import BEST, PAPER, STATES, Panel, fill_rows, picks
from u2pl_ray.analysis.figures.settings import settings_panels
from u2pl_ray.analysis.figures.trainings import training_panels
from u2pl_ray.analysis.images import legend, samples
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.analysis.reading import read
from u2pl_ray.analysis.unlabeled import against_supervised
from u2pl_ray.config import metrics as names
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.formatting import few, number, short_names
from u2pl_ray.search.space.paper_setting import unlike_paper
from u2pl_ray.search.storage import layout
from u2pl_ray.system.atomic import write_whole

_MARK = b'<meta name="generator" content="u2pl-ray report">'


def write_report(analyses: Sequence[Analysis], output: Path | None = None) -> str:
    """Write the report, completely or not at all; return its path or URI.

    Args:
        analyses: one experiment, or several to compare.
        output: the file; default: report.html in the first experiment's folder.

    Raises:
        UserError: the file cannot be written, or is something else than a report.
    """
    if output is None:
        analyses[0].experiment.check_writable(layout.REPORT)
    elif output.is_file() and not _is_report(output):
        raise UserError(f"-o {output}: exists and is no report; choose another file, or remove it first")
    target = analyses[0].experiment.folder / layout.REPORT if output is None else output
    for analysis in analyses:
        analysis.experiment.place.complete()  # pictures
    try:
        write_whole(target, render(analyses))
    except OSError as error:
        raise UserError(f"{target}: {error.strerror or error}; choose another file with -o") from None
    if output is None and not analyses[0].running:  # while the search runs, only its driver may write to the storage
        analyses[0].experiment.place.publish()
        return analyses[0].experiment.place.below(target.name)
    return str(target.absolute())


def _is_report(file: Path) -> bool:
    """Tell whether a file begins as a report does."""
    try:
        return _MARK in file.read_bytes()[:4096]
    except OSError:
        return False


def render(analyses: Sequence[Analysis]) -> str:
    """Render the report of one or several experiments as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("u2pl_ray.analysis"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    return environment.get_template("report.html").render(
        title=" and ".join(analysis.name for analysis in analyses),
        written=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        experiments=[_experiment(analysis) for analysis in analyses],
        comparison=_comparison(analyses) if len(analyses) > 1 else None,
        plotlyjs=Markup(get_plotlyjs()),
        colours={"best": BEST, "paper": PAPER, **{state.value.lower(): colour for state, colour in STATES.items()}},
    )


def _experiment(analysis: Analysis) -> dict[str, Any]:
    experiment, best, paper = analysis.experiment, analysis.best, analysis.paper
    on_seeds = confirmed(analysis)
    sections = (
        ("certainty", "What is known, and how surely", certainty_panels(analysis)),
        ("objectives", "One objective against another", objective_panels(analysis)),
        ("settings", "What the settings did", settings_panels(analysis)),
        ("trainings", "How the trainings went", training_panels(analysis)),
        ("inside", "Inside the method", inside_panels(analysis)),
    )
    return {
        "name": analysis.name,
        "standing": standing(analysis),
        "counts": counts(analysis),
        "asked": _asked(analysis),
        "answer": answer(analysis, on_seeds),
        "seeds": on_seeds,
        "findings": read(analysis),
        "unlabeled": against_supervised(analysis),
        "versus": _versus(analysis) if best and paper and best.id != paper.id and not paper.failed else None,
        "sections": [
            {"id": name, "title": title, "panels": [_panel(panel) for panel in fill_rows(panels)]}
            for name, title, panels in sections
            if panels
        ],
        "images": _images(analysis),
        "legend": list(legend(analysis)),
        "reliable_if": experiment.config.method.reliable_if,
        "failures": [record for record in analysis.everything if record.failed],
        "trials": _table(analysis),
        "best": best,
        "paper": paper,
        "metric": analysis.metric.name,
        "next": next_steps(analysis),
        "created": experiment.created,
        "versions": experiment.versions,
    }


def _asked(analysis: Analysis) -> dict[str, Any]:
    experiment, config = analysis.experiment, analysis.experiment.config
    data, best, paper = config.data, analysis.best, analysis.paper
    source = "generated images" if data.dataset == "synthetic" else Path(data.root).name
    goal = "largest" if analysis.metric.maximize else "smallest"
    trials = experiment.options.trials
    single = experiment.single
    if single:
        question = f"How good is one training of {config.method.name} on {source}?"
    else:
        question = f"Which settings of {config.method.name} give the {goal} {analysis.metric.name} on {source}?"
    return {
        "question": question,
        "single": single,
        "facts": [
            ("trials", f"{len(analysis.records)}" + (f" of {trials}" if trials is not None else "")),
            ("epochs", f"at most {config.train.epochs}, {config.method.warmup_epochs} of them warm-up"),
            ("network", f"{config.model.architecture}, {config.model.encoder}"),
            ("classes", str(len(data.classes))),
            ("workers", f"{config.workers} a trial"),
            ("sampler", f"{experiment.options.sampler.name}, seed {experiment.options.sampler.seed}"),
            ("scheduler", experiment.options.scheduler.name),
            ("training seed", str(config.seed)),
        ],
        "settings": [
            {
                "path": path,
                "range": parameter.extent(),
                "paper": overrides.get(Config(), path) if path in overrides.paths() else None,
                "best": None if best is None else best.params.get(path),
            }
            for path, parameter in experiment.space.parameters.items()
        ],
        "ran": paper is not None,
        "unlike_paper": few(unlike_paper(experiment.space, config)),
    }


def _versus(analysis: Analysis) -> list[dict[str, Any]]:
    """Return the last epoch's metrics of the best trial and of the paper's setting, row by row."""
    assert analysis.best is not None
    assert analysis.paper is not None
    best, paper = ((analysis.epochs[record.id] or [{}])[-1] for record in (analysis.best, analysis.paper))
    rows = [
        ("student mIoU", names.VAL_MIOU),
        ("teacher mIoU", names.VAL_TEACHER_MIOU),
        *((f"IoU {name}", names.val_iou(name)) for name in analysis.classes),
        ("reliable pseudo-labels that are right", "diag/pseudo_label/accuracy_reliable"),
        ("unreliable pseudo-labels that are right", "diag/pseudo_label/accuracy_unreliable"),
        ("false negatives", "diag/negatives/false_rate"),
        ("seconds a step", "perf/step_seconds"),
    ]
    found = [(label, best.get(key), paper.get(key)) for label, key in rows]
    return [
        {"label": label, "best": one, "paper": other, "difference": one - other}
        for label, one, other in found
        if one is not None and other is not None
    ]


def _images(analysis: Analysis) -> list[dict[str, Any]]:
    """Load images of the best and the worst trial."""
    shown = []
    for pick in picks(analysis):
        epoch, found = samples(analysis, pick.record.id)
        if found and pick.role != "median":
            shown.append(
                {
                    "role": pick.role,
                    "trial": pick.record.id,
                    "epoch": epoch,
                    "value": pick.record.latest,
                    "samples": found,
                }
            )
    return shown


def _table(analysis: Analysis) -> dict[str, Any]:
    ranked = analysis.ranked()
    rest = [record for record in analysis.records if record not in ranked]
    paths = list(analysis.experiment.space.parameters)
    shorts = short_names(paths)
    return {
        "heads": [shorts[path] for path in paths],
        "rows": [
            {"trial": record, "settings": [record.params.get(path) for path in paths]}
            for record in [*ranked, *rest, *analysis.baselines]
        ],
    }


def _comparison(analyses: Sequence[Analysis]) -> dict[str, Any]:
    def row(analysis: Analysis) -> dict[str, Any]:
        best = analysis.best
        last = (analysis.epochs[best.id] or [{}])[-1] if best else {}
        return {
            "name": analysis.name,
            "method": analysis.experiment.config.method.name,
            "trials": len(analysis.records),
            "best": best,
            "student": last.get(names.VAL_MIOU),
            "teacher": last.get(names.VAL_TEACHER_MIOU),
        }

    return {
        "rows": [row(analysis) for analysis in analyses],
        "panels": [_panel(panel) for panel in fill_rows(comparison_panels(analyses))],
        "metric": analyses[0].metric.name,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "caption": panel.caption,
        "height": panel.height,
        "wide": panel.wide,
        "figure": _embedded(panel.figure),
    }


def _embedded(figure: go.Figure) -> Markup:
    """Serialize a figure as JSON, escaped so that it cannot close the script element around it."""
    return Markup(figure.to_json().replace("<", "\\u003c"))
