"""Settings and numbers as people read them."""

from collections.abc import Collection, Mapping
from typing import Any


def settings(params: Mapping[str, Any]) -> str:
    """`temperature=0.31 capacity=2048`."""
    names = short_names(params)
    return " ".join(f"{names[path]}={number(value)}" for path, value in params.items())


def short_names(paths: Collection[str]) -> dict[str, str]:
    """Each dotted path's shortest ending that is unique among them."""
    result = {}
    for path in paths:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            ending = ".".join(parts[-length:])
            if sum(other == ending or other.endswith(f".{ending}") for other in paths) == 1:
                break
        result[path] = ending
    return result


def number(value: Any) -> str:
    """Four significant digits for fractions, all digits for whole numbers; `-` for none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
