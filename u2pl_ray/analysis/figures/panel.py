"""What a plot is here, and the colours all of them share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from u2pl_ray.analysis.load import Analysis
from u2pl_ray.search.listeners.formatting import number
from u2pl_ray.search.study.trial_record import State, TrialRecord

BEST, PAPER, MEDIAN, WORST, QUIET = "#e8590c", "#1c7ed6", "#7048e8", "#868e96", "rgba(134,142,150,0.45)"
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
"""For what has no colour of its own, classes for example; readable on light and dark ground."""


@dataclass(frozen=True)
class Panel:
    """A plot with its words.

    Attributes:
        title: what is seen.
        caption: how to read it, and of which trials it is.
        figure: the plot.
        height: in pixels.
        wide: whether it takes the page's whole width.
    """

    title: str
    caption: str
    figure: go.Figure
    height: int = 360
    wide: bool = False


@dataclass(frozen=True)
class Pick:
    """A trial that stands for others: the best, the median, the worst."""

    role: str
    record: TrialRecord
    colour: str

    @property
    def label(self) -> str:
        """`best 0004`."""
        return f"{self.role} {self.record.id}"


def picks(analysis: Analysis) -> list[Pick]:
    """Best, median and worst of the trials with a value (fewer if there are fewer), in this order.

    The best is the search's own, as complete as can be; the others go by their latest values, whether a trial was
    stopped or not, so that none is better than what comes before it.
    """
    leaders = analysis.ranked()
    if not leaders:
        return []
    sign = -1 if analysis.metric.maximize else 1
    ranked = [leaders[0], *sorted(leaders[1:], key=lambda record: sign * (record.latest or 0.0))]
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    colours = {"best": BEST, "median": MEDIAN, "worst": WORST}
    chosen: dict[str, Pick] = {}
    for role in ("best", "worst", "median"):
        record = ranked[places[role]]
        chosen.setdefault(record.id, Pick(role, record, colours[role]))
    return sorted(chosen.values(), key=lambda pick: places[pick.role])


def series(analysis: Analysis, trial: str, metric: str) -> tuple[list[int], list[float]]:
    """Epochs and values of a metric of a trial, where it was reported."""
    pairs = [(row["training_iteration"], row[metric]) for row in analysis.epochs[trial] if row.get(metric) is not None]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, **options: Any) -> go.Scatter:
    """A line with small markers, so that one point is seen too."""
    style = {"color": colour, "width": 2, **options.pop("style", {})}
    return go.Scatter(
        x=x, y=y, name=name, mode="lines+markers", line=style, marker={"size": 5, "color": colour}, **options
    )


def titled(record: TrialRecord, metric: str) -> str:
    """`0004 (val/miou 0.668)`."""
    return f"{record.id} ({metric} {number(record.latest)})"


def polish(figure: go.Figure, **layout: Any) -> go.Figure:
    """Leave colours of ground and text to the page, which has a light and a dark side; no ticks between epochs."""
    figure.update_layout(title=None, template=None, width=None, height=None, **layout)
    figure.for_each_xaxis(lambda axis: axis.update(dtick=_whole(figure)) if axis.title.text == "epoch" else None)
    return figure


def _whole(figure: go.Figure) -> int | None:
    """A step of 1 where few epochs would be cut into fractions."""
    epochs = [epoch for trace in figure.data for epoch in trace.x or () if isinstance(epoch, int)]
    return 1 if epochs and max(epochs) - min(epochs) < 8 else None


def fill_rows(panels: Sequence[Panel]) -> list[Panel]:
    """The panels, with each that would stand alone in a row of two made wide."""
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
