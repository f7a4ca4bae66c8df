"""Plots of the method's diagnostics: threshold and entropies, memory bank, pseudo-labels, by class."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from u2pl_ray.analysis.figures.panel import BEST, PAPER, SERIES, WORST, Panel, Pick, line, picks, polish, series, titled
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.config import metrics as names

_RIGHT, _WRONG = "#2f9e44", "#e03131"


def inside_panels(analysis: Analysis) -> list[Panel]:
    """Plot threshold, entropies, pseudo-labels, bank and classes; metrics that no trial reported are left out."""
    chosen = picks(analysis)
    panels = _thresholds(analysis, chosen) + [
        panel for pick in chosen if (panel := _entropies(analysis, pick)) is not None
    ]
    panels += _pseudo_labels(analysis, chosen)
    if chosen:
        panels += _right_and_wrong(analysis, chosen[0]) + _bank(analysis, chosen[0]) + _classes(analysis, chosen[0])
        panels += _confusion(analysis, chosen[0])
    return panels


def _thresholds(analysis: Analysis, chosen: list[Pick]) -> list[Panel]:
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for pick in chosen:
        for row, metric in ((1, "diag/alpha"), (2, "diag/gamma")):
            x, y = series(analysis, pick.record.id, metric)
            if x:
                figure.add_trace(line(x, y, pick.label, pick.colour, showlegend=row == 1), row=row, col=1)
    if not figure.data:
        return []
    polish(figure, xaxis2_title="epoch", yaxis_title="alpha", yaxis2_title="gamma (nats)")
    told = ", ".join(f"{pick.role} {titled(pick.record, analysis.metric.name)}" for pick in chosen)
    caption = f"alpha, the share of pixels called unreliable, and gamma, the entropy above which a pixel is: {told}."
    return [Panel("Threshold", caption, figure)]


def _entropies(analysis: Analysis, pick: Pick) -> Panel | None:
    rows = [row for row in analysis.epochs[pick.record.id] if row.get("diag/entropy/hist")]
    if not rows:
        return None
    epochs, counts = [row[names.EPOCH] for row in rows], [row["diag/entropy/hist"] for row in rows]
    width = rows[0]["diag/entropy/max"] / len(counts[0])
    middles = [(index + 0.5) * width for index in range(len(counts[0]))]
    shares = [[count / max(1, sum(column)) for count in column] for column in counts]
    figure = go.Figure(
        go.Heatmap(
            x=epochs,
            y=middles,
            z=list(zip(*shares, strict=True)),
            colorscale="Viridis",
            zmin=0,
            colorbar={"title": {"text": "share"}, "thickness": 10, "tickformat": ".0%"},
            hovertemplate="epoch %{x}, %{y:.2f} nats: %{z:.1%} of pixels<extra></extra>",
        )
    )
    x, y = series(analysis, pick.record.id, "diag/gamma")
    figure.add_trace(line(x, y, "gamma", "#ffffff", style={"dash": "dot"}))
    polish(figure, xaxis_title="epoch", yaxis_title="entropy (nats)", showlegend=False)
    caption = f"Of the teacher on unlabeled pixels, trial {titled(pick.record, analysis.metric.name)}. Dotted: gamma."
    return Panel(f"Entropies, {pick.label}", caption, figure)


def _right_and_wrong(analysis: Analysis, pick: Pick) -> list[Panel]:
    rows = [row for row in analysis.epochs[pick.record.id] if row.get("diag/entropy/hist_right")]
    if not rows:
        return []
    last, figure = rows[-1], go.Figure()
    for word, colour in (("right", _RIGHT), ("wrong", _WRONG)):
        counts = last[f"diag/entropy/hist_{word}"]
        width = last["diag/entropy/max"] / len(counts)
        x = [(index + 0.5) * width for index in range(len(counts))]
        figure.add_scatter(x=x, y=counts, name=word, fill="tozeroy", line={"color": colour, "shape": "hvh"})
    figure.add_vline(x=last["diag/gamma"], line={"dash": "dot", "color": WORST}, annotation_text="gamma")
    polish(figure, xaxis_title="entropy (nats)", yaxis_title="pixels")
    caption = (
        f"Pseudo-labels of trial {pick.record.id} in epoch {last[names.EPOCH]}, where the truth is known. The further "
        "the two lie apart, the better entropy tells which to trust."
    )
    return [Panel("Right and wrong by entropy", caption, figure)]


def _pseudo_labels(analysis: Analysis, chosen: list[Pick]) -> list[Panel]:
    figure = go.Figure()
    for pick in chosen:
        for kind, dash in (("reliable", "solid"), ("unreliable", "dot")):
            x, y = series(analysis, pick.record.id, f"diag/pseudo_label/accuracy_{kind}")
            if x:
                figure.add_trace(line(x, y, f"{pick.label} {kind}", pick.colour, style={"dash": dash}))
    if not figure.data:
        return []
    polish(figure, xaxis_title="epoch", yaxis_title="share that is right", yaxis_tickformat=".0%")
    caption = "Where the truth is known: how many pseudo-labels are right among the reliable and the unreliable pixels."
    return [Panel("Pseudo-labels", caption, figure)]


def _bank(analysis: Analysis, pick: Pick) -> list[Panel]:
    method = analysis.config(pick.record.id).method
    bank, reliable = method.memory_bank, method.reliable_if
    told = titled(pick.record, analysis.metric.name)
    asked = (
        ("bank/fill", "Queue fill", "keys", f"Keys in each class's queue (capacity {bank.capacity}), trial {told}."),
        (
            "bank/key_age",
            "Key age",
            "steps",
            f"Mean age of each class's keys, trial {told}. Below 1: a queue holds less than a step brings.",
        ),
        ("bank/pushed", "Pushes", "keys a step", f"Keys that enter each class's queue in a step, trial {told}."),
        ("negatives/false_rate", "False negatives", "share", f"Keys that truly are of their class, trial {told}."),
        ("reliable_fraction", "Reliable by class", "share", f"Pixels with {reliable}, by pseudo-label, trial {told}."),
    )
    panels = []
    for group, title, unit, caption in asked:
        figure = go.Figure()
        for name, colour in _coloured(analysis):
            x, y = series(analysis, pick.record.id, names.per_class(group, name))
            if x:
                figure.add_trace(line(x, y, name, colour))
        if figure.data:
            share = {"yaxis_tickformat": ".0%"} if unit == "share" else {}
            panels.append(Panel(title, caption, polish(figure, xaxis_title="epoch", yaxis_title=unit, **share)))
    return panels


def _classes(analysis: Analysis, pick: Pick) -> list[Panel]:
    """Plot the IoU by class after the last epoch, beside the paper's setting.

    Args:
        analysis: the experiment.
        pick: the trial.
    """
    figure = go.Figure()
    trials = [(pick.label, pick.record, BEST)]
    if analysis.paper is not None and analysis.paper.id != pick.record.id:
        trials.append((f"paper {analysis.paper.id}", analysis.paper, PAPER))
    for label, record, colour in trials:
        last = analysis.epochs[record.id][-1:]
        scores = [last[0].get(names.val_iou(name)) if last else None for name in analysis.classes]
        if any(score is not None for score in scores):
            figure.add_bar(x=list(analysis.classes), y=scores, name=label, marker_color=colour)
    if not figure.data:
        return []
    polish(figure, barmode="group", yaxis_title="IoU")
    caption = "The student's validation IoU after the last epoch of each trial."
    return [Panel("Class by class", caption, figure, wide=len(analysis.classes) > 8)]


def _confusion(analysis: Analysis, pick: Pick) -> list[Panel]:
    """Plot the confusion matrix as shares of the true class.

    Args:
        analysis: the experiment.
        pick: the trial.
    """
    rows = [row for row in analysis.epochs[pick.record.id] if row.get("val/confusion")]
    if not rows:
        return []
    counts, classes = rows[-1]["val/confusion"], list(analysis.classes)
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    figure = go.Figure(
        go.Heatmap(
            x=classes,
            y=classes,
            z=shares,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            colorbar={"thickness": 10, "tickformat": ".0%"},
            hovertemplate="%{y} taken for %{x}: %{z:.1%}<extra></extra>",
        )
    )
    polish(figure, xaxis_title="prediction", yaxis_title="truth", yaxis_autorange="reversed")
    caption = (
        f"Of each class's validation pixels, the share that trial {titled(pick.record, analysis.metric.name)} takes "
        f"for each class, after epoch {rows[-1][names.EPOCH]}."
    )
    return [Panel("Confusion", caption, figure, 420)]


def _coloured(analysis: Analysis) -> list[tuple[str, str]]:
    return [(name, SERIES[index % len(SERIES)]) for index, name in enumerate(analysis.classes)]
