"""Reads the files the W&B client writes for a run (`run-<id>.wandb`), finished, running or torn off by a crash.

A file is LevelDB log framing (32 KiB blocks of records with a 7-byte header) around `wandb.proto` Records, behind
a 7-byte file header. Reading stops at the first record that is torn or damaged: what lies before it is whole.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE_HEADER = struct.Struct("<4sHB")
RECORD_HEADER = struct.Struct("<IHB")
BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class RunFile:
    """What one file says about its run. A resumed run has several files, each with the rows of its own session."""

    path: Path
    run_id: str = ""
    name: str = ""
    project: str = ""
    group: str = ""
    sweep_id: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """History in the order it was logged; `_step` is the step of the row."""
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    """None: the run was not finished in this file (running, or killed)."""


def payloads(path: Path) -> Iterator[bytes]:
    """The serialized records of a file, up to a torn tail. A file that is no run file yields nothing."""
    data = path.read_bytes()
    if len(data) < FILE_HEADER.size or FILE_HEADER.unpack_from(data)[0] != b":W&B":
        return
    position, parts = FILE_HEADER.size, b""
    while position + RECORD_HEADER.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER.size:  # too small for a header: padding
            position += left
            continue
        checksum, length, kind = RECORD_HEADER.unpack_from(data, position)
        start = position + RECORD_HEADER.size
        part = data[start : start + length]
        if (
            len(part) < length
            or not FULL <= kind <= LAST
            or zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum
        ):
            return
        position = start + length
        parts = part if kind in (FULL, FIRST) else parts + part
        if kind in (FULL, LAST):
            yield parts


def read_run(path: Path) -> RunFile:
    """Everything a file holds about its run. Never raises for a torn file; the rows are those that survived."""
    from wandb.proto import wandb_internal_pb2

    run = RunFile(path)
    for payload in payloads(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            head = record.run
            run.run_id, run.name, run.project = head.run_id, head.display_name, head.project
            run.group, run.sweep_id, run.tags = head.run_group, head.sweep_id, tuple(head.tags)
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
    """All files of a run under an experiment's directory, oldest session first."""
    return sorted(
        directory.glob(f"wandb/*run-*-{run_id}*/run-{run_id}.wandb"),
        key=lambda p: p.parent.name.split("run-")[-1],
    )


def _update(target: dict[str, Any], items: Any) -> None:
    """Set each item of a proto list of (key or nested_key, JSON) in a nested dict."""
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        place = target
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _value(item)


def _value(item: Any) -> Any:
    if item.value_json:
        return json.loads(item.value_json)
    kind = item.WhichOneof("value") if item.DESCRIPTOR.oneofs else None
    value = getattr(item, kind) if kind else None
    return json.loads(value) if kind == "json" else None if kind == "none" else value
