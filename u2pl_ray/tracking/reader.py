"""Read the W&B client's local files of a run that is finished, still running, or was cut off by a crash."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from u2pl_ray.tracking.records import RecordReader


@dataclass
class RunFile:
    """Content of one run file. A run that was continued has several files; the newest has all its rows."""

    path: Path
    run_id: str = ""
    name: str = ""
    project: str = ""
    entity: str = ""
    group: str = ""
    sweep_id: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """History in the order it was logged; `_step` is the step of the row."""
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    """None: the run was not finished in this file (running, or killed)."""

    @property
    def last_step(self) -> int:
        """Return the step of the last row; 0 if there is none."""
        return int(self.rows[-1]["_step"]) if self.rows else 0


def parse(message: bytes) -> Any:
    """Parse the serialized form of a `wandb.proto` Record."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    return messages.Record.FromString(message)


def read_run(path: Path) -> RunFile:
    """Read a run file; of a file that was cut off, the part before the damage."""
    run = RunFile(path)
    for message in RecordReader(path).new():
        record = parse(message)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            head = record.run
            run.run_id, run.name, run.group = head.run_id, head.display_name, head.run_group
            run.project, run.entity, run.sweep_id = head.project, head.entity, head.sweep_id
            run.tags = tuple(head.tags)
            _update(run.config, head.config.update)
        elif kind == "config":
            _update(run.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            row.setdefault("_step", record.history.step.num)
            run.rows.append(row)
        elif kind == "summary":
            _update(run.summary, record.summary.update)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def run_files(directory: Path, run_id: str) -> list[Path]:
    """List all files of a run, oldest session first.

    Args:
        directory: The experiment's directory.
        run_id: The run's id on the server.
    """
    found = directory.glob(f"wandb/offline-run-*-{run_id}*/run-{run_id}.wandb")
    return sorted(found, key=lambda path: (path.parent.name.split("-")[2], len(path.parent.name), path.parent.name))


def _update(target: dict[str, Any], items: Any) -> None:
    """Set each item of a proto list of (key or nested_key, value) in a nested dict."""
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        place = target
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _value(item)


def _value(item: Any) -> Any:
    """Decode the value of a history, config or summary item from any of the client's encodings."""
    if item.value_json:
        return json.loads(item.value_json)
    kind = item.WhichOneof("value") if item.DESCRIPTOR.oneofs else None
    if kind is None or kind == "none":
        return None
    return json.loads(item.json) if kind == "json" else getattr(item, kind)
