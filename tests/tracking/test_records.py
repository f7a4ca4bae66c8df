from pathlib import Path

import pytest

from u2pl_ray.tracking.records import BLOCK, FILE_HEADER, RECORD_HEADER, RecordReader, RecordWriter

# Around every size at which a message meets the end of a block.
EDGE = BLOCK - FILE_HEADER.size - RECORD_HEADER.size
SIZES = [0, 1, *range(EDGE - 9, EDGE + 3), BLOCK, 2 * BLOCK + 5, 100_000]


def write(path: Path, messages: list[bytes]) -> None:
    writer = RecordWriter(path)
    for message in messages:
        writer.add(message)
    writer.close()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read(tmp_path: Path, size: int) -> None:
    messages = [b"a" * size, b"b" * 3, b"", b"c" * size]
    write(tmp_path / "x.wandb", messages)
    assert list(RecordReader(tmp_path / "x.wandb").new()) == messages


def test_a_torn_file_gives_what_lies_before_the_tear(tmp_path: Path) -> None:
    messages = [bytes([i]) * 1000 for i in range(100)]
    write(tmp_path / "whole", messages)
    data = (tmp_path / "whole").read_bytes()
    for cut in range(0, len(data), 997):
        (tmp_path / "torn").write_bytes(data[:cut])
        got = list(RecordReader(tmp_path / "torn").new())
        assert got == messages[: len(got)]
        assert len(got) >= (cut - 300) // 1008


def test_a_damaged_message_ends_the_reading(tmp_path: Path) -> None:
    write(tmp_path / "x", [b"one", b"two", b"three"])
    data = bytearray((tmp_path / "x").read_bytes())
    data[data.index(b"two")] ^= 1
    (tmp_path / "x").write_bytes(data)
    assert list(RecordReader(tmp_path / "x").new()) == [b"one"]


def test_a_growing_file_is_read_on(tmp_path: Path) -> None:
    reader = RecordReader(tmp_path / "x")
    assert list(reader.new()) == []  # not there yet
    messages = [bytes([i % 251]) * (i * 37) for i in range(200)]
    write(tmp_path / "whole", messages)
    data = (tmp_path / "whole").read_bytes()
    got: list[bytes] = []
    for end in range(0, len(data) + 5000, 5000):
        (tmp_path / "x").write_bytes(data[:end])
        got += reader.new()
    assert got == messages


def test_another_kind_of_file_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no run file at all, but long enough")
    assert list(RecordReader(tmp_path / "x").new()) == []
