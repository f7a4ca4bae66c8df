"""From a folder of photographs to a searched model and its overlays: each step one command, no file edited."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = ["data.crop=32", "train.batch_size=2", "train.unlabeled_batch_size=2", "train.steps_per_epoch=1"]
TINY += ["train.epochs=2", "method.warmup_epochs=1", "tracking.images=0"]
COLORS = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 255]], np.uint8)


def photographs(folder: Path, count: int, masks: int) -> None:
    (folder / "photos").mkdir()
    (folder / "masks").mkdir()
    for number in range(count):
        draws = np.random.default_rng(number)
        label = np.kron(draws.integers(0, 3, (4, 4)), np.ones((12, 12), int))
        noise = draws.integers(0, 60, (48, 48, 3))
        Image.fromarray((60 * label[..., None] + noise).astype(np.uint8)).save(folder / "photos" / f"{number:03}.jpg")
        if number < masks:
            Image.fromarray(COLORS[label]).save(folder / "masks" / f"{number:03}_mask.png")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_init_search_evaluate_predict(tmp_path: Path) -> None:
    photographs(tmp_path, 20, 12)
    settled = {"U2PL_RAY_STORAGE": str(tmp_path / "storage"), "WANDB_MODE": "disabled", "RAY_NUM_CPUS": "1"}
    environment = {**os.environ, **settled, "RAY_TMPDIR": tempfile.gettempdir(), "OMP_NUM_THREADS": "1"}

    def u2pl_ray(*arguments: str) -> str:
        command = [sys.executable, "-m", "u2pl_ray", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    u2pl_ray("init", "photos", "--masks", "masks", "--classes", "ground,river,road")
    said = u2pl_ray("search", "mine.yaml", *TINY, "--space", "paper", "--trials", "1", "--name", "mine")
    assert "next: u2pl-ray" in said
    status = json.loads(u2pl_ray("status", "mine", "--json"))
    assert status["state"] == "finished"
    assert [trial["state"] for trial in status["trials"]] == ["COMPLETED"] * 2  # the paper's setting, and supervised
    assert "test" in u2pl_ray("evaluate", "mine")
    u2pl_ray("predict", "mine", "photos", "-o", "overlays")
    assert len(list((tmp_path / "overlays").glob("*_overlay.png"))) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "masks", "mine.lists", "mine.yaml", "overlays", "photos", "storage",
    ]  # fmt: skip
