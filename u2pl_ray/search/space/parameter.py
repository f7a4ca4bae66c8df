"""A searched setting: its range in the study, and its values in the configuration."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


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
        return min(max(multiple(stored, self.quantum, round), low), high)

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


def multiple(value: float, quantum: float, rounding: Callable[[float], int]) -> float:
    """The multiple of `quantum` nearest to `value` in the sense of `rounding`, free of binary noise."""
    count = value / quantum
    if abs(count - round(count)) < 1e-9 * max(1.0, abs(count)):
        count = round(count)
    multiple = rounding(count) * quantum
    return multiple if isinstance(multiple, int) else float(f"{multiple:.12g}")


def same(one: Any, other: Any) -> bool:
    """Equality in which True is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_number(value: Any) -> bool:
    """Whether a value is a number; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
