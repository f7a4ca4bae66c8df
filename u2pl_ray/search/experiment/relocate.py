"""Changes to an experiment that leave its results as they are: where its data lie now, how many resources it takes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment import snapshot
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.storage import layout

_CHANGEABLE = ("data.root", *snapshot.HARMLESS)


def plan_change(experiment: Experiment, changes: Sequence[str]) -> Experiment:
    """Return the experiment with settings changed that leave its results as they are; nothing is written yet.

    Args:
        experiment: nobody runs it.
        changes: `a.b=c`, such as data.root=/new/place.

    Raises:
        UserError: a setting that results depend on, or an experiment that runs.
    """
    tree = overrides.parse_overrides(changes)
    config = overrides.validate(overrides.merge(experiment.config.model_dump(), tree))
    for path in _changed(_start(experiment), config):
        if not path.startswith(_CHANGEABLE):
            raise UserError(
                f"{path}: results depend on it, so the experiment {experiment.name} keeps it; what can be changed "
                f"here is {', '.join(f'{name}*' if name.endswith('.') else name for name in _CHANGEABLE)}"
            )
    if experiment.is_running():
        raise UserError(f"{experiment.name}: runs at this moment; its settings can be changed when it has ended")
    return replace(experiment, config=config)


def record_change(experiment: Experiment) -> list[str]:
    """Write what `plan_change` returned into the experiment's files.

    Returns:
        A line for each setting that is not as at the start; experiment.json keeps them, with the time.
    """
    start = _start(experiment)
    lines = [
        f"{path}: {overrides.get(start, path)} -> {overrides.get(experiment.config, path)}"
        for path in _changed(start, experiment.config)
    ]
    if lines:
        snapshot.write(experiment.folder, layout.CONFIG, overrides.dump(experiment.config))
        tree = json.loads((experiment.folder / layout.EXPERIMENT).read_text("utf-8"))
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        tree.setdefault("changes", []).extend({"when": when, "change": line} for line in lines)
        snapshot.write(experiment.folder, layout.EXPERIMENT, json.dumps(tree, indent=2))
        experiment.place.commit()
    return lines


def _start(experiment: Experiment) -> Config:
    """Return the configuration that the trials so far had, whatever was edited since."""
    return snapshot.read(experiment.folder / layout.START, layout.CONFIG, snapshot.parse_config)[0]


def _changed(before: Config, after: Config) -> list[str]:
    return [path for path in overrides.paths() if overrides.get(before, path) != overrides.get(after, path)]
