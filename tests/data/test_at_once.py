import os
import subprocess
import sys
from pathlib import Path

import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.at_once import read_all, read_every

HANGS = """
import sys
from pathlib import Path
from u2pl_ray.config.errors import UserError
from u2pl_ray.data import at_once
at_once.PATIENCE = 0.5
try:
    at_once.read_all(Path.read_bytes, [Path(sys.executable), Path(sys.argv[1])])
except UserError as error:
    sys.exit(str(error))
"""


def test_results_are_in_order_and_errors_raised() -> None:
    assert read_all(lambda number: number * number, range(100)) == [number * number for number in range(100)]
    assert read_all(str, []) == []

    def refuse(number: int) -> int:
        if number == 7:
            raise UserError("seven")
        return number

    with pytest.raises(UserError, match="seven"):
        read_all(refuse, range(20))


def test_all_files_that_are_refused_are_named() -> None:
    def refuse(path: Path) -> Path:
        if path.suffix == ".bad":
            raise UserError(f"{path}: no image")
        return path

    paths = [Path(f"{number}.{'bad' if number in (3, 5, 8) else 'png'}") for number in range(10)]
    assert read_every(refuse, paths[:3]) == paths[:3]
    with pytest.raises(UserError, match=r"^3\.bad: no image$"):
        read_every(refuse, paths[:5])
    with pytest.raises(UserError, match=r"^3\.bad: no image \(and 2 more: 5\.bad, 8\.bad\)$"):
        read_every(refuse, paths)


def test_a_file_that_is_never_read_to_its_end_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.png")  # nobody writes to it
    command = [sys.executable, "-c", HANGS, str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "photo.png: reading it has not ended" in done.stderr
