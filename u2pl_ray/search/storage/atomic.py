"""Small files that are replaced whole: a kill leaves the old one or the new one."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` durably to `path`, whose folder is made if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
