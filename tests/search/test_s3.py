"""A search on a real S3 server, by drivers that are killed and whose machine is emptied before the next begins."""

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from outage import Line, line_to_store

from tests.search.driver_process import run_driver
from tests.search.small_search import never_killed, story
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State, TrialRecord

pytestmark = pytest.mark.ray

DRIVER = """
import sys
import tempfile
from u2pl_ray.config import overrides
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.storage.place import experiments

class Talk(Listener):
    def trial_started(self, trial, config): print("started", trial.id, trial.epochs, flush=True)
    def epoch_done(self, trial, metrics, best): print("epoch", trial.id, metrics["training_iteration"], flush=True)
    def note(self, text): print(text, flush=True)

storage, inputs, trainer, trials = sys.argv[1:]
if experiments(storage):
    experiment = Experiment.open(f"{storage}/a")
else:
    from pathlib import Path
    experiment = plan_search(
        overrides.load(f"{inputs}/base.yaml"), load_space(Path(inputs) / "space.yaml"), name="a", trials=int(trials),
        storage_path=storage, max_concurrent=1, sampler_options={"n_startup_trials": 2}, trainer=trainer,
    ).create()
print("finished", experiment.run([Talk()]).finished, flush=True)
"""


@pytest.mark.parametrize(
    ("trainer", "epochs", "trials", "moments"),
    [
        ("build_stored", 9, 2, {"epoch 0000 4": signal.SIGKILL}),
        pytest.param(
            *("build_torch", 4, 2, {"epoch 0000 2": signal.SIGKILL, "epoch 0001 1": signal.SIGTERM}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_and_continued_from_an_empty_machine(
    tmp_path: Path,
    bucket: str,
    base: Config,
    space: Space,
    trainer: str,
    epochs: int,
    trials: int,
    moments: dict[str, signal.Signals],
) -> None:
    (tmp_path / "inputs").mkdir()
    config = overrides.apply(base, {"train.epochs": epochs})
    (tmp_path / "inputs" / "base.yaml").write_text(overrides.dump(config))
    (tmp_path / "inputs" / "space.yaml").write_text(space.text)
    storage = f"{bucket}/{trainer}"
    for moment, kind in [*moments.items(), ("", None)]:
        machine = Path(tempfile.mkdtemp(prefix="m-"))  # short: Ray's sockets lie in it
        environment = os.environ | {
            "HOME": str(machine),
            "TMPDIR": str(machine),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
            "FAKE_EPOCH_SECONDS": "0.2",
            "RAY_NUM_CPUS": "2",
            "RAY_worker_niceness": "0",
        }
        command = [sys.executable, "-W", "ignore", "-c", DRIVER, storage, str(tmp_path / "inputs")]
        command += [f"fake_training:{trainer}", str(trials)]
        lines = run_driver(command, environment, moment, kind)
        shutil.rmtree(machine, ignore_errors=True)
    assert lines[-1] == "finished True"
    stored = Experiment.open("a", storage)
    records = stored.study().records()
    assert {record.state for record in records} <= {State.COMPLETED, State.STOPPED}
    (tmp_path / "whole").mkdir()
    assert story(records) == story(never_killed(stored, tmp_path / "whole"))
    for record in records:
        assert {row["training_iteration"]: row["val/miou"] for row in stored.epochs(record.id)} == record.values


class Outage(Listener):
    """Cuts the line to the store for a while after the second epoch."""

    def __init__(self, line: Line, seconds: float) -> None:
        self.line, self.seconds, self.notes = line, seconds, list[str]()

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        if metrics["training_iteration"] == 2:
            self.line.cut()
            threading.Timer(self.seconds, self.line.mend).start()

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.slow
def test_a_training_waits_until_the_store_takes_its_checkpoint(
    tmp_path: Path, bucket: str, base: Config, space: Space, monkeypatch: pytest.MonkeyPatch, no_ray: None
) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_NUM_CPUS", "1")
    config = overrides.apply(base, {"train.epochs": 4})
    with line_to_store() as line:
        outage = Outage(line, 12.0)
        plan = plan_search(
            *(config, space), name="a", trials=1, storage_path=f"{bucket}/outage", trainer="fake_training:build_torch"
        )
        try:
            (record,) = plan.create().run([outage]).trials
        finally:
            ray.shutdown()
    assert record.state == State.COMPLETED, outage.notes
    assert any("epoch_00003 was not stored, trying again" in note for note in outage.notes)
    stored = Experiment.open("a", f"{bucket}/outage")
    assert {row["training_iteration"]: row["val/miou"] for row in stored.epochs("0000")} == record.values
    assert not any("goes on after" in note for note in outage.notes)  # it was not started again
