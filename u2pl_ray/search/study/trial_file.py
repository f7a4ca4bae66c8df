"""Settings and state of a trial in its own folder, used when the study is lost."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from u2pl_ray.search.storage import layout
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.system.atomic import write_whole


@dataclass(frozen=True)
class TrialFile:
    """`trial.json`: a trial's settings, where it stands, and where it comes from; see `TrialRecord`."""

    params: dict[str, Any]
    state: State
    reason: str = ""
    detail: str = ""
    note: str = ""
    fork: list[int] | None = None
    retries: int | None = None
    companion: dict[str, Any] | None = None
    inherited: int = 0

    @classmethod
    def of(cls, record: TrialRecord) -> "TrialFile":
        """Build the file's content from a trial of the study."""
        fork = None if record.fork is None else list(record.fork)
        companion = None if record.companion is None else record.companion.as_data()
        return cls(
            record.params,
            record.state,
            record.reason,
            record.detail,
            record.note,
            fork,
            record.retries,
            companion,
            record.inherited,
        )

    def write(self, folder: Path) -> None:
        """Write trial.json into the trial's folder."""
        tree = asdict(self)
        if self.companion is None:
            del tree["companion"]
        if not self.inherited:
            del tree["inherited"]
        write_whole(folder / layout.TRIAL, json.dumps(tree))

    @classmethod
    def read(cls, folder: Path) -> "TrialFile | None":
        """Read trial.json in the trial's folder; None if it is missing or damaged."""
        try:
            tree = json.loads((folder / layout.TRIAL).read_text("utf-8"))
            return cls(**{**tree, "state": State(tree["state"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
