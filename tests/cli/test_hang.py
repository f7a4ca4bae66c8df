"""A read that never returns, as on a file server that hangs: said, ended, tried again, given up with its reason."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.killing import CONFIG, SPACE

pytestmark = [pytest.mark.ray, pytest.mark.slow]

COMMAND = [sys.executable, "-m", "u2pl_ray"]


def test_a_worker_that_hangs_is_named_ended_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_NUM_CPUS", "1")
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("U2PL_RAY_STORAGE", str(tmp_path / "searches"))
    config = yaml.safe_load(CONFIG)
    config["resources"]["wait_minutes"] = 0.3
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "space.yaml").write_text(SPACE)
    search = ["search", "my.yaml", "--space", "space.yaml", "--trials", "1", "--baseline", "none", "--name", "hangs"]
    with (tmp_path / "said").open("w") as said:
        driver = subprocess.Popen([*COMMAND, *search], cwd=tmp_path, stdout=said, stderr=said)
        while not (tmp_path / "searches" / "hangs" / "trials" / "0000" / "config.yaml").exists():
            assert driver.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.1)
        # The first epoch, of the warm-up, does not read it.
        (image,) = (tmp_path / "cache").rglob("JPEGImages/unlabeled_0003.*")
        image.unlink()
        os.mkfifo(image)  # nobody writes to it: reading it never ends
        waits: list[dict[str, Any]] = []
        while driver.poll() is None:
            waits += status(tmp_path).get("waits", [])
            time.sleep(1)
    text = (tmp_path / "said").read_text()
    assert {(each["trial"], each["who"], each["what"]) for each in waits} >= {
        ("0000", "its worker", "a batch of its data loader")
    }, text
    assert text.count("for a batch of its data loader: its process is ended") == 4, text
    assert driver.returncode == 1, text
    (trial,) = status(tmp_path)["trials"]
    assert trial["state"] == "FAILED"
    assert "a batch of its data loader 4 times in a row" in text, text


def status(folder: Path) -> dict[str, Any]:
    done = subprocess.run([*COMMAND, "status", "hangs", "--json"], cwd=folder, capture_output=True, text=True)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}
