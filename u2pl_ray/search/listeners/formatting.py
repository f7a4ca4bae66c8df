"""Format settings and numbers for display."""

from collections.abc import Collection, Mapping
from typing import Any


def settings(params: Mapping[str, Any]) -> str:
    """Format settings as `temperature=0.31 capacity=2048`."""
    names = short_names(params)
    return " ".join(f"{names[path]}={number(value)}" for path, value in params.items())


def short_names(paths: Collection[str]) -> dict[str, str]:
    """Map each dotted path to its shortest ending that no other of the paths has."""
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
    """Format fractions with four significant digits, whole numbers with all digits, None as `-`."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
