"""The way of a user, once through: search, status, best, export, train, evaluate, predict.

What trains is a real process; what only reads is called in this one.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train.conftest import TINY
from u2pl_ray.cli import main

SETTINGS = [*TINY, "workers=2", "train.epochs=2", "train.steps_per_epoch=1", "method.alpha.end=0.1"]
SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.1, max: 1.0}
  method.alpha.start: {min: 0.1, max: 0.5}
"""


class Shell:
    """Runs the command line as a user's shell would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        self.temporary.mkdir()
        self.environment = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "RAY_TMPDIR": tempfile.gettempdir(),  # sockets need short paths
            "U2PL_RAY_STORAGE": str(folder / "storage"),
            "U2PL_RAY_CACHE": str(folder / "cache"),
            "WANDB_MODE": "offline",
            "RAY_NUM_CPUS": "2",
            "RAY_worker_niceness": "0",  # or whatever else runs here starves the workers
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *arguments: object) -> str:
        """Run a verb in a process of its own; what it printed."""
        command = [sys.executable, "-m", "u2pl_ray", *(str(argument) for argument in arguments)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def here(self, *arguments: object) -> str:
        """Run a verb in this process."""
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        assert not ended.value.code, printed.getvalue()
        return printed.getvalue()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("user"))
    (shell.folder / "space.yaml").write_text(SPACE)
    return shell


@pytest.fixture(scope="module")
def searched(shell: Shell) -> dict[str, Any]:
    said = shell("search", "quickstart", *SETTINGS, "--space", "space.yaml", "--trials", "2", "--name", "mine")
    assert "next: u2pl-ray train" in said
    status: dict[str, Any] = json.loads(shell.here("status", "mine", "--json"))
    return {**status, "said": said}


@pytest.mark.ray
def test_the_disk_forecast_is_what_checkpoints_take(shell: Shell, searched: dict[str, Any]) -> None:
    (line,) = [line for line in searched["said"].splitlines() if line.startswith("checkpoints ")]
    assert "of it: at most 64 keys of 16 numbers a class" in line  # what the memory bank costs
    each, most = (float(found) * 1e9 for found in re.findall(r"([\d.e-]+) GB (?:each|at a time)", line))
    trials = shell.folder / "storage" / "mine" / "trials"
    folders = [folder for trial in ("0000", "0002") for folder in (trials / trial).glob("train/epoch_*")]
    taken = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    # Two of the first, one of the second, which goes on from the first one's warm-up. Supervised has no memory bank.
    assert len(folders) == 3
    assert abs(taken / (3 * each) - 1) < 0.2
    assert taken < most


@pytest.mark.ray
def test_status_has_what_the_design_lists(searched: dict[str, Any]) -> None:
    assert searched["name"] == "mine"
    first, supervised, second = searched["trials"]
    assert [trial["id"] for trial in searched["trials"]] == ["0000", "0001", "0002"]
    # The paper's own setting is the first trial.
    assert first["params"] == {"method.contrastive.temperature": 0.5, "method.alpha.start": 0.2}
    assert second["params"] != first["params"]
    assert {first["state"], second["state"]} <= {"COMPLETED", "STOPPED"}
    completed = [trial for trial in (first, second) if trial["state"] == "COMPLETED"]
    best = max(completed, key=lambda trial: trial["metrics"]["val/miou"])
    assert searched["best"] == best["id"]
    assert best["epochs"] == 2
    # Beside the search, and no part of it: a supervised training.
    assert supervised["companion"] == {"kind": "baseline", "changes": {"method.name": "supervised"}, "of": None}
    assert supervised["state"] == "COMPLETED"
    told = searched["unlabeled"]
    assert told[0] == {
        "training": "supervised",
        "value": supervised["metrics"]["val/miou"],
        "ahead": 0.0,
        "gap_closed": None,
    }
    paper = next(row for row in told if "paper's setting 0000" in row["training"])
    assert paper["ahead"] == pytest.approx(first["metrics"]["val/miou"] - supervised["metrics"]["val/miou"])
    assert searched["answer"]["sentence"].startswith("With unlabeled images: ")


@pytest.mark.ray
def test_the_best_is_exported_trained_evaluated_and_used(shell: Shell, searched: dict[str, Any]) -> None:
    best = json.loads(shell.here("best", "mine", "--json"))
    assert best["id"] == searched["best"]
    shell.here("export", "mine", "--output", "best.yaml")
    shell("train", "best.yaml", "--name", "again")
    again = json.loads(shell.here("status", "again", "--json"))["trials"][0]
    # The same configuration, seed and worker count: the same numbers, bit for bit.
    reported = {name: value for name, value in best["metrics"].items() if not name.startswith("perf/")}
    assert {name: value for name, value in again["metrics"].items() if not name.startswith("perf/")} == reported

    scored = json.loads(shell.here("evaluate", best["checkpoint"], "--split", "val", "--json"))
    for name in ("val/miou", "val/teacher/miou"):
        # One process here, two workers then: networks in other batches round differently.
        assert scored["metrics"][name] == pytest.approx(best["metrics"][name], abs=2e-3)
    assert json.loads(shell.here("evaluate", best["checkpoint"], "--json"))["split"] == "test"

    image = next((shell.folder / "cache").rglob("JPEGImages/test_*.png"))
    written = shell.here("predict", best["checkpoint"], image, "--output", "out").split()
    overlay, labels = (shell.folder / path for path in written)
    assert Image.open(overlay).size[0] > 64  # the picture and its legend
    assert Image.open(labels).size == (64, 64)
    assert set(np.unique(np.array(Image.open(labels)))) <= set(range(6))


@pytest.mark.ray
def test_every_trial_has_an_offline_run(shell: Shell, searched: dict[str, Any]) -> None:
    runs = list((shell.folder / "storage" / "mine" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == len(searched["trials"])


@pytest.mark.ray
def test_no_checkpoint_is_left_in_the_temporary_folder(shell: Shell, searched: dict[str, Any]) -> None:
    assert list(shell.temporary.rglob("checkpoint.pt*")) == []
