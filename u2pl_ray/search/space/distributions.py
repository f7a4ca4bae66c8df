"""Convert one parameter of a W&B sweep to an Optuna distribution.

W&B's meaning is kept (https://docs.wandb.ai/models/sweeps/sweep-config-keys): a `log_uniform` bound is an exponent of
e, a `log_uniform_values` bound is a value, a quantised value is a multiple of `q` (ours stays between the bounds).
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.search.space.parameter import Parameter, is_number, multiple, number_of, same
from u2pl_ray.search.space.prior import with_prior

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


def parse_parameter(path: str, body: Mapping[str, Any], whole: bool, where: str) -> Parameter | tuple[Any]:
    """Parse a parameter of a sweep; a constant is returned as a tuple of its value.

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
        if key == "prior" and kind == "constant":
            raise UserError(f"{where}: a constant has no prior: leave it out")
        if key not in (*allowed, "distribution", "prior"):
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
        parameter = _categorical(path, body["values"], where)
    else:
        low, high, quantum = _numbers(kind, body, whole, where)
        parameter = _numeric(path, kind, low, high, quantum, whole, where)
    return with_prior(parameter, body["prior"], where) if "prior" in body else parameter


def _kind(body: Mapping[str, Any], where: str) -> str:
    """Return the distribution's name: given, or implied by the other keys as in W&B."""
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
    repeated = [value for index, value in enumerate(values) if any(same(value, other) for other in values[:index])]
    if repeated:
        raise UserError(f"{where}: values holds {repeated[0]!r} twice")
    # The study stores plain values only: any other value is stored as its JSON text.
    plain = [value if isinstance(value, str | int | float | None) else json.dumps(value) for value in values]
    return Parameter(path, CategoricalDistribution(plain), choices=tuple(values))


def _numbers(kind: str, body: Mapping[str, Any], whole: bool, where: str) -> tuple[float, float, float | None]:
    """Return lowest value, highest value and quantum (None: no quantum), in the setting's own scale."""
    read: dict[str, Any] = {}
    for key in (*_RANGE, "q"):
        if key not in body:
            continue
        value = read[key] = number_of(body[key])
        if kind == "int_uniform" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = read[key] = int(value)  # 1e3
        if not is_number(value) or not math.isfinite(value):
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
    first, last = multiple(low, quantum, math.ceil), multiple(high, quantum, math.floor)
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
