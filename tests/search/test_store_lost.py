"""A store that goes away for good under a search (a real S3 server behind a line that is cut), in real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from outage import line_to_store

from u2pl_ray.search.execution.interrupts import AGAIN
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.study.trial_record import State

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = """
import sys
from u2pl_ray.cli import main, running
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.execution import storage_watch
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.storage import mirror

storage_watch.PATIENCE, mirror._PATIENCE = float(sys.argv[1]), (0.0, float(sys.argv[2]))
config = resolve(load("quickstart", [f"train.epochs={sys.argv[3]}", "workers=1", "method.warmup_epochs=0"]))
space = parse_space("parameters: {method.contrastive.temperature: {min: 0.1, max: 1.0}}", "s")
plan = plan_search(config, space, name="lost", trials=1, trainer="fake_training:build_slow", scheduler="none")
plan.create()
main(["resume", "lost"])
"""


@pytest.mark.parametrize(
    ("patience", "pause", "epochs", "words"),
    [
        (12.0, 60.0, 12, "the storage has not answered for"),  # two beats and more; the driver tries to store an epoch
        (600.0, 0.1, 3, "the store does not answer (AWS Error NETWORK_CONNECTION)"),  # it gave up, and the trial ended
    ],
)
def test_it_ends_with_75_and_goes_on(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, patience: float, pause: float, epochs: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the trials keep their count in a file below it
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")
    monkeypatch.setenv("RAY_NUM_CPUS", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    storage = f"{bucket}/{patience:g}"
    monkeypatch.setenv("U2PL_RAY_STORAGE", storage)
    with line_to_store() as line:
        command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(patience), str(pause), str(epochs)]
        errors = tmp_path / "errors"
        with errors.open("w") as file:
            driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
            assert driver.stdout is not None
            for said in driver.stdout:
                if "epoch 2/" in said:
                    line.cut()
                    break
            rest = driver.stdout.read()
            code = driver.wait(120)
        complaints = errors.read_text()
        assert code == AGAIN, (rest, complaints)
        shown = [said for said in complaints.splitlines() if words in said and said.startswith(("error", storage))]
        assert len(shown) == 1, complaints
        assert "Traceback" not in complaints
        line.mend()
        (record,) = Experiment.open("lost", storage).study().records()
        assert 2 <= record.epochs < epochs
        again = subprocess.run([sys.executable, "-m", "u2pl_ray", "resume", "lost"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    (record,) = Experiment.open("lost", storage).study().records()
    assert (record.state, record.epochs) == (State.COMPLETED, epochs)
