"""The panel, which holds one plot, and colours and helpers that all plots share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.search.listeners.formatting import number
from u2pl_ray.search.study.trial_record import State, TrialRecord

BEST, PAPER, MEDIAN, WORST, QUIET = "#e8590c", "#1c7ed6", "#7048e8", "#868e96", "rgba(134,142,150,0.45)"
BASELINE = "#0c8599"
STATES = {
    State.COMPLETED: "#2f9e44",
    State.STOPPED: "#f08c00",
    State.FAILED: "#e03131",
    State.INFEASIBLE: "#c2255c",
    State.RUNNING: "#1c7ed6",
    State.PENDING: "#adb5bd",
}
SERIES = (
    *("#1c7ed6", "#e8590c", "#2f9e44", "#e03131", "#7048e8", "#f08c00", "#0c8599", "#c2255c", "#66a80f", "#a5673f"),
    *("#4dabf7", "#ffa94d", "#69db7c", "#ff8787", "#9775fa", "#ffd43b", "#3bc9db", "#f783ac", "#a9e34b", "#868e96"),
)
"""Colours of series without one of their own, such as classes; readable on light and dark background."""


@dataclass(frozen=True)
class Panel:
    """A plot with title and caption.

    Attributes:
        title: what the plot shows.
        caption: how to read it, and which trials it shows.
        figure: the plot.
        height: in pixels.
        wide: whether it takes the whole width of the page.
    """

    title: str
    caption: str
    figure: go.Figure
    height: int = 360
    wide: bool = False


@dataclass(frozen=True)
class Pick:
    """One of three representative trials: the best, the median, the worst."""

    role: str
    record: TrialRecord
    colour: str

    @property
    def label(self) -> str:
        """Return the label, such as `best 0004`."""
        return f"{self.role} {self.record.id}"


def picks(analysis: Analysis) -> list[Pick]:
    """Return the best, median and worst of the trials with a value, in this order; fewer if there are fewer trials.

    The best is the one to use, as everywhere. Median and worst go by their latest values, whether a trial was stopped
    or not; by those the best need not come first.
    """
    ranked = analysis.ranked()
    if not ranked:
        return []
    sign = -1 if analysis.metric.maximize else 1
    by_value = sorted(ranked, key=lambda record: sign * (record.result or 0.0))
    leader = next(
        (record for record in ranked if analysis.best is not None and record.id == analysis.best.id), ranked[0]
    )
    roles = {"best": leader, "worst": by_value[-1], "median": by_value[len(by_value) // 2]}
    colours = {"best": BEST, "median": MEDIAN, "worst": WORST}
    chosen: dict[str, Pick] = {}
    for role, record in roles.items():
        chosen.setdefault(record.id, Pick(role, record, colours[role]))
    return sorted(chosen.values(), key=lambda pick: list(colours).index(pick.role))


def series(analysis: Analysis, trial: str, metric: str) -> tuple[list[int], list[float]]:
    """Return the epochs in which a trial reported a metric, and its values.

    Args:
        analysis: the experiment.
        trial: id of the trial.
        metric: its name.
    """
    pairs = [(row["training_iteration"], row[metric]) for row in analysis.epochs[trial] if row.get(metric) is not None]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, **options: Any) -> go.Scatter:
    """Build a line with small markers, so that a single point is visible too.

    Args:
        x: positions.
        y: values.
        name: in the legend.
        colour: in CSS notation.
        **options: of `plotly.graph_objects.Scatter`.
    """
    style = {"color": colour, "width": 2, **options.pop("style", {})}
    return go.Scatter(
        x=x, y=y, name=name, mode="lines+markers", line=style, marker={"size": 5, "color": colour}, **options
    )


def titled(record: TrialRecord, metric: str) -> str:
    """Format a trial with its value, as `0004 (val/miou 0.668)`.

    Args:
        record: the trial.
        metric: name of the objective.
    """
    return f"{record.id} ({metric} {number(record.latest)})"


def polish(figure: go.Figure, **layout: Any) -> go.Figure:
    """Remove the figure's colours of background and text, which the page sets, and the ticks between epochs.

    Args:
        figure: changed in place.
        **layout: further options of `plotly.graph_objects.Layout`.
    """
    figure.update_layout(title=None, template=None, width=None, height=None, **layout)
    figure.for_each_xaxis(lambda axis: axis.update(dtick=_whole(figure)) if axis.title.text == "epoch" else None)
    return figure


def _whole(figure: go.Figure) -> int | None:
    """Return a tick step of 1 if plotly would put ticks between the few epochs, else None."""
    epochs = [epoch for trace in figure.data for epoch in trace.x or () if isinstance(epoch, int)]
    return 1 if epochs and max(epochs) - min(epochs) < 8 else None


def fill_rows(panels: Sequence[Panel]) -> list[Panel]:
    """Return the panels in order; one that would be alone in a row of two becomes wide."""
    result: list[Panel] = []
    alone = False
    for panel in panels:
        if panel.wide and alone:
            result[-1] = replace(result[-1], wide=True)
        alone = not panel.wide and not alone
        result.append(panel)
    if alone:
        result[-1] = replace(result[-1], wide=True)
    return result
