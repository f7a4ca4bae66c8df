"""A search that begins on a cluster without room, and makes its autoscaler add it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.v2.sdk import get_cluster_resource_state

from u2pl_ray.cli import main
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import check_growth, fit
from u2pl_ray.search.cluster.connection import connect
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State, TrialRecord

ROOT = Path(__file__).parents[2]


class Autoscaler(threading.Thread):
    """Adds a node of one CPU for every group without room, two at most, from what Ray tells its own autoscaler."""

    def __init__(self, cluster: Any) -> None:
        super().__init__(daemon=True)
        self.cluster, self.over = cluster, threading.Event()
        self.added: list[subprocess.Popen[bytes]] = []

    def asked(self) -> int:
        """How many groups wait for room."""
        state = get_cluster_resource_state(GcsClient(address=self.cluster.address))
        return len(state.pending_gang_resource_requests)

    def run(self) -> None:
        while not self.over.wait(0.5):
            for _ in range(min(self.asked(), 2 - len(self.added))):
                join = ["start", "--block", "--num-cpus", "1", "--address", self.cluster.address]
                join += ["--object-store-memory", str(80 << 20), "--node-ip-address", f"127.0.1.{len(self.added) + 2}"]
                command = [sys.executable, "-m", "ray.scripts.scripts", *join]
                self.added.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def stop(self) -> None:
        """End it, and its nodes."""
        self.over.set()
        for node in self.added:
            node.terminate()
            node.wait()


class Watch(Listener):
    """Counts trials at once."""

    def __init__(self) -> None:
        self.live, self.most = set[str](), 0

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        self.live.add(trial.id)
        self.most = max(self.most, len(self.live))

    def trial_finished(self, trial: TrialRecord) -> None:
        self.live.discard(trial.id)


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, no_ray: None) -> Iterator[Any]:
    """A node with room for the trials' own processes, and for no worker."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "memory": 8 << 30})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    connect()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.ray
def test_nodes_are_asked_for_and_used(head: Any, tmp_path: Path, base: Config, space: Space) -> None:
    config = overrides.apply(base, {"resources.device": "cpu", "train.epochs": 2, "method.warmup_epochs": 0})
    plan = plan_search(
        config, space, name="a", trials=3, storage_path=tmp_path, scheduler="none", max_concurrent=2, autoscale=True,
        trainer="fake_training:build_torch",
    )  # fmt: skip
    assert plan.fit.arithmetic.endswith("0 // 1 = 0 trials at once now; the autoscaler is asked for room for 2")
    autoscaler, watch = Autoscaler(head), Watch()
    autoscaler.start()
    try:
        summary = plan.create().run([watch])
        assert [record.state for record in summary.trials] == [State.COMPLETED] * 3
        assert (len(autoscaler.added), watch.most) == (2, 2)
        assert autoscaler.asked() == 0
    finally:
        autoscaler.stop()


def test_what_a_growing_cluster_must_be_told() -> None:
    config = overrides.load("quickstart", ["workers=2"])
    head = {"CPU": 0.0, "memory": 2.0**33}
    with pytest.raises(UserError, match="--max-concurrent for how many"):
        check_growth(config, None)
    with pytest.raises(UserError, match=r"set resources\.device=cuda or cpu"):
        check_growth(config, 4)
    planned = overrides.apply(config, {"resources.device": "cuda"})
    room = fit(planned, [head], 4, autoscale=True)
    assert (room.concurrent, room.gpu) == (4, True)
    assert "// 2 = 0 trials at once now" in room.arithmetic


def test_autoscale_without_a_limit_is_refused(no_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = ROOT / "search_spaces" / "quickstart.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["search", "quickstart", "--space", str(space), "--autoscale", "--storage-path", str(tmp_path)])
    assert ended.value.code == 2
    assert "--autoscale: say with --max-concurrent" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert not ray.is_initialized()  # said before anything is started
