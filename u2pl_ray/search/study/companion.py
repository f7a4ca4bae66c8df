"""Trials that are no proposals: what the searched settings are compared with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

COMPANION = "companion"
"""User attribute of a companion in the study: a `Companion`, as a dictionary."""


class Kind(str, Enum):
    """What a companion is for."""

    BASELINE = "baseline"
    """The search's configuration with another method, such as supervised training without the unlabeled images."""
    REPLICATE = "replicate"
    """A setting of the search once more, on another seed."""


@dataclass(frozen=True)
class Companion:
    """What a trial trains beside the search's proposals.

    No sampler sees it, no scheduler stops it or compares others with it, and it is never the best trial.

    Attributes:
        kind: see `Kind`.
        changes: settings by dotted path, over the search's configuration and the trial's own settings.
        of: number of the trial that a replicate repeats.
    """

    kind: Kind
    changes: Mapping[str, Any] = field(default_factory=dict)
    of: int | None = None

    def as_data(self) -> dict[str, Any]:
        """Return plain data, for the study and trial.json."""
        return {**asdict(self), "kind": self.kind.value}

    @classmethod
    def read(cls, data: Mapping[str, Any] | None) -> "Companion | None":
        """Build it from plain data; None from None."""
        return None if data is None else cls(Kind(data["kind"]), dict(data["changes"]), data["of"])
