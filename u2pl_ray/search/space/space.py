"""A search space: parameters, constants and objectives, and the configurations that follow from them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution

from u2pl_ray.config import metrics, overrides
from u2pl_ray.config.checks import check_classes
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.parameter import Parameter, bounds

_PROBES = 64


@dataclass(frozen=True)
class Metric:
    """Objective of a search: name of a reported metric, and whether larger is better.

    A stored space without `metric` is of a time when that meant the student's mIoU; new ones: see `file.with_metric`.
    """

    name: str = metrics.VAL_MIOU
    maximize: bool = True

    @property
    def goal(self) -> Literal["maximize", "minimize"]:
        """Return the direction as W&B and Optuna spell it."""
        return "maximize" if self.maximize else "minimize"


@dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        source: the file it came from.
        text: the file's content, kept with the experiment as it was written.
        parameters: the searched settings by dotted path, in the file's order.
        constants: settings the space fixes for every trial.
        metric: the first objective; schedulers and samplers compare trials by it.
        further: other objectives, compared at the end of a trial only.
        method: W&B's search method (bayes or random), or None if the file does not say.
        early_terminate: W&B's early termination as written, or None.
    """

    source: str
    text: str
    parameters: Mapping[str, Parameter]
    constants: Mapping[str, Any]
    metric: Metric
    method: str | None = None
    early_terminate: Mapping[str, Any] | None = None
    further: tuple[Metric, ...] = ()

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """Return all objectives, `metric` first."""
        return (self.metric, *self.further)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the Optuna distribution of each parameter by dotted path."""
        return {path: parameter.distribution for path, parameter in self.parameters.items()}

    @property
    def beliefs(self) -> dict[str, tuple[float, float]]:
        """Return the parameters that have a prior, with its ends in the unit cube (see `posterior/belief.py`)."""
        found = {path: parameter.believed() for path, parameter in self.parameters.items()}
        return {path: ends for path, ends in found.items() if ends is not None}

    def decode(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a trial's parameters in the study to settings by dotted path."""
        return {path: self.parameters[path].decode(value) for path, value in stored.items() if path in self.parameters}

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Convert settings by dotted path to parameters of the study.

        Raises:
            ValueError: a value outside its range.
        """
        return {path: self.parameters[path].encode(value) for path, value in values.items()}

    def around(self, values: Mapping[str, Any]) -> "Space":
        """Return the space with ranges that hold these settings by dotted path, see `Parameter.around`."""
        wider = {path: it.around(values[path]) for path, it in self.parameters.items() if path in values}
        return replace(self, parameters={**self.parameters, **wider})

    def configure(self, base: Config, values: Mapping[str, Any]) -> Config:
        """Build the configuration of a trial: `base`, then the space's constants, then the trial's settings.

        Args:
            base: configuration the trials start from.
            values: the trial's settings by dotted path.

        Raises:
            UserError: the combination is not valid.
        """
        config = overrides.apply(base, {**self.constants, **values})
        if config.data.classes:
            check_classes(config, len(config.data.classes))
        return config

    def blamed(self, refusal: str) -> bool:
        """Tell whether a training's refusal names a searched setting, or the section it stands in.

        What it says of anything else (data, weights, a machine) is no verdict on the trial's settings.
        """
        key = re.match(r"(?:\w+Error: )?(?:config: )?([a-z_0-9.]+)", refusal)
        if key is None:
            return False
        named = key.group(1).rstrip(".")
        if named.split(".")[0] == "data" or named == "model.encoder_weights":
            return False
        return any(path == named or path.startswith(f"{named}.") for path in self.parameters)

    def check(self, base: Config) -> None:
        """Refuse a space with a value that the configuration rejects for every choice of the other parameters.

        Raises:
            UserError: naming the parameter and the value.
        """
        probes = [dict(probe) for probe in self._probes()]
        problems = [self._problem(base, probe) for probe in probes]
        if all(problems):
            raise UserError(f"{self.source}: none of {_PROBES} random settings is valid: {problems[0]}")
        for path, parameter in self.parameters.items():
            for label, value in extremes(parameter):
                problem = self._problem(base, {path: value})
                if problem and all(self._problem(base, {**probe, path: value}) for probe in probes):
                    raise UserError(f"{self.source}: {path}: {label} {value!r}: {problem}")

    def _problem(self, base: Config, values: Mapping[str, Any]) -> str:
        try:
            self.configure(base, values)
        except UserError as error:
            return str(error).removeprefix("config: ")
        return ""

    def _probes(self) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        return [self.decode(study.ask(self.distributions).params) for _ in range(_PROBES)]


def extremes(parameter: Parameter) -> list[tuple[str, Any]]:
    """Return the values to check with their labels: both ends of a range, or all choices."""
    if parameter.choices is not None:
        return [("value", choice) for choice in parameter.choices]
    low, high = bounds(parameter.distribution)
    return [("min", low), ("max", high)]
