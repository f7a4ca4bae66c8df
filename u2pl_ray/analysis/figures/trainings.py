"""Plots of the trainings: curves with the epochs of stops, times of each trial, speed and memory."""

from datetime import datetime

import optuna.visualization as plots
import plotly.graph_objects as go

from u2pl_ray.analysis.figures.panel import (
    BASELINE,
    BEST,
    PAPER,
    QUIET,
    STATES,
    Panel,
    line,
    picks,
    polish,
    series,
    titled,
)
from u2pl_ray.analysis.figures.settings import comparable
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.config import metrics as names
from u2pl_ray.search.study.trial_record import State

_PARTS = ("supervised", "unsupervised", "contrastive")


def training_panels(analysis: Analysis) -> list[Panel]:
    """Plot curves, student and teacher, losses, timeline, and workers over time."""
    panels = []
    if any(record.values for record in analysis.records):
        panels.append(_curves(analysis))
    panels += _student_and_teacher(analysis) + _losses(analysis)
    if any(record.started for record in analysis.records):
        panels += [_timeline(analysis), _workers(analysis)]
    return panels


def _curves(analysis: Analysis) -> Panel:
    metric, best, paper = analysis.metric.name, analysis.best, analysis.paper
    figure = plots.plot_intermediate_values(comparable(analysis))
    by_name = {f"Trial{record.number}": record for record in analysis.records}
    for trace in figure.data:
        record = by_name[trace.name]
        leads = best is not None and record.id == best.id
        is_paper = paper is not None and record.id == paper.id
        colour = BEST if leads else PAPER if is_paper else QUIET
        trace.update(
            name=f"{'best ' if leads else ''}{'paper ' if is_paper else ''}{record.id}",
            line={"color": colour, "width": 3 if leads or is_paper else 1.5},
            marker={"color": colour, "size": 5},
            showlegend=leads or is_paper,
            hovertemplate=f"{record.id} epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    for baseline in analysis.baselines:
        epochs, values = series(analysis, baseline.id, metric)
        figure.add_scatter(
            x=epochs, y=values, name=f"{baseline.note} {baseline.id}", line={"color": BASELINE, "dash": "dot"}
        )
    figure.data = sorted(figure.data, key=lambda trace: bool(trace.showlegend))  # highlighted trials on top
    for state, word in ((State.STOPPED, "stopped"), (State.FAILED, "failed")):
        ended = [record for record in analysis.records if record.state == state and record.values]
        if ended:
            figure.add_scatter(
                x=[record.epochs for record in ended],
                y=[record.values[record.epochs] for record in ended],
                text=[record.id for record in ended],
                name=word,
                mode="markers",
                marker={"symbol": "x", "size": 10, "color": STATES[state], "line": {"width": 1}},
                hovertemplate=f"%{{text}} {word} after epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            )
    for rung in analysis.rungs:
        figure.add_vline(x=rung, line={"dash": "dot", "width": 1, "color": STATES[State.STOPPED]})
    caption = f"{metric} of every trial after each epoch. "
    if analysis.rungs:
        caption += "Dotted: where the scheduler may stop a trial; a cross: where it did."
    polish(figure, showlegend=True, xaxis_title="epoch", yaxis_title=metric)
    return Panel("Every trial, epoch by epoch", caption, figure, 420, wide=True)


def _student_and_teacher(analysis: Analysis) -> list[Panel]:
    figure = go.Figure()
    for pick in picks(analysis):
        for metric, dash in ((names.VAL_MIOU, "solid"), (names.VAL_TEACHER_MIOU, "dot")):
            x, y = series(analysis, pick.record.id, metric)
            if x:
                who = "student" if metric == names.VAL_MIOU else "teacher"
                figure.add_trace(line(x, y, f"{pick.label} {who}", pick.colour, style={"dash": dash}))
    if not figure.data:
        return []
    told = ", ".join(f"{pick.role} {titled(pick.record, analysis.metric.name)}" for pick in picks(analysis))
    caption = f"Validation mIoU of the trained network and of its moving average: {told}."
    return [Panel("Student and teacher", caption, polish(figure, xaxis_title="epoch", yaxis_title="mIoU"))]


def _losses(analysis: Analysis) -> list[Panel]:
    if analysis.best is None:
        return []
    figure = go.Figure()
    for part, colour in zip(_PARTS, (PAPER, BEST, "#2f9e44"), strict=True):
        x, y = series(analysis, analysis.best.id, names.loss(part))
        if any(y):
            figure.add_trace(line(x, y, part, colour))
    if not figure.data:
        return []
    caption = f"Means over each epoch of the best trial {analysis.best.id}; unweighted."
    return [Panel("Losses", caption, polish(figure, xaxis_title="epoch", yaxis_title="loss"))]


def _timeline(analysis: Analysis) -> Panel:
    figure = plots.plot_timeline(analysis.study.study)
    for trace in figure.data:
        state = next((state for state in State if trace.name == _OPTUNAS[state]), None)
        if state is not None:
            trace.update(name=state.value.lower(), marker_color=STATES[state])
    if len(analysis.records) < 10:
        figure.update_yaxes(dtick=1)
    caption = "When each trial ran. A trial that was interrupted and resumed counts from its start to its end."
    return Panel("Timeline", caption, polish(figure, xaxis_title=None, yaxis_title="trial"), 360)


def _workers(analysis: Analysis) -> Panel:
    workers = analysis.experiment.config.most_workers
    changes = []
    for record in analysis.records:
        if record.started is not None:
            changes.append((record.started, workers))
            if record.finished is not None:
                changes.append((record.finished, -workers))
    changes.sort(key=lambda change: change[0])
    times: list[datetime] = []
    busy: list[int] = []
    for time, change in changes:
        times.append(time)
        busy.append((busy[-1] if busy else 0) + change)
    style = {"shape": "hv", "color": PAPER}
    figure = go.Figure(go.Scatter(x=times, y=busy, name="workers", mode="lines", fill="tozeroy", line=style))
    device = "worker" if workers == 1 else "workers"
    caption = f"Workers given to trials; a trial has {workers} {device}."
    panel = Panel(
        "Resources in use",
        caption,
        polish(figure, yaxis_title="workers", yaxis_dtick=1 if max(busy) < 10 else None, showlegend=False),
    )
    memory = _memory(analysis, "perf/memory_gib")
    if memory is not None:
        figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "title": "GiB"})
        figure.add_scatter(x=memory[0], y=memory[1], name="GPU memory", yaxis="y2", mode="markers")
    return panel


def _memory(analysis: Analysis, metric: str) -> tuple[list[object], list[float]] | None:
    """Return the ends of trials and their workers' largest GPU memory; None if no trial reported it.

    Args:
        analysis: the experiment.
        metric: GPU memory per worker in GiB.
    """
    points = []
    for record in analysis.records:
        used = series(analysis, record.id, metric)[1]
        if record.finished is not None and used:
            points.append((record.finished, max(used)))
    return ([time for time, _ in points], [value for _, value in points]) if points else None


_OPTUNAS = {
    State.COMPLETED: "COMPLETE",
    State.STOPPED: "PRUNED",
    State.FAILED: "FAIL",
    State.INFEASIBLE: "INFEASIBLE",
    State.RUNNING: "RUNNING",
    State.PENDING: "WAITING",
}
