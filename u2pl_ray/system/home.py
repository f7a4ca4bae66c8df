"""Paths without the name of the account that they belong to."""

from pathlib import Path


def under_home(path: str) -> str:
    """Write a path below the home folder with `~`, so that the file it is written to names no account."""
    home = str(Path.home())
    return "~" + path[len(home) :] if path == home or path.startswith(f"{home}/") else path
