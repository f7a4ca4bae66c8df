"""Optuna's journal file, proof against entries that were written only in part (a kill, a full disk)."""

import json
import logging
import os
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file

logger = logging.getLogger(__name__)


class Journal(JournalFileBackend):
    """A journal whose last line is either whole or cut off before the next is appended.

    Optuna appends to whatever the file ends with, and then neither entry can be read again. Locks are files created
    with O_EXCL, which works on NFS (v3 and later), where POSIX locks may not.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries durably, all or none of them."""
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
        """Cut an unfinished last line; the file's end, where `file` then stands."""
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
