"""A searched setting: its distribution in the study, and its values in the configuration."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


@dataclass(frozen=True)
class Parameter:
    """A searched setting.

    Attributes:
        path: dotted path into the configuration.
        distribution: what the sampler draws from.
        quantum: drawn values are moved to the nearest multiple of it (log scales; a linear scale has it as its step).
        choices: values in the configuration of a categorical setting, in the order of `distribution.choices`.
        prior: lowest and highest value that are believed good, equal for one value or choice; None where nothing is.
    """

    path: str
    distribution: BaseDistribution
    quantum: float | None = None
    choices: tuple[Any, ...] | None = None
    prior: tuple[Any, Any] | None = None

    def decode(self, stored: Any) -> Any:
        """Convert a value in the study to the value in the configuration."""
        if self.choices is None:
            return stored
        assert isinstance(self.distribution, CategoricalDistribution)
        return self.choices[int(self.distribution.to_internal_repr(stored))]

    def encode(self, value: Any) -> Any:
        """Convert a value in the configuration to the value in the study.

        Raises:
            ValueError: the value is not in the range or among the choices.
        """
        if isinstance(value, tuple):
            value = list(value)
        if self.choices is not None:
            matches = [index for index, choice in enumerate(self.choices) if same(choice, value)]
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
        """Tell whether a configuration's value is in the range or among the choices."""
        try:
            self.encode(value)
        except ValueError:
            return False
        return True

    def around(self, value: Any) -> "Parameter":
        """Return the parameter with its range widened so that it holds a value it had before `extend --space`."""
        if self.choices is not None or self.holds(value):
            return self
        low, high = bounds(self.distribution)
        log = self.distribution.log  # type: ignore[attr-defined]
        kind = IntDistribution if isinstance(self.distribution, IntDistribution) else FloatDistribution
        return replace(self, distribution=kind(min(low, value), max(high, value), log=log))

    def snap(self, stored: Any) -> Any:
        """Move a drawn value to the nearest multiple of the quantum."""
        if self.quantum is None:
            return stored
        low, high = bounds(self.distribution)
        return min(max(multiple(stored, self.quantum, round), low), high)

    def clip(self, value: Any) -> Any:
        """Return the allowed value nearest to `value`; of choices that are not numbers, `value` itself if present.

        Raises:
            ValueError: nothing in the range is near (choices that are not numbers).
        """
        try:
            return self.decode(self.encode(value))
        except ValueError:
            pass
        if self.choices is not None:
            numbers = [choice for choice in self.choices if is_number(choice)]
            if not is_number(value) or not numbers:
                raise ValueError(f"{value!r} is not among {list(self.choices)}")
            return min(numbers, key=lambda choice: abs(choice - value))
        if not is_number(value):
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
        """Return the position of a value in its range, 0 to 1 on the scale it is drawn on; None for choices."""
        if self.choices is not None:
            return None
        low, high = bounds(self.distribution)
        if high <= low:
            return None
        if getattr(self.distribution, "log", False):
            low, high, value = math.log(low), math.log(high), math.log(value)
        return float((value - low) / (high - low))

    def believed(self) -> tuple[float, float] | None:
        """Return the prior's ends in the unit cube; those of the i-th of n choices are i / n and (i + 1) / n."""
        if self.prior is None:
            return None
        if self.choices is not None:
            index = next(i for i, choice in enumerate(self.choices) if same(choice, self.prior[0]))
            return index / len(self.choices), (index + 1) / len(self.choices)
        low, high = (self.position(value) for value in self.prior)
        return None if low is None or high is None else (low, high)

    def extent(self) -> str:
        """Format the range for display: `0.1 .. 1 (log)`, `linear | cosine`."""
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
    """Return the lowest and highest value of a numeric distribution."""
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high


def multiple(value: float, quantum: float, rounding: Callable[[float], int]) -> float:
    """Round to a multiple of `quantum`, without binary rounding noise (0.3, not 0.30000000000000004).

    Args:
        value: the number to round.
        quantum: above 0.
        rounding: `round`, `math.floor` or `math.ceil`, applied to value / quantum.
    """
    count = value / quantum
    if abs(count - round(count)) < 1e-9 * max(1.0, abs(count)):
        count = round(count)
    multiple = rounding(count) * quantum
    return multiple if isinstance(multiple, int) else float(f"{multiple:.12g}")


def same(one: Any, other: Any) -> bool:
    """Compare two values of a configuration; unlike `==`, True and 1 differ.

    Args:
        one: a value.
        other: a value.
    """
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_number(value: Any) -> bool:
    """Tell whether a value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_of(value: Any) -> Any:
    """Return the number that a text such as `"1e-3"` is; anything else as it is."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value
