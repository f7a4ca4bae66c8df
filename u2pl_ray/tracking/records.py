"""The framing of the W&B client's run files (`run-<id>.wandb`): LevelDB's log format around serialized messages.

A file header of 7 bytes, then blocks of 32 KiB with records of a 7-byte header (CRC-32, length, kind); a message that
does not fit into a block is split into a first, middle and last record.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

FILE_HEADER = struct.Struct("<4sHB")
MAGIC = (b":W&B", 0xBEE1, 0)
RECORD_HEADER = struct.Struct("<IHB")
BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class RecordReader:
    """Reader of a file's messages in order; the file may still grow, or end in a message cut off by a crash.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = FILE_HEADER.size

    def new(self) -> Iterator[bytes]:
        """Yield the complete messages written since the last call; stop before an incomplete one."""
        try:
            with self.path.open("rb") as file:
                if FILE_HEADER.unpack(file.read(FILE_HEADER.size))[0] != MAGIC[0]:
                    return
                file.seek(self._position)
                data = file.read()
        except (OSError, struct.error):
            return
        base, position, parts = self._position, 0, b""
        while position + RECORD_HEADER.size <= len(data):
            left = BLOCK - (base + position) % BLOCK
            if left < RECORD_HEADER.size:  # too small for a header: padding
                position += left
                continue
            checksum, length, kind = RECORD_HEADER.unpack_from(data, position)
            start = position + RECORD_HEADER.size
            part = data[start : start + length]
            if len(part) < length or not FULL <= kind <= LAST or _crc(kind, part) != checksum:
                return
            position = start + length
            parts = part if kind in (FULL, FIRST) else parts + part
            if kind in (FULL, LAST):
                self._position = base + position
                yield parts


class RecordWriter:
    """Writer of a new file that flushes each message.

    Args:
        path: The file to create.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._file.write(FILE_HEADER.pack(*MAGIC))
        self._file.flush()

    def add(self, message: bytes) -> None:
        """Append a message."""
        rest, first = message, True
        while first or rest:
            left = BLOCK - self._file.tell() % BLOCK
            if left < RECORD_HEADER.size:
                self._file.write(bytes(left))
                left = BLOCK
            part, rest = rest[: left - RECORD_HEADER.size], rest[left - RECORD_HEADER.size :]
            kind = (FULL if first else LAST) if not rest else (FIRST if first else MIDDLE)
            self._file.write(RECORD_HEADER.pack(_crc(kind, part), len(part), kind) + part)
            first = False
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _crc(kind: int, part: bytes) -> int:
    return zlib.crc32(part, zlib.crc32(bytes([kind])))
