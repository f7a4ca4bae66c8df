"""Files and folders that appear whole."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from u2pl_ray.system.atomic import whole_folder, write_whole


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    write_whole(target, "one")
    write_whole(target, "zwei: ä".encode())
    assert target.read_text("utf-8") == "zwei: ä"
    assert [path.name for path in target.parent.iterdir()] == ["b.txt"]


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b.txt"
    write_whole(target, "one")

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(target, "two")
    assert target.read_text() == "one"


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for content in ("one", "two"):
        with whole_folder(target) as partial:
            assert not list(partial.iterdir())
            (partial / content).touch()
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_error_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with whole_folder(target) as partial:
        (partial / "one").touch()

    def break_off() -> None:
        with whole_folder(target) as partial:
            (partial / "two").touch()
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        break_off()
    assert [path.name for path in target.iterdir()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_killed_writer_leaves_what_the_next_one_replaces(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    program = (
        "import os, sys, pathlib; from u2pl_ray.system.atomic import whole_folder\n"
        "with whole_folder(pathlib.Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half').touch(); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not target.exists()
    with whole_folder(target) as partial:
        (partial / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"]
