"""Floor 4: what to try next, what to stop, and everything needed to continue after any interruption.

From Python, a search is planned, created, run, and resumed like this:

    from u2pl_ray.config.overrides import load
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.search import Experiment, load_space, plan_search

    config = resolve(load("quickstart", ["workers=1"]))
    plan = plan_search(config, load_space("search_spaces/paper.yaml", config), name="mine", trials=20)
    print(*plan.lines(), sep="\\n")
    summary = plan.create().run()
    print(summary.best)

    summary = Experiment.open("mine").run()  # later, or on another machine: goes on where it stopped

What is not named here may change with any version.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from u2pl_ray.search.driver.budget import Budget
    from u2pl_ray.search.experiment.confirm import plan_confirmation
    from u2pl_ray.search.experiment.experiment import Experiment, Summary
    from u2pl_ray.search.experiment.extend import extend
    from u2pl_ray.search.experiment.plan import Plan, plan_search
    from u2pl_ray.search.experiment.training import plan_training
    from u2pl_ray.search.listeners.base import Listener
    from u2pl_ray.search.space.file import load_space, parse_space
    from u2pl_ray.search.space.space import Metric, Space
    from u2pl_ray.search.study.trial_record import State, TrialRecord

__all__ = [
    "Budget",
    "Experiment",
    "Listener",
    "Metric",
    "Plan",
    "Space",
    "State",
    "Summary",
    "TrialRecord",
    "extend",
    "load_space",
    "parse_space",
    "plan_confirmation",
    "plan_search",
    "plan_training",
]

_HOMES = {
    "Budget": "driver.budget",
    "Experiment": "experiment.experiment",
    "Listener": "listeners.base",
    "Metric": "space.space",
    "Plan": "experiment.plan",
    "Space": "space.space",
    "State": "study.trial_record",
    "Summary": "experiment.experiment",
    "TrialRecord": "study.trial_record",
    "extend": "experiment.extend",
    "load_space": "space.file",
    "parse_space": "space.file",
    "plan_confirmation": "experiment.confirm",
    "plan_search": "experiment.plan",
    "plan_training": "experiment.training",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the rooms below must not import all of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
