"""A training is measured on the cluster as a worker of it, and only if there is room."""

import pytest

from tests.train.conftest import tiny
from u2pl_ray.search.cluster import measuring
from u2pl_ray.search.cluster.measuring import measure
from u2pl_ray.train.measurement import NotMeasured

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def somewhere(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster is named; this process is connected to one already."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")


@pytest.mark.slow
def test_one_worker_with_its_share() -> None:
    said: list[str] = []
    found = measure(tiny("workers=2", "method.warmup_epochs=0"), False, 1, said.append)
    assert (found.workers, found.copies, found.steps) == (1, 1, 2)
    assert (len(found.main) >= 4, found.warmup) == (True, ())
    assert said == ["one worker, on a node of the cluster; up to six minutes"]


def test_a_cluster_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(measuring, "_ROOM_SECONDS", 1.0)
    taken = ray.util.placement_group([{"CPU": 2}])
    ray.get(taken.ready(), timeout=60)
    try:
        with pytest.raises(NotMeasured, match=r"no node of the cluster has 1 CPU free now \(waited 1 s\)") as caught:
            measure(tiny(), False, 1, lambda line: None)
    finally:
        ray.util.remove_placement_group(taken)
    assert not caught.value.memory


@pytest.mark.slow
def test_what_goes_wrong_there_is_said() -> None:
    with pytest.raises(NotMeasured, match="no_such_encoder"):
        measure(tiny().model_copy(update={"model": tiny().model.model_copy(update={"encoder": "no_such_encoder"})}),
                False, 1, lambda line: None)  # fmt: skip
