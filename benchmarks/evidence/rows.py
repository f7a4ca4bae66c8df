"""What a comparison trains: named rows of settings over a common base, each with every seed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        row: name of the setting.
        base: preset or configuration file.
        settings: `a.b=c` on top of it, the seed not among them.
        seed: of the training.
    """

    row: str
    base: str
    settings: tuple[str, ...]
    seed: int

    @property
    def key(self) -> str:
        """What a result is found by again: all that it depends on but the data's place."""
        settings = [text for text in self.settings if not text.startswith("data.root=")]
        return json.dumps([self.row, self.base, settings, self.seed])


def read_rows(file: Path, more: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Run]:
    """Read a comparison, seed by seed, so that an interrupted one has whole seeds.

    Args:
        file: YAML with `base` (a preset), `settings` (of all rows), `seeds`, and `rows` (name to its settings).
        more: further settings of all rows.
        seeds: instead of the file's.
    """
    tree: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    unknown = tree.keys() - {"base", "settings", "seeds", "rows"}
    if unknown:
        raise SystemExit(f"{file}: unknown key {', '.join(sorted(unknown))}")
    common = [*tree.get("settings", []), *more]
    return [
        Run(row, tree["base"], (*common, *(settings or [])), seed)
        for seed in (seeds or tree["seeds"])
        for row, settings in tree["rows"].items()
    ]


def read_results(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the results kept so far; a last line that was cut short is passed over."""
    if file.exists():
        for line in file.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)
