"""Temporary folders: of living processes they stay, of dead ones they go."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from u2pl_ray.system import scratch as module
from u2pl_ray.system.scratch import scratch

HOLD = """
import time
from u2pl_ray.system.scratch import scratch
with scratch() as folder:
    (folder / "checkpoint.pt").write_bytes(b"large")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_YOUNG", 0.0)
    return tmp_path


def another(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_gone_afterwards(temporary: Path) -> None:
    with scratch() as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("")
        assert folder.parent == temporary
    with pytest.raises(KeyError), scratch() as folder:
        raise KeyError
    with scratch() as folder:
        folder.rename(temporary / "kept")
    assert list(temporary.iterdir()) == [temporary / "kept"]


def test_a_killed_owners_folder_is_cleared_up_by_the_next(temporary: Path) -> None:
    foreign = temporary / "u2pl_ray_00000000_abcdefgh"  # of another machine that shares the folder
    foreign.mkdir()
    (alive, kept), (dead, left) = another(temporary), another(temporary)
    dead.kill()
    dead.wait()
    assert (left / "checkpoint.pt").exists()
    time.sleep(0.05)
    module._clear_up.cache_clear()
    with scratch() as folder:
        assert set(temporary.iterdir()) == {folder, kept, foreign}
        assert (kept / "checkpoint.pt").read_bytes() == b"large"
    alive.kill()
    alive.wait()


def test_a_folder_that_may_not_be_locked_yet_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_YOUNG", 60.0)
    young = Path(tempfile.mkdtemp(prefix=module._prefix()))
    module._clear_up.cache_clear()
    with scratch():
        assert young.exists()
    os.utime(young, (time.time() - 90, time.time() - 90))
    module._clear_up.cache_clear()
    with scratch():
        assert not young.exists()
