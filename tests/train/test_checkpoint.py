from pathlib import Path
from typing import Any

import pytest
import torch

from u2pl_ray.config.errors import UserError
from u2pl_ray.train import checkpoint
from u2pl_ray.train.errors import CorruptCheckpoint

STATE: dict[str, Any] = {"weights": torch.arange(1000.0), "epochs_done": 3, "history": [{"val/miou": 0.5}]}


def test_round_trip(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, STATE)
    state = checkpoint.load(tmp_path)
    assert torch.equal(state["weights"], STATE["weights"])
    assert state["history"] == STATE["history"]
    assert checkpoint.load(tmp_path / checkpoint.FILE)["epochs_done"] == 3


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, zero, flip, Path.unlink])
def test_damage_is_found_and_named(tmp_path: Path, damage: object) -> None:
    checkpoint.save(tmp_path, STATE)
    damage(tmp_path / checkpoint.FILE)  # type: ignore[operator]
    with pytest.raises(CorruptCheckpoint, match=str(tmp_path)):
        checkpoint.load(tmp_path)


def test_without_a_checksum_a_torn_file_is_still_found(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, STATE)
    (tmp_path / checkpoint.CHECKSUM).unlink()
    truncate(tmp_path / checkpoint.FILE)
    with pytest.raises(CorruptCheckpoint):
        checkpoint.load(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "path": Path("x")}, tmp_path / checkpoint.FILE)
    with pytest.raises(CorruptCheckpoint, match="not a readable checkpoint"):
        checkpoint.load(tmp_path)


def test_what_a_user_types_is_answered_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.load_for_user(str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"holds no checkpoint\.pt"):
        checkpoint.load_for_user(str(tmp_path))
    (tmp_path / checkpoint.FILE).write_text("not a checkpoint")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoint.load_for_user(str(tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_too_little_memory_is_no_corrupt_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A corrupt one is given up, and an older one taken."""
    checkpoint.save(tmp_path, STATE)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)) as caught:
        checkpoint.load(tmp_path)
    assert caught.value is error
