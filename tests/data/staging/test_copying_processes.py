"""Several processes that copy one data set: killed in the middle, waited for, hanging."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from slow_source import Slow
from staged_set import FILES, arrived, content, silent
from voc_folder import Folder, refused

from u2pl_ray.config.data import DataConfig
from u2pl_ray.data.staging import copies, locks
from u2pl_ray.data.staging.copies import lock_of, node_copy
from u2pl_ray.data.staging.sources import FolderSource


def start(data: DataConfig, staged: Path, seconds: float, some: int) -> subprocess.Popen[str]:
    """Let another process copy, until it has copied `some` files."""
    setting = staged.with_name("data.json")
    setting.write_text(data.model_dump_json())
    program = [sys.executable, str(Path(__file__).with_name("slow_source.py")), str(setting), str(staged), str(seconds)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    while len(arrived(staged)) < some:
        assert process.poll() is None
        time.sleep(0.02)
    return process


def test_killed_in_the_middle_and_gone_on_with(origin: Folder, stored: DataConfig, staged: Path) -> None:
    process = start(stored, staged, 0.1, some=5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = {file: file.stat().st_mtime_ns for file in arrived(staged)}
    assert 5 <= len(there) < FILES
    (copy,) = staged.glob("*/")
    (copy / f".left.png{copies.PARTIAL}").touch()
    source = Slow(stored)
    assert node_copy(source, staged, silent)[0] == copy
    assert source.opened == FILES - len(there)
    assert {file: file.stat().st_mtime_ns for file in there} == there
    assert list(staged.rglob(f"*{copies.PARTIAL}")) == []
    assert content(copy / source.root) == content(origin.root)


def test_two_processes_copy_once(stored: DataConfig, staged: Path) -> None:
    process = start(stored, staged, 0.05, some=3)
    source, said = Slow(stored), list[str]()
    node_copy(source, staged, said.append)
    assert process.wait(30) == 0
    assert source.opened == 0
    assert said
    assert all(f"waiting for another copy of the same data (process {process.pid}: " in line for line in said)


def test_a_process_that_is_stuck_is_not_waited_for_for_ever(
    folder: Folder, staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FolderSource(folder.config().data)
    copy, _ = node_copy(source, staged, silent)
    next(copy.rglob("*.png")).unlink()
    with locks.Turn(lock_of(copy), silent):
        monkeypatch.setattr(locks.Turn.__init__, "__defaults__", (0.5,))
        with refused("waited", f"process {os.getpid()}: begins", "data.stage=never"):
            node_copy(source, staged, silent)


HANGS = """
import sys
from pathlib import Path
from u2pl_ray.config.data import DataConfig
from u2pl_ray.config.errors import LostError
from u2pl_ray.data.staging import copies, sources, transfer
transfer.PATIENCE, transfer.WORDS, transfer._GRACE = float(sys.argv[3]), 0.1, 0.2
source = sources.FolderSource(DataConfig.model_validate_json(sys.argv[1]))
try:
    copies.node_copy(source, Path(sys.argv[2]), print)
except LostError as error:
    sys.exit(str(error))
"""


def start_hanging(folder: Folder, staged: Path, patience: float) -> "subprocess.Popen[str]":
    """Let another process copy a folder, one file of which nobody ever writes."""
    folder.image("u1").unlink()
    os.mkfifo(folder.image("u1"))
    data = folder.config().data.model_dump_json()
    program = [sys.executable, "-c", HANGS, data, str(staged), str(patience)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_file_server_that_falls_silent_is_given_up(folder: Folder, staged: Path) -> None:
    """The process ends, though its thread still waits for the file; what came before is kept."""
    with start_hanging(folder, staged, 2.0) as process:
        heard, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == (
        f"data.root={folder.root}: nothing has come from there for 2 s, with {FILES - 1} of {FILES} files copied, and "
        f"not {folder.image('u1')}: does the store or file server answer?\n"
    )
    assert f"{FILES - 1} of {FILES} files" in heard
    assert len(arrived(staged)) == FILES - 1
    assert list(staged.rglob(f"*{copies.PARTIAL}")) == []


@pytest.mark.slow
def test_a_copy_that_hangs_can_be_interrupted(folder: Folder, staged: Path) -> None:
    with start_hanging(folder, staged, 600.0) as process:
        while len(arrived(staged)) < FILES - 1:
            assert process.poll() is None
            time.sleep(0.02)
        for _ in range(10):  # Python loses one that arrives while it cleans something up
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break
        assert process.poll() is not None
        _, said = process.communicate(timeout=5)
    assert "KeyboardInterrupt" in said
