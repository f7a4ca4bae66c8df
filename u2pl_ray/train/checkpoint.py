"""A checkpoint: everything a training continues from, in one file with a checksum.

It holds student, teacher, optimizer, learning-rate schedule, AMP scaler, memory bank, the number of epochs done, the
metrics of each, the best of them, and the resolved configuration. Every random draw and the sampler's position are
functions of seed, epoch, step and rank, so no generator has a state to save. Loaded with `weights_only`.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from u2pl_ray.config.errors import UserError, short_of_memory
from u2pl_ray.train.errors import CorruptCheckpoint

if TYPE_CHECKING:
    import torch

FILE = "checkpoint.pt"
CHECKSUM = "checkpoint.sha256"
FORMAT = 1


def directory_name(epochs_done: int) -> str:
    """Folder name of the checkpoint written after `epochs_done` epochs; sorts by age."""
    return f"epoch_{epochs_done:05d}"


def is_directory_name(name: str) -> bool:
    """Return whether a folder is named by `directory_name`; `epoch_00010_best` is a copy that a user keeps beside."""
    return re.fullmatch(r"epoch_\d{5,}", name) is not None


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) into `folder`, atomically, with its checksum."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{FILE}.partial"
    with partial.open("wb") as file:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:  # torch's words for what the file system said, such as that it is full
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        file.flush()
        os.fsync(file.fileno())
    (folder / CHECKSUM).write_text(digest(partial))
    partial.rename(folder / FILE)


def load(path: Path, device: "torch.device | str" = "cpu") -> dict[str, Any]:
    """What `save` wrote; `path` is the folder, or the file in it.

    Raises:
        CorruptCheckpoint: missing, torn, or changed since it was written.
    """
    import torch

    file = path / FILE if path.is_dir() else path
    expected = file.with_name(CHECKSUM)
    try:
        if expected.exists() and expected.read_text().strip() != digest(file):
            raise CorruptCheckpoint(f"{file}: its content does not match {CHECKSUM}")
        state = torch.load(file, map_location=device, weights_only=True)
    except OSError as error:
        raise CorruptCheckpoint(f"{file}: {error.strerror or error}") from error
    except CorruptCheckpoint:
        raise
    except Exception as error:
        if short_of_memory(error):
            raise
        raise CorruptCheckpoint(f"{file}: not a readable checkpoint ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CorruptCheckpoint(f"{file}: not a checkpoint of this program (format {FORMAT})")
    return state


def load_for_user(path: str, device: "torch.device | str" = "cpu") -> dict[str, Any]:
    """`load` for a path someone typed.

    Raises:
        UserError: what is wrong with the path, in one line.
    """
    target = Path(path).expanduser()
    if not target.exists():
        raise UserError(f"{path}: no such checkpoint; `u2pl-ray best NAME` prints the path of a search's best one")
    if target.is_dir() and not (target / FILE).exists():
        raise UserError(f"{path}: holds no {FILE}; give the folder of one checkpoint, such as .../epoch_00010")
    try:
        return load(target, device)
    except CorruptCheckpoint as error:
        raise UserError(f"{error}; use another checkpoint of the same training") from None


def digest(file: Path) -> str:
    """Compute a file's SHA-256, in hexadecimal."""
    with file.open("rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest_310(stream)
        )


def _digest_310(stream: Any) -> str:
    found = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    while block := stream.read(1 << 20):
        found.update(block)
    return found.hexdigest()
