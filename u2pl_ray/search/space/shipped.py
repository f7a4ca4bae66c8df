"""The search spaces that come with the program, by name: one for each question someone would ask."""

from pathlib import Path

import u2pl_ray

_FOLDER = "search_spaces"


def shipped_spaces() -> dict[str, Path]:
    """Return the files of the shipped spaces by name (`paper`, `temperature`, ...), sorted.

    An installed package holds them; in a checkout they lie in search_spaces/ beside the package, where they are edited.
    """
    package = Path(u2pl_ray.__file__).parent
    folder = next((place for place in (package / _FOLDER, package.parent / _FOLDER) if place.is_dir()), package)
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def question(file: Path) -> str:
    """Return the question that a shipped space asks: its first comment line, or its description."""
    for line in file.read_text("utf-8").splitlines():
        if line.startswith(("#", "description:")):
            return line.lstrip("#").removeprefix("description:").strip()
    return ""
