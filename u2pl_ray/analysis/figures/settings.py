"""Plots of the metric over the settings: Optuna's plots of a copy of the study."""

import math
import warnings
from collections.abc import Collection

import optuna
import optuna.visualization as plots
import plotly.graph_objects as go
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState
from plotly.colors import sample_colorscale

from u2pl_ray.analysis.figures.panel import BEST, QUIET, WORST, Panel, polish
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.search.listeners.formatting import short_names
from u2pl_ray.search.study.trial_record import State, trial_id

_LEAST = 4
"""Smallest number of trials for importances."""


def comparable(analysis: Analysis, epoch: int | None = None) -> optuna.Study:
    """Copy the study in memory for plots: short names, same numbers, each trial with a value as complete.

    One that failed after it had reported values is pruned, so that plots of curves have it and no other.

    Args:
        analysis: the experiment.
        epoch: take the values after this epoch; default: the latest of each trial, so that a stopped one has the value
            it was stopped with.
    """
    names = short_names(analysis.experiment.space.parameters)
    copy = optuna.create_study(study_name=analysis.name, direction=analysis.metric.goal)
    for record, trial in zip(analysis.everything, analysis.study.study.get_trials(deepcopy=False), strict=False):
        value = record.result if epoch is None else record.values.get(epoch)
        shown = record.companion is None and bool(record.values)
        valued = shown and not record.failed and value is not None and math.isfinite(value)
        copy.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if valued else TrialState.PRUNED if shown else TrialState.FAIL,
                value=value if valued else None,
                params={names[path]: setting for path, setting in trial.params.items() if path in names},
                distributions={names[path]: kind for path, kind in trial.distributions.items() if path in names},
                intermediate_values=record.values if record.companion is None else {},
            )
        )
    return copy


def importances(study: optuna.Study) -> dict[str, float]:
    """Compute fANOVA's share of the metric's variance by setting, largest first; none if there are too few trials."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < _LEAST or len({trial.value for trial in done}) < 2:
        return {}
    try:
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except (ValueError, RuntimeError):  # a setting has the same value in all trials
        return {}
    return {name: share for name, share in found.items() if math.isfinite(share)}


def common_epoch(analysis: Analysis) -> int | None:
    """Return the last epoch that all trials with a value, but failed ones, have reached."""
    return min((record.epochs for record in analysis.ranked()), default=None)


def settings_panels(analysis: Analysis) -> list[Panel]:
    """Plot parallel coordinates, importances, a contour of the two most important settings, slices, history."""
    study = comparable(analysis)
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = [name for name in _names(analysis) if len({trial.params.get(name) for trial in done}) > 1]
    if len(done) < 2:
        return []
    metric = analysis.metric.name
    panels = [
        Panel(
            "Parallel coordinates",
            f"A line per trial, through its settings to {metric}. The better, the more orange; thin and grey: "
            "not complete, with the value it was stopped with or has so far.",
            _parallel(study, varied, metric, analysis.metric.maximize, _complete(analysis)),
            420,
            wide=True,
        )
    ]
    shares = importances(study)
    if shares:
        panels.append(_importance(analysis, study, shares))
        top = [name for name in shares if name in varied][:2]
        if len(top) == 2:
            panels.append(
                Panel(
                    f"{top[0]} and {top[1]} together",
                    f"The two settings that matter most by fANOVA. A dot per trial; {metric} between them is guessed.",
                    polish(plots.plot_contour(study, params=top, target_name=metric)),
                )
            )
    panels += [
        Panel(
            f"{name} alone",
            f"{metric} of every trial that did not fail against {name}; darker dots are later trials, the ringed one "
            "is the best (stopped trials do not count for that).",
            _slice(study, name, metric, None if analysis.best is None else analysis.best.number),
            300,
        )
        for name in varied
    ]
    panels.append(
        Panel(
            "History",
            f"{metric} of every trial that did not fail, in the order they were proposed, and the best so far.",
            polish(plots.plot_optimization_history(study, target_name=metric)),
        )
    )
    return panels


def _slice(study: optuna.Study, name: str, metric: str, best: int | None) -> go.Figure:
    """Optuna's plot, with dots that are seen on light and dark ground, room above the best, and a ring around it.

    Args:
        study: from `comparable`.
        name: of the setting.
        metric: label of the objective.
        best: number of the trial to ring.
    """
    figure = plots.plot_slice(study, params=[name], target_name=metric)
    figure.update_traces(
        marker={"showscale": False, "colorscale": ["#a5d8ff", "#1864ab"], "line": {"width": 1, "color": "#868e96"}},
        cliponaxis=False,
    )
    dots = figure.data[0]
    # By Optuna's own dots, whose colours are the trials' numbers: a category's place is not its value.
    for place in [place for place, number in enumerate(dots.marker.color) if number == best]:
        figure.add_scatter(
            x=[dots.x[place]],
            y=[dots.y[place]],
            mode="markers",
            marker={"symbol": "circle-open", "size": 14, "color": BEST, "line": {"width": 2}},
            cliponaxis=False,
            showlegend=False,
            hovertemplate=f"best: {trial_id(int(dots.marker.color[place]))}<extra></extra>",
        )
    return polish(figure)


def _importance(analysis: Analysis, study: optuna.Study, shares: dict[str, float]) -> Panel:
    epoch, count = common_epoch(analysis), len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    figure = plots.plot_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    early = importances(comparable(analysis, epoch))
    caption = (
        f"Share of the variance of {analysis.metric.name} that each setting explains (fANOVA), from {count} trials"
    )
    if count < 10 * len(shares):
        caption += "; with so few a hint, not a finding"
    if early and any(record.epochs != epoch for record in analysis.ranked()):
        figure.data[0].name = "latest value"
        names = list(figure.data[0].y)
        figure.add_bar(
            x=[early.get(name, 0.0) for name in names],
            y=names,
            name=f"after epoch {epoch}",
            orientation="h",
            marker_color="#adb5bd",
        )
        figure.update_layout(barmode="group", showlegend=True)
        caption += f". Grey: all trials compared after epoch {epoch}, which all of them reached"
    polish(figure, xaxis_title="share of the variance", yaxis_title=None)
    return Panel("What mattered", caption + ".", figure)


def _complete(analysis: Analysis) -> set[int]:
    """Return the numbers of the trials that trained to the end."""
    return {record.number for record in analysis.everything if record.state == State.COMPLETED}


def _parallel(
    study: optuna.Study, params: list[str], metric: str, maximize: bool, complete: Collection[int]
) -> go.Figure:
    """Build Optuna's parallel coordinates in colours for light and dark background, with each line's trial.

    Args:
        study: from `comparable`.
        params: names of the settings.
        metric: label of the objective.
        maximize: whether larger is better.
        complete: numbers of the trials that are coloured by their value; the others' values are of earlier epochs, and
            may lie above the best without being better.
    """
    figure = plots.plot_parallel_coordinate(study, params=params or None, target_name=metric)
    values = {trial.number: trial.value for trial in study.get_trials(deepcopy=False) if trial.value is not None}
    low, high = min(values.values()), max(values.values())
    ends = [value for number, value in values.items() if number in complete]
    least, span = min(ends, default=low), (max(ends, default=high) - min(ends, default=low)) or 1.0
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    left = dict(values)
    for trace in lines:
        height = trace.y[0]  # from the smallest value at 0 to the largest at 1
        number = min(left, key=lambda it: abs(left[it] - (low + height * (high - low))))
        del left[number]  # of several with the same value each has its own line
        style = {"line": {"color": QUIET, "width": 1}, "opacity": 0.5}
        if number in complete:
            good = (values[number] - least) / span
            good = good if maximize else 1 - good
            colour = sample_colorscale(["#b9bec6", "#4dabf7", BEST], [good])[0]
            style = {"line": {"color": colour, "width": 1.5 + 1.5 * good}, "opacity": 0.8}
        trace.update(
            **style,
            hovertemplate=f"{trial_id(number)}: %{{customdata[0]}} %{{customdata[1]}}<extra></extra>",
        )
    figure.data = lines  # its colour bar repeats the first axis
    for note in figure.layout.annotations:
        note.update(text=_plain(note.text), font={"size": 10, "color": WORST})
    return polish(figure, plot_bgcolor=None, margin={"l": 52, "r": 40, "t": 24, "b": 30})


def _plain(text: str) -> str:
    """Rewrite a number such as `3e+04` as `30000`."""
    return f"{float(text):.0f}" if "e+" in text else text


def _names(analysis: Analysis) -> list[str]:
    return list(short_names(analysis.experiment.space.parameters).values())


warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning, module="u2pl_ray.analysis")
