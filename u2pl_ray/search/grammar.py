"""One parameter of a W&B sweep as an Optuna distribution.

W&B's meaning is kept (https://docs.wandb.ai/models/sweeps/sweep-config-keys): a `log_uniform` bound is an exponent of
e, a `log_uniform_values` bound is a value, a quantised value is a multiple of `q` (ours stays between the bounds).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from u2pl_ray.config.errors import UserError, nearest

_RANGE = ("min", "max")
_KEYS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "int_uniform": _RANGE,
    "uniform": _RANGE,
    "q_uniform": (*_RANGE, "q"),
    "log_uniform": _RANGE,
    "log_uniform_values": _RANGE,
    "q_log_uniform": (*_RANGE, "q"),
    "q_log_uniform_values": (*_RANGE, "q"),
    "inv_log_uniform": _RANGE,
    "inv_log_uniform_values": _RANGE,
}
_UNBOUNDED = {
    "normal",
    "q_normal",
    "log_normal",
    "q_log_normal",
    "beta",
    "q_beta",
    "categorical_w_probabilities",
}


@dataclass(frozen=True)
class Parameter:
    """A searched setting.

    Attributes:
        path: dotted path into the configuration.
        distribution: what the sampler draws from.
        quantum: drawn values are moved to the nearest multiple of it (log scales; a linear scale has it as its step).
        choices: the configuration's values of a categorical, in the order of `distribution.choices`.
    """

    path: str
    distribution: BaseDistribution
    quantum: float | None = None
    choices: tuple[Any, ...] | None = None

    def decode(self, stored: Any) -> Any:
        """The configuration's value of a value in the study."""
        if self.choices is None:
            return stored
        assert isinstance(self.distribution, CategoricalDistribution)
        return self.choices[int(self.distribution.to_internal_repr(stored))]

    def encode(self, value: Any) -> Any:
        """The study's value of a configuration's value.

        Raises:
            ValueError: the value is not in the range or among the choices.
        """
        if isinstance(value, tuple):
            value = list(value)
        if self.choices is not None:
            matches = [index for index, choice in enumerate(self.choices) if _same(choice, value)]
            if not matches:
                raise ValueError(f"{value!r} is not among {list(self.choices)}")
            return self.distribution.to_external_repr(matches[0])
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number")
        internal = self.distribution.to_internal_repr(value)
        if not self.distribution._contains(internal):
            raise ValueError(f"{value!r} is outside {self.extent()}")
        return self.distribution.to_external_repr(internal)

    def holds(self, value: Any) -> bool:
        """Whether a configuration's value is in the range or among the choices."""
        try:
            self.encode(value)
        except ValueError:
            return False
        return True

    def snap(self, stored: Any) -> Any:
        """A drawn value, moved to the nearest multiple of the quantum."""
        if self.quantum is None:
            return stored
        low, high = bounds(self.distribution)
        return min(max(_multiple(stored, self.quantum, round), low), high)

    def clip(self, value: Any) -> Any:
        """The nearest value that the range allows; of choices, the nearest number, else the value's own if present.

        Raises:
            ValueError: nothing in the range is near (choices that are not numbers).
        """
        try:
            return self.decode(self.encode(value))
        except ValueError:
            pass
        if self.choices is not None:
            numbers = [choice for choice in self.choices if _number(choice)]
            if not _number(value) or not numbers:
                raise ValueError(f"{value!r} is not among {list(self.choices)}")
            return min(numbers, key=lambda choice: abs(choice - value))
        if not _number(value):
            raise ValueError(f"{value!r} is not a number")
        low, high = bounds(self.distribution)
        near = min(max(value, low), high)
        if isinstance(self.distribution, IntDistribution):
            near = round(near)
        step = getattr(self.distribution, "step", None)
        if step is not None and not self.distribution.log:  # type: ignore[attr-defined]
            near = min(low + round((near - low) / step) * step, high)
        return self.snap(near)

    def position(self, value: Any) -> float | None:
        """Where in the range a value lies, from 0 to 1 on the scale it is drawn on; None for choices."""
        if self.choices is not None:
            return None
        low, high = bounds(self.distribution)
        if high <= low:
            return None
        if getattr(self.distribution, "log", False):
            low, high, value = math.log(low), math.log(high), math.log(value)
        return float((value - low) / (high - low))

    def extent(self) -> str:
        """The range for people: `0.1 .. 1 (log)`, `linear | cosine`."""
        if self.choices is not None:
            return " | ".join("null" if choice is None else str(choice) for choice in self.choices)
        low, high = bounds(self.distribution)
        notes = []
        if getattr(self.distribution, "log", False):
            notes.append("log")
        step = self.quantum or getattr(self.distribution, "step", None)
        if step and step != 1:
            notes.append(f"step {step:g}")
        return f"{low:g} .. {high:g}" + (f" ({', '.join(notes)})" if notes else "")


def bounds(distribution: BaseDistribution) -> tuple[Any, Any]:
    """Lowest and highest value of a numeric distribution."""
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high


def parse_parameter(path: str, body: Mapping[str, Any], whole: bool, where: str) -> Parameter | tuple[Any]:
    """A parameter of a sweep; a constant comes back as a tuple of its value.

    Args:
        path: dotted path of the setting.
        body: the mapping below the parameter's name.
        whole: whether the setting takes whole numbers only.
        where: file and parameter, for messages.

    Raises:
        UserError: an unknown distribution or key, a missing or inverted bound, no choices.
    """
    kind = _kind(body, where)
    allowed = _KEYS[kind]
    for key in body:
        if key not in (*allowed, "distribution"):
            raise UserError(
                f"{where}: {key} does not belong to {kind} (it takes {', '.join(allowed)}){nearest(str(key), allowed)}"
            )
    required = [key for key in allowed if key != "q"]
    missing = [key for key in required if key not in body]
    if missing:
        raise UserError(f"{where}: {kind} needs {' and '.join(missing)}")
    if kind == "constant":
        return (body["value"],)
    if kind == "categorical":
        return _categorical(path, body["values"], where)
    low, high, quantum = _numbers(kind, body, whole, where)
    return _numeric(path, kind, low, high, quantum, whole, where)


def _kind(body: Mapping[str, Any], where: str) -> str:
    """The distribution's name: given, or implied by the other keys as in W&B."""
    kind = body.get("distribution")
    if kind is None:
        if "values" in body:
            return "categorical"
        if "value" in body:
            return "constant"
        if "min" in body or "max" in body:
            whole = all(isinstance(body.get(key), int) for key in _RANGE)
            return "int_uniform" if whole else "uniform"
        raise UserError(f"{where}: give values, value, or min and max")
    if kind in _UNBOUNDED:
        raise UserError(f"{where}: distribution {kind!r} is not supported here: use one with bounds, such as uniform")
    if kind not in _KEYS:
        hint = nearest(str(kind), _KEYS)
        raise UserError(f"{where}: no distribution {kind!r}; there are {', '.join(_KEYS)}{hint}")
    return str(kind)


def _categorical(path: str, values: Any, where: str) -> Parameter:
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: values must be a list with at least one entry")
    repeated = [value for index, value in enumerate(values) if any(_same(value, other) for other in values[:index])]
    if repeated:
        raise UserError(f"{where}: values holds {repeated[0]!r} twice")
    # The study stores plain values only: anything else by its JSON text.
    plain = [value if isinstance(value, str | int | float | None) else json.dumps(value) for value in values]
    return Parameter(path, CategoricalDistribution(plain), choices=tuple(values))


def _numbers(kind: str, body: Mapping[str, Any], whole: bool, where: str) -> tuple[float, float, float | None]:
    """Lowest and highest value, and the quantum, in the setting's own scale."""
    read: dict[str, Any] = {}
    for key in (*_RANGE, "q"):
        if key not in body:
            continue
        value = read[key] = body[key]
        if isinstance(value, str) and _is_float(value):
            raise UserError(f"{where}: {key} {value!r} is text in YAML: write it with a point, like {float(value)!r}")
        if not _number(value) or not math.isfinite(value):
            raise UserError(f"{where}: {key} {value!r} is not a number")
        if kind == "int_uniform" and not isinstance(value, int):
            raise UserError(f"{where}: {key} {value!r} is not a whole number, as int_uniform needs")
    low, high = read["min"], read["max"]
    if low > high:
        raise UserError(f"{where}: the range is inverted: min {low} is above max {high}")
    if "log" in kind:
        if kind.endswith("_values"):
            if low <= 0:
                raise UserError(f"{where}: min {low} must be above 0 on a log scale")
        else:
            try:
                exponents = (-high, -low) if kind.startswith("inv_") else (low, high)
                low, high = math.exp(exponents[0]), math.exp(exponents[1])
            except OverflowError:
                raise UserError(
                    f"{where}: {kind} takes exponents, and e^{max(high, -low)} is too large: "
                    f"use {kind}_values for bounds in the setting's own scale"
                ) from None
    quantum = read.get("q", 1) if kind.startswith("q_") else None
    if quantum is not None and quantum <= 0:
        raise UserError(f"{where}: q {quantum} must be above 0")
    if quantum is not None and whole and quantum != int(quantum):
        raise UserError(f"{where}: q {quantum} must be a whole number: the setting takes whole numbers only")
    if whole and quantum is None and kind != "int_uniform":
        quantised = f"q_{kind.removeprefix('inv_')}"
        raise UserError(f"{where}: takes whole numbers only: use int_uniform, or {quantised} with q: 1")
    return low, high, quantum


def _numeric(
    path: str, kind: str, low: float, high: float, quantum: float | None, whole: bool, where: str
) -> Parameter:
    log = "log" in kind
    if kind == "int_uniform":
        return Parameter(path, IntDistribution(int(low), int(high)))
    if quantum is None:
        return Parameter(path, FloatDistribution(float(low), float(high), log=log))
    first, last = _multiple(low, quantum, math.ceil), _multiple(high, quantum, math.floor)
    if first > last or (log and last <= 0):
        raise UserError(f"{where}: no multiple of q {quantum:g} lies between min {low:g} and max {high:g}")
    if log and first <= 0:
        first = quantum
    if whole:
        integers = int(first), int(last)
        if log:
            return Parameter(path, IntDistribution(*integers, log=True), quantum=None if quantum == 1 else int(quantum))
        return Parameter(path, IntDistribution(*integers, step=int(quantum)))
    if log:
        return Parameter(path, FloatDistribution(float(first), float(last), log=True), quantum=quantum)
    return Parameter(path, FloatDistribution(float(first), float(last), step=float(quantum)))


def _multiple(value: float, quantum: float, rounding: Callable[[float], int]) -> float:
    """The multiple of `quantum` nearest to `value` in the sense of `rounding`, free of binary noise."""
    count = value / quantum
    if abs(count - round(count)) < 1e-9 * max(1.0, abs(count)):
        count = round(count)
    multiple = rounding(count) * quantum
    return multiple if isinstance(multiple, int) else float(f"{multiple:.12g}")


def _same(one: Any, other: Any) -> bool:
    """Equality in which True is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
