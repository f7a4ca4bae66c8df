"""Plots of the settings' true worth: the posterior of each, its trainings, and where the spread comes from."""

import numpy as np
import plotly.graph_objects as go
from scipy import stats

from u2pl_ray.analysis.figures.panel import BASELINE, BEST, PAPER, QUIET, Panel, polish
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.search.experiment.verdict import share
from u2pl_ray.search.listeners.formatting import short_names
from u2pl_ray.search.samplers.unit_cube import categories, searched

_MOST = 20
"""Settings shown: the best ones by posterior mean, and the paper's."""
_FEW = 8
"""Settings up to which importances are computed."""
_PARTS = {
    "setting": ("the settings", BEST),
    "seed": ("the seed, alike for all settings", PAPER),
    "luck": ("luck of one training", BASELINE),
    "epoch": ("the last epoch", "#adb5bd"),
}


def certainty_panels(analysis: Analysis) -> list[Panel]:
    """Plot the posterior of the settings, the parts of the spread, and the settings' importances.

    Returns:
        Nothing without replicates: one training each says nothing of luck.
    """
    if not analysis.judgement.repeated or analysis.judgement.posterior is None:
        return []
    return [_forest(analysis), _parts(analysis), *_importances(analysis)]


def _forest(analysis: Analysis) -> Panel:
    judgement, posterior = analysis.judgement, analysis.judgement.posterior
    assert posterior is not None
    order = [int(i) for i in np.argsort(-posterior.mean, kind="stable")]
    shown = order[:_MOST]
    if posterior.reference is not None and posterior.reference not in shown:
        shown[-1] = posterior.reference
    labels = [_name(posterior.settings[i], judgement.reference) for i in shown]
    worth, sd = posterior.worth(), posterior.sd
    half = float(stats.t.ppf(0.975, posterior.degrees)) * sd
    marks = {judgement.use: BEST, judgement.reference: PAPER}
    colours = [marks.get(posterior.settings[i], QUIET) for i in shown]
    figure = go.Figure()
    figure.add_scatter(
        x=[float(worth[i]) for i in shown],
        y=labels,
        mode="markers",
        name="posterior mean and 95 % interval",
        marker={"color": colours, "size": 10, "symbol": "diamond"},
        error_x={"type": "data", "array": [float(half[i]) for i in shown], "color": QUIET, "thickness": 2},
    )
    points = [
        (value, label, seed)
        for i, label in zip(shown, labels, strict=True)
        for seed, value in judgement.dots.get(posterior.settings[i], ())
    ]
    figure.add_scatter(
        x=[value for value, _, _ in points],
        y=[label for _, label, _ in points],
        customdata=[seed for _, _, seed in points],
        hovertemplate="%{y}: %{x:.4f}, seed %{customdata}<extra></extra>",
        mode="markers",
        name="a training at full length",
        marker={"color": "#868e96", "size": 5},
    )
    polish(figure, xaxis_title=analysis.metric.name, showlegend=True)
    figure.update_yaxes(autorange="reversed", type="category")
    caption = (
        "A diamond is what a setting is worth over many seeds, as far as all trainings together tell; the bar holds it "
        "with 95 %. A dot is one training. Blue: the paper's setting; orange: the one to use, if it is another."
    )
    height = 140 + 26 * len(shown)
    return Panel("What each setting is worth", caption, figure, height, wide=True)


def _parts(analysis: Analysis) -> Panel:
    told = analysis.judgement.answer
    assert told is not None
    figure = go.Figure()
    for part, (label, colour) in _PARTS.items():
        figure.add_bar(x=[100 * told.parts[part]], y=["spread"], name=label, orientation="h", marker_color=colour)
    polish(figure, barmode="stack", xaxis_title="% of the variance of one training's value", showlegend=True)
    figure.update_yaxes(showticklabels=False)
    caption = (
        f"Seeds alone spread by {told.seed_sd:.4f} (standard deviation); the settings by {told.snr:.1f} times that."
    )
    return Panel("Where the spread comes from", caption, figure, 240)


def _importances(analysis: Analysis) -> list[Panel]:
    from u2pl_ray.posterior import fit, importances

    judgement = analysis.judgement
    distributions = searched(judgement.ranges.distributions)
    if judgement.points is None or not 1 < len(distributions) <= _FEW:
        return []
    alone = fit(judgement.runs, judgement.reference, None, analysis.metric.maximize)
    found = importances(alone, judgement.points, categories(distributions))
    names = short_names(distributions)
    labels = [names[path] for path in distributions]
    figure = go.Figure()
    figure.add_scatter(
        x=[100 * it.mean for it in found.parameters],
        y=labels,
        mode="markers",
        marker={"color": [QUIET if it.greyed else BEST for it in found.parameters], "size": 10, "symbol": "diamond"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (it.high - it.mean) for it in found.parameters],
            "arrayminus": [100 * (it.mean - it.low) for it in found.parameters],
            "color": QUIET,
        },
    )
    polish(figure, xaxis_title="% of the settings' variance it has a hand in", xaxis_range=[-2, 102])
    figure.update_yaxes(autorange="reversed", type="category")
    caption = (
        f"With 90 % intervals. Grey: it may not matter at all. That anything searched matters has a probability of "
        f"{share(found.anything)}."
    )
    return [Panel("Which settings matter", caption, figure, 160 + 30 * len(labels))]


def _name(setting: str, reference: str | None) -> str:
    return f"{setting} paper" if setting == reference else setting
