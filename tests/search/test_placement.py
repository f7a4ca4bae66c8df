"""More trials than a cluster holds, with real workers in placement groups, on a cluster that grows meanwhile."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.listeners.base import Listener
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.trial_record import State, TrialRecord

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, no_ray: None) -> Iterator[Any]:
    """A node of one CPU, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    from u2pl_ray.search.cluster.connection import connect

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    connect()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Watch(Listener):
    """Adds a node after the first trial's first epoch, and counts trials at once."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.live, self.most, self.notes, self.grown = cluster, set[str](), [0, 0], list[str](), False

    def trial_started(self, trial: TrialRecord, config: Config) -> None:
        self.live.add(trial.id)
        self.most[self.grown] = max(self.most[self.grown], len(self.live))

    def epoch_done(self, trial: TrialRecord, metrics: Mapping[str, Any], best: TrialRecord | None) -> None:
        if not self.grown:
            self.grown = True
            self.cluster.add_node(num_cpus=1)

    def trial_finished(self, trial: TrialRecord) -> None:
        self.live.discard(trial.id)

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_trials_that_outnumber_the_slots_all_run_and_use_a_node_that_joins(
    cluster: Any, tmp_path: Path, base: Config, space: Space
) -> None:
    import ray

    plan = plan_search(base, space, name="a", trials=4, storage_path=tmp_path, trainer="fake_training:build_torch")
    assert plan.fit.concurrent == 1
    watch = Watch(cluster)
    summary = plan.create().run([watch])
    assert summary.finished
    assert len(summary.trials) == 4
    assert {record.state for record in summary.trials} <= {State.COMPLETED, State.STOPPED}
    assert watch.most == [1, 2]
    assert [note.partition(";")[0] for note in watch.notes] == ["trials at once: 1 -> 2"]
    held = [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
    assert held == []
