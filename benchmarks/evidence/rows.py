"""What a comparison trains: named rows of settings over a common base, each with every seed.

A row is a list of settings, or {reference: published | corrected, settings: [...]} for what `published` trains, or
{informed: right | corrected, classes: [...], settings: [...]} for what `informed` trains.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

KINDS = {"reference": ("published", "corrected"), "informed": ("right", "corrected")}
"""Of rows with more than settings, see `published` and `informed`."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        row: name of the setting.
        base: preset or configuration file.
        settings: `a.b=c` on top of it, the seed not among them.
        seed: of the training.
        reference: a kind of `published`, trained with the published code's losses; empty: ours.
        informed: a kind of `informed`, trained with a look at the true labels; empty: without.
        classes: that `informed` is restricted to; empty: all.
    """

    row: str
    base: str
    settings: tuple[str, ...]
    seed: int
    reference: str = ""
    informed: str = ""
    classes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What a result is found by again: all that it depends on but the data's place."""
        settings = [text for text in self.settings if not text.startswith("data.root=")]
        kinds = [
            kind for kind in (self.reference, self.informed and f"informed: {self.informed}", *self.classes) if kind
        ]
        return json.dumps([self.row, self.base, settings, self.seed, *kinds])


def read_rows(file: Path, more: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Run]:
    """Read a comparison, seed by seed, so that an interrupted one has whole seeds.

    Args:
        file: YAML with `base` (a preset), `settings` (of all rows), `seeds`, and `rows` (by name).
        more: further settings of all rows.
        seeds: instead of the file's.
    """
    tree: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    unknown = tree.keys() - {"base", "settings", "seeds", "rows"}
    if unknown:
        raise SystemExit(f"{file}: unknown key {', '.join(sorted(unknown))}")
    common = [*tree.get("settings", []), *more]
    rows = {row: given if isinstance(given, dict) else {"settings": given} for row, given in tree["rows"].items()}
    for row, given in rows.items():
        for key, value in given.items():
            if key not in ("settings", "classes", *KINDS):
                raise SystemExit(f"{file}: row {row}: unknown key {key}")
            if key in KINDS and value not in KINDS[key]:
                raise SystemExit(f"{file}: row {row}: {key} {value!r} is not in {KINDS[key]}")
        if "classes" in given and "informed" not in given:
            raise SystemExit(f"{file}: row {row}: classes are those of informed")
        if KINDS.keys() <= given.keys():
            raise SystemExit(f"{file}: row {row} is either {' or '.join(KINDS)}")
    return [
        Run(
            row,
            tree["base"],
            (*common, *(given.get("settings") or [])),
            seed,
            given.get("reference", ""),
            given.get("informed", ""),
            tuple(given.get("classes", ())),
        )
        for seed in (seeds or tree["seeds"])
        for row, given in rows.items()
    ]


def read_results(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the results kept so far; a last line that was cut short is passed over."""
    if file.exists():
        for line in file.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)
