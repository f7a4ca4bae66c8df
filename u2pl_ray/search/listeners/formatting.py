"""Format settings, numbers, times and failures for display."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from u2pl_ray.search.study.trial_record import TrialRecord

_SHOWN = 3
"""Failures of different kinds, and trials of one kind, that are named."""


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


def many(count: int, thing: str) -> str:
    """Return `1 epoch` or `3 epochs`."""
    return f"{count} {thing}{'s' * (count != 1)}"


def few(items: Sequence[str], most: int = 4) -> str:
    """Join the first items with commas, and say how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def duration(time: timedelta) -> str:
    """Return `a minute`, `12 min`, `1.6 h` or `3.2 days`."""
    minutes = round(time.total_seconds() / 60)
    if minutes < 1:
        return "a minute"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def why_failed(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the reasons of trials that failed: `0001, 0004 (nan): the training loss is nan`, the commonest first."""
    found: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        if trial.failed:
            found.setdefault((trial.reason, trial.detail), []).append(trial.id)
    kinds = sorted(found.items(), key=lambda kind: -len(kind[1]))
    lines = []
    for (reason, detail), ids in kinds[:_SHOWN]:
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        lines.append(f"{', '.join(ids[:_SHOWN])}{more} ({REASONS.get(reason, reason)}): {detail or 'nothing was said'}")
    if len(kinds) > _SHOWN:
        lines.append(f"and {len(kinds) - _SHOWN} other reasons")
    return lines


REASONS = {
    "invalid": "skipped: invalid setting",
    "refused": "skipped: invalid setting",
    "memory": "out of memory",
    "environment": "data, weights or machine",
    "lost": "lost its process or machine",
}
"""What the study's words for the end of a trial mean."""
