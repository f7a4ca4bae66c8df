"""Plots of several objectives: the Pareto front in Optuna's plot of the completed trials."""

from collections.abc import Sequence
from itertools import combinations

import optuna
import optuna.visualization as plots
from optuna.trial import TrialState

from u2pl_ray.analysis.figures.panel import BEST, WORST, Panel, polish
from u2pl_ray.analysis.load import Analysis
from u2pl_ray.search.listeners.formatting import number
from u2pl_ray.search.space.space import Metric


def objective_panels(analysis: Analysis) -> list[Panel]:
    """Plot each pair of objectives; no plot if there is only one objective, or if no trial is complete."""
    objectives = analysis.experiment.space.objectives
    if not analysis.front:
        return []
    return [_panel(analysis, objectives, pair) for pair in combinations(range(len(objectives)), 2)]


def _panel(analysis: Analysis, objectives: Sequence[Metric], pair: tuple[int, int]) -> Panel:
    one, other = (objectives[index] for index in pair)
    figure = plots.plot_pareto_front(_copy(analysis, (one, other), pair), target_names=[one.name, other.name])
    for trace in figure.data:
        leads = "Best Trial" in trace.hovertemplate  # Optuna's label of the front
        trace.marker = {"color": BEST if leads else WORST, "size": 11 if leads else 7}
        trace.update(name="not beaten" if leads else "beaten in both", showlegend=True)
    front = analysis.front
    listed = "; ".join(
        f"{record.id} ({number(record.objectives[pair[0]])}, {number(record.objectives[pair[1]])})"
        for record in front[:8]
    )
    listed += f" and {len(front) - 8} more" if len(front) > 8 else ""
    wanted = " and ".join(f"{'more' if metric.maximize else 'less'} {metric.name}" for metric in (one, other))
    caption = f"A dot per completed trial; {wanted} is better. The Pareto front of the search: {listed}."
    polish(figure, xaxis_title=one.name, yaxis_title=other.name, showlegend=True)
    return Panel(f"{one.name} against {other.name}", caption, figure, 420, wide=True)


def _copy(analysis: Analysis, objectives: Sequence[Metric], pair: tuple[int, int]) -> optuna.Study:
    """Copy the completed trials to a study in memory with two of the objectives; trials keep their numbers.

    Args:
        analysis: the experiment.
        objectives: all of its objectives.
        pair: indices of the two.
    """
    copy = optuna.create_study(directions=[metric.goal for metric in objectives])
    for record, trial in zip(analysis.everything, analysis.study.study.get_trials(deepcopy=False), strict=False):
        values = (
            [record.objectives[index] for index in pair] if record.objectives and record.companion is None else None
        )
        copy.add_trial(
            optuna.trial.create_trial(
                state=TrialState.FAIL if values is None else TrialState.COMPLETE,
                values=values,
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    return copy
