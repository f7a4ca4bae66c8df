"""Report a search to Weights & Biases: one run per trial, written by the driver."""

from collections.abc import Callable, Mapping
from typing import Any

from u2pl_ray.config import metrics as names
from u2pl_ray.config.schema import Config
from u2pl_ray.config.yaml_text import read_yaml
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import TrialRecord
from u2pl_ray.tracking.sink import WandbSink

_IMAGES = "media/images"
"""Metric of the images in W&B, followed by their split; its values are paths relative to the experiment's folder."""


class WandbListener(Listener):
    """Listener that passes a search's events to W&B.

    Args:
        sink: writes the runs.
        say: called with messages for the user when the sink is closed.
    """

    def __init__(self, sink: WandbSink, say: Callable[[str], None] = lambda line: None) -> None:
        self._sink, self._say = sink, say

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        """Open or continue the trial's run."""
        tags = [config.method.name, *([trial.note] if trial.note else [])]
        self._sink.start(trial.id, trial.id, config.model_dump(mode="json"), tags)

    def epoch_known(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        """Log an epoch that W&B may lack; the sink skips steps that it has written before."""
        self._log(trial, metrics)

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        """Log an epoch."""
        self._log(trial, metrics)

    def _log(self, trial: TrialRecord, metrics: Mapping[str, Any]) -> None:
        row = {name: value for name, value in metrics.items() if name != names.IMAGES}
        if names.IMAGES in metrics:
            row[_IMAGES] = f"{layout.TRIALS}/{trial.id}/{metrics[names.IMAGES]}"
        self._sink.log(trial.id, row, metrics[names.EPOCH])

    def trial_finished(self, trial: TrialRecord) -> None:
        """End the trial's run."""
        summary: dict[str, Any] = {"trial/epochs": trial.epochs}
        if trial.reason:
            summary |= {"trial/reason": trial.reason, "trial/detail": trial.detail}
        self._sink.finish(trial.id, trial.state.value, summary)

    def close(self) -> None:
        """Close the sink and report lost rows; other problems were reported when they occurred."""
        report = self._sink.close()
        if report.dropped:
            self._say(f"W&B: {report.dropped} rows were lost")


def sweep_of(space_text: str) -> dict[str, Any]:
    """Convert a space file to a W&B Sweep, without `early_terminate`: the driver stops trials, not W&B.

    A sweep has one metric, the first of several objectives, and no priors, which W&B does not know.
    """
    tree = dict(read_yaml(space_text))
    if isinstance(tree.get("metric"), list):
        tree["metric"] = tree["metric"][0]
    tree.pop("early_terminate", None)
    tree["parameters"] = _without_priors(tree["parameters"])
    return tree


def _without_priors(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters, nested ones too, without their priors."""
    found = {}
    for name, body in parameters.items():
        if "parameters" in body:
            found[name] = {**body, "parameters": _without_priors(body["parameters"])}
        else:
            found[name] = {key: value for key, value in body.items() if key != "prior"}
    return found
