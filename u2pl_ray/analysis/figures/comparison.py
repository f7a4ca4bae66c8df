"""Plots that compare several experiments."""

from collections.abc import Sequence

import optuna.visualization as plots
import plotly.graph_objects as go
from optuna.trial import TrialState

from u2pl_ray.analysis.figures.panel import SERIES, Panel, line, polish
from u2pl_ray.analysis.figures.settings import comparable
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.config import metrics as names


def comparison_panels(analyses: Sequence[Analysis]) -> list[Panel]:
    """Plot the best trials' curves, the distribution of all values, and the best trials' IoU by class."""
    coloured = [(analysis, SERIES[index % len(SERIES)]) for index, analysis in enumerate(analyses)]
    metric, panels = analyses[0].metric.name, []
    curves = go.Figure()
    for analysis, colour in coloured:
        if analysis.best is not None:
            values = sorted(analysis.best.values.items())
            label = f"{analysis.name} {analysis.best.id}"
            curves.add_trace(line([epoch for epoch, _ in values], [value for _, value in values], label, colour))
    if curves.data:
        polish(curves, xaxis_title="epoch", yaxis_title=metric, showlegend=True)
        panels.append(Panel("The best trials", "The best trial of each experiment, epoch by epoch.", curves))
    studies = [comparable(analysis) for analysis in analyses]
    studies = [study for study in studies if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if studies:
        figure = polish(plots.plot_edf(studies, target_name=metric), showlegend=True)
        caption = f"Which share of an experiment's trials stays below a {metric}; further right is better."
        panels.append(Panel("All values", caption, figure))
    panels += _classes(coloured)
    return panels


def _classes(coloured: Sequence[tuple[Analysis, str]]) -> list[Panel]:
    figure = go.Figure()
    for analysis, colour in coloured:
        if analysis.best is not None and analysis.epochs[analysis.best.id]:
            last = analysis.epochs[analysis.best.id][-1]
            scores = [last.get(names.val_iou(name)) for name in analysis.classes]
            label = f"{analysis.name} {analysis.best.id}"
            figure.add_bar(x=list(analysis.classes), y=scores, name=label, marker_color=colour)
    if not figure.data:
        return []
    polish(figure, barmode="group", yaxis_title="IoU", showlegend=True)
    caption = "The student's validation IoU after the last epoch of each experiment's best trial."
    return [Panel("Class by class", caption, figure, wide=True)]
