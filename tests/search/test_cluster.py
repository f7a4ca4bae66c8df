"""A search that loses workers, processes and nodes of a cluster of several nodes. Real Ray, real kills."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.cluster_utils import Cluster

from tests.train.conftest import tiny
from tests.train.test_world_size import SETTINGS
from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import nodes as living
from u2pl_ray.search.experiment.experiment import Experiment
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.experiment.training import plan_training
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State, TrialRecord
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 6
_SMALL = {"object_store_memory": 80 << 20}


class Nodes:
    """A head without workers, and nodes with room for one worker each.

    Args:
        head: whether the trials' own processes run on the head; else on the nodes.
    """

    def __init__(self, head: bool) -> None:
        memory, none = 8 << 30, 0
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "memory": memory if head else none, **_SMALL, "include_dashboard": False},
        )
        self._settings = {"num_cpus": 1, "memory": none if head else memory, **_SMALL}
        self.workers: dict[str, Any] = {}
        for _ in range(2):
            self.add()

    def add(self) -> None:
        """One more."""
        address = f"127.0.0.{len(self.workers) + 2}"
        node = self.cluster.add_node(node_ip_address=address, **self._settings)
        self.workers[node.node_id] = node

    def processes(self) -> dict[int, tuple[str, str]]:
        """What the raylets of this cluster started: process number to node and command."""
        found = {}
        for node in self.cluster.list_all_nodes():
            raylet = str(_raylet(node))
            listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", raylet], capture_output=True, text=True)
            for line in listed.stdout.splitlines():
                number, command = line.split(maxsplit=1)
                found[int(number)] = node.node_id, command
        return found

    def trial_runner(self) -> tuple[int, str]:
        """The process of the one trial that runs, and its node."""
        (found,) = [(number, node) for number, (node, command) in self.processes().items() if "TrialRunner" in command]
        return found

    def kill_node(self, identity: str) -> None:
        """With all its processes at once, as when the power goes."""
        node = self.workers.pop(identity)
        here = [number for number, (where, _) in self.processes().items() if where == identity]
        for process in (_raylet(node), *here):
            os.kill(process, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)

    def drain(self, identity: str, seconds: int) -> None:
        """Announce that a node is about to be taken away."""
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self.cluster.address),
                *("--node-id", identity, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
                *("--reason-message", "spot", "--deadline-remaining-seconds", str(seconds)),
            ],
            check=True,
            capture_output=True,
        )


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


@pytest.fixture
def head() -> bool:
    """See `Nodes`."""
    return True


@pytest.fixture
def nodes(tmp_path: Path, head: bool, no_ray: None) -> Iterator[Nodes]:
    import ray

    from u2pl_ray.search.cluster.connection import connect

    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    os.environ["RAY_health_check_initial_delay_ms"] = "2000"  # noqa: SIM112
    os.environ["RAY_health_check_period_ms"] = "1000"  # noqa: SIM112
    os.environ["FAKE_EPOCH_SECONDS"] = "1.0"
    os.environ["RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"] = "0.5"
    os.environ["U2PL_RAY_CACHE"] = str(tmp_path / "cache")
    made = Nodes(head)
    os.environ["RAY_ADDRESS"] = made.cluster.address
    connect()
    yield made
    ray.shutdown()
    made.cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)


class Accident(Listener):
    """Does something after an epoch of the first trial, once."""

    def __init__(self, after: int, act: Any) -> None:
        self.after, self.act, self.happened = after, act, False
        self.notes: list[str] = []

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        if metrics["training_iteration"] == self.after and not self.happened:
            self.happened = True
            self.act(metrics)

    def note(self, text: str) -> None:
        self.notes.append(text)


def search(
    folder: Path, base: Config, space: Space, workers: Any, accident: Accident, trainer: str = "build_torch"
) -> tuple[Experiment, list[TrialRecord]]:
    """Two trials over Ray Train; all of them are accounted for."""
    config = overrides.apply(base, {"workers": workers, "train.epochs": EPOCHS})
    plan = plan_search(
        config, space, name="a", trials=2, storage_path=folder, scheduler="none", trainer=f"fake_training:{trainer}"
    )
    made = plan.create()
    records = made.run([accident]).trials
    assert [(record.state, list(record.values)) for record in records] == [
        (State.COMPLETED, list(range(1, EPOCHS + 1)))
    ] * 2, accident.notes
    assert accident.happened
    return made, records


def attempts(made: Experiment) -> list[int]:
    """By epoch of the first trial, how often its training had been started."""
    return [metrics["attempt"] for metrics in made.epochs("0000")]


def test_a_worker_is_killed(tmp_path: Path, base: Config, space: Space, nodes: Nodes) -> None:
    accident = Accident(3, lambda metrics: os.kill(metrics["process"], signal.SIGKILL))
    made, _ = search(tmp_path, base, space, 2, accident)
    assert attempts(made) in ([1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2])  # one epoch lost at most
    assert any("0000 lost a process or a machine" in note for note in accident.notes)


def test_a_trials_process_is_killed(tmp_path: Path, base: Config, space: Space, nodes: Nodes) -> None:
    accident = Accident(3, lambda metrics: os.kill(nodes.trial_runner()[0], signal.SIGKILL))
    made, _ = search(tmp_path, base, space, 2, accident)
    assert attempts(made) in ([1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2])
    assert any("0000 lost its process" in note for note in accident.notes)


def test_a_node_is_lost_and_another_takes_its_place(tmp_path: Path, base: Config, space: Space, nodes: Nodes) -> None:
    nodes.add()
    accident = Accident(3, lambda metrics: nodes.kill_node(metrics["node"]))
    made, _ = search(tmp_path, base, space, 2, accident)
    assert attempts(made) in ([1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2])


@pytest.mark.parametrize("head", [False])
def test_a_node_is_lost_with_the_trials_process_and_a_worker(
    tmp_path: Path, base: Config, space: Space, nodes: Nodes
) -> None:
    nodes.add()
    accident = Accident(3, lambda metrics: nodes.kill_node(nodes.trial_runner()[1]))
    made, _ = search(tmp_path, base, space, 2, accident)
    assert attempts(made) in ([1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2])
    assert any("0000 lost its process" in note for note in accident.notes)


def test_a_node_is_lost_and_one_worker_goes_on(tmp_path: Path, base: Config, space: Space, nodes: Nodes) -> None:
    accident = Accident(3, lambda metrics: nodes.kill_node(metrics["node"]))
    made, _ = search(tmp_path, base, space, "1..2", accident)
    workers = [metrics["workers"] for metrics in made.epochs("0000")]
    assert workers in ([2, 2, 2, 1, 1, 1], [2, 2, 2, 2, 1, 1])
    assert [metrics["workers"] for metrics in made.epochs("0001")] == [1] * EPOCHS


def test_a_node_is_about_to_be_taken_away(tmp_path: Path, base: Config, space: Space, nodes: Nodes) -> None:
    """With a minute's notice nothing is done twice: the training leaves at the end of its epoch."""
    nodes.add()
    accident = Accident(2, lambda metrics: nodes.drain(metrics["node"], 120))
    made, _ = search(tmp_path, base, space, 2, accident)
    assert sorted(set(attempts(made))) == [1, 2]
    left = {metrics["node"] for metrics in made.epochs("0000")[:2]}
    assert not left & {metrics["node"] for metrics in made.epochs("0000")[-1:]}
    assert any("0000 its machine is being taken away" in note for note in accident.notes)
    assert [int(path.read_text()) for path in sorted((tmp_path / "a" / "trials" / "0000").glob("started_*"))] == [
        0,
        attempts(made).count(1),
    ]


@pytest.mark.parametrize("head", [False])
def test_a_node_is_announced_and_taken_with_the_trials_process(
    tmp_path: Path, base: Config, space: Space, nodes: Nodes
) -> None:
    """First its workers leave it, then the trial's own process is lost: it goes on with all it had reported."""
    nodes.add()

    def take(metrics: Any) -> None:
        node = nodes.trial_runner()[1]
        nodes.drain(node, 120)
        threading.Timer(8.0, nodes.kill_node, [node]).start()

    accident = Accident(2, take)
    made, _ = search(tmp_path, base, space, 2, accident)
    assert any("0000 its machine is being taken away" in note for note in accident.notes)
    assert any("0000 lost its process" in note for note in accident.notes)
    starts = sorted((tmp_path / "a" / "trials" / "0000").glob("started_*"))
    assert len(starts) >= 2  # 3 if it had gone on elsewhere before its own process was lost
    for number, start in enumerate(starts, 1):
        assert int(start.read_text()) >= sum(attempt < number for attempt in attempts(made))


def test_a_worker_dies_while_its_process_group_is_set_up(
    tmp_path: Path, base: Config, space: Space, nodes: Nodes
) -> None:
    """On a cluster that is exactly full: what the dead attempt had reserved must be free again."""
    accident = Accident(1, lambda metrics: None)
    made, _ = search(tmp_path, base, space, 2, accident, "build_dying")
    assert any("0000 lost a process or a machine" in note for note in accident.notes)
    assert (made.folder / "trials" / "0000" / "died").exists()


def test_a_real_training_that_loses_a_node_is_the_same_training(tmp_path: Path, nodes: Nodes) -> None:
    """Two workers, a node lost, one worker from there: metrics as of a training that lost nothing."""
    config = tiny(*SETTINGS, "train.epochs=4", "tracking.wandb=disabled")
    never_lost: list[dict[str, Any]] = []
    Worker(config, LocalSession(None, never_lost.append), torch.device("cpu")).run()
    accident = Accident(2, lambda metrics: nodes.kill_node(next(iter(nodes.workers))))
    elastic = overrides.apply(config, {"workers": "1..2"})
    (record,) = plan_training(elastic, name="a", storage_path=tmp_path).create().run([accident]).trials
    assert record.state == State.COMPLETED
    epochs = Experiment.open("a", tmp_path).epochs("0000")
    assert [row["perf/workers"] for row in epochs] in ([2, 2, 1, 1], [2, 2, 2, 1])
    for row, expected in zip(epochs, never_lost, strict=True):
        for name in ("train/loss/total", "train/loss/supervised", "train/loss/unsupervised", "diag/entropy/mean"):
            if name in expected:
                assert row[name] == pytest.approx(expected[name], rel=5e-3, abs=1e-5), name
        assert row["val/miou"] == pytest.approx(expected["val/miou"], abs=0.02)


def test_a_node_that_does_not_share_the_storage_is_found(
    tmp_path: Path, base: Config, space: Space, nodes: Nodes
) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    plan = plan_search(base, space, name="a", trials=1, storage_path=storage)
    assert any("3 nodes, all of which reach the storage" in line for line in plan.lines())
    join = f"{sys.executable} -m ray.scripts.scripts start --block --num-cpus 1 --node-ip-address 127.0.0.9"
    hidden = f"mount -t tmpfs none {storage} && {join} --address {nodes.cluster.address}; exit $?"
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    node = subprocess.Popen([*apart, "sh", "-c", hidden], stdout=subprocess.DEVNULL)
    try:
        while len(living()) < 4:
            time.sleep(0.5)
        refusal = re.escape("not seen from node 127.0.0.9; use a folder that all nodes share")
        with pytest.raises(UserError, match=refusal):
            plan_search(base, space, name="a", trials=1, storage_path=storage)
    finally:
        node.kill()
        node.wait()
