"""Optuna's journal file, made safe against entries that were written only in part (a kill, a full disk)."""

import json
import logging
import os
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file

from u2pl_ray.config.errors import UserError
from u2pl_ray.system.atomic import write_whole

logger = logging.getLogger(__name__)


class Journal(JournalFileBackend):
    """A journal backend that removes an incomplete last line before it appends the next entries.

    Optuna's backend appends to the incomplete line, and then neither entry can be read. Locks are files created
    with O_EXCL, which works on NFS (v3 and later), where POSIX locks may not.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, all or none, and flush them to disk."""
        lines = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in logs)
        with get_lock_file(self._lock), open(self._file_path, "rb+") as file:
            end = self._mend(file)
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def _mend(self, file: BinaryIO) -> int:
        """Cut an incomplete last line; return the file's new length in bytes, at which `file` is then positioned."""
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return 0
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return file.seek(end)
        file.seek(0)
        end = file.read().rfind(b"\n") + 1
        logger.warning("%s: dropped a last entry that was written only in part", self._file_path)
        file.truncate(end)
        return file.seek(end)


def open_journal(path: Path, resume: str) -> JournalStorage:
    """Open the journal file of an existing study.

    Args:
        path: the file.
        resume: the command that restores it, for messages.

    Raises:
        UserError: it is gone or damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: the study is gone; {resume} makes it anew from the trials' own files")
    try:
        storage = JournalStorage(Journal(path))
    except (ValueError, KeyError, TypeError, AssertionError):  # Optuna trusts each line to be one of its own
        storage = None
    if storage is None or not storage.get_all_studies():
        raise UserError(f"{path}: damaged; {resume} restores it")
    return storage


def mend_journal(journal: Path) -> str:
    """Cut a journal before its first damaged entry and keep the damaged file beside it.

    An incomplete last line is no damage, see `Journal.append_logs`.

    Returns:
        A sentence for the user; empty if nothing was damaged.
    """
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return f"{journal}: was gone"
    good, entries = 0, 0
    for line in content.split(b"\n")[:-1]:
        if not _is_entry(line, first=not entries):
            break
        good, entries = good + len(line) + 1, entries + 1
    rest = content[good:]
    if entries and (not rest or (b"\n" not in rest and b"\0" not in rest)):
        return ""
    aside = journal.with_suffix(".damaged")
    aside.write_bytes(content)
    if entries:
        write_whole(journal, content[:good])
    else:
        journal.unlink()
    return f"{journal}: damaged after {entries} entries (kept as {aside.name})"


def _is_entry(line: bytes, first: bool) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry and (not first or entry["op_code"] == 0)
