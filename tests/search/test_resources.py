import pickle
import threading
from collections.abc import Mapping

import pytest

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.search.cluster.capacity import TRIAL_MEMORY, Slots, fit

GIB = 2.0**30


def node(cpus: float, gpus: float = 0, memory: float = 64 * GIB) -> Mapping[str, float]:
    return {"CPU": cpus, "memory": memory} | ({"GPU": gpus} if gpus else {})


@pytest.mark.parametrize(
    ("settings", "cluster", "concurrent", "gpu"),
    [
        (["workers=2"], [node(2)], 1, False),
        (["workers=1"], [node(2)], 2, False),
        (["workers=2"], [node(3), node(3)], 3, False),
        (["workers=4"], [node(2), node(2)], 1, False),
        # Worker by worker: two nodes of 3 CPUs hold two workers of 2, not three.
        (["workers=1", "resources.cpus_per_worker=2"], [node(3), node(3)], 2, False),
        (["workers=1"], [node(16, 4)], 4, True),
        (["workers=2"], [node(16, 4), node(64)], 2, True),
        (["workers=1", "resources.gpus_per_worker=0.5"], [node(16, 1)], 2, True),
        (["workers=1", "resources.gpus_per_worker=0.25", "resources.cpus_per_worker=2"], [node(4, 1)], 2, True),
        (["workers=1", "resources.gpus_per_worker=0.4"], [node(16, 2)], 4, True),  # two to a GPU, not five to two
        (["workers=1", "resources.cpus_per_worker=2", "data.loader_workers=2"], [node(16)], 4, False),
        (["workers=1", "data.loader_workers=3"], [node(16, 8)], 4, True),  # CPUs for loaders run out before the GPUs
        (["workers=1", "resources.device=cpu"], [node(16, 4)], 16, False),
        (["workers=1"], [node(16, memory=2 * TRIAL_MEMORY)], 2, False),
    ],
)
def test_concurrency(settings: list[str], cluster: list[Mapping[str, float]], concurrent: int, gpu: bool) -> None:
    config = overrides.load("quickstart", ["train.batch_size=8", *settings])
    room = fit(config, cluster)
    assert (room.concurrent, room.gpu) == (concurrent, gpu)


def test_the_arithmetic_is_shown() -> None:
    config = overrides.load("quickstart", ["workers=2"])
    text = fit(config, [node(3), node(2)]).arithmetic
    assert text == (
        "a trial is 2 workers of 1 CPU; 5 workers fit on 2 nodes (3 CPU -> 3, 2 CPU -> 2): 5 // 2 = 2 trials at once"
    )
    assert fit(config, [node(16)], max_concurrent=3).arithmetic.endswith(
        "16 // 2 = 8 trials at once, limited to 3 by --max-concurrent"
    )
    assert fit(config, [node(16)], max_concurrent=100).concurrent == 8


@pytest.mark.parametrize(
    ("settings", "cluster", "words"),
    [
        (["workers=4"], [node(2)], ["workers=4 does not fit", "2 CPU -> 2): 2 // 4 = 0 trials", "fewer workers"]),
        (["workers=1", "resources.cpus_per_worker=4"], [node(2), node(2)], ["2 CPU -> 0, 2 CPU -> 0): 0 // 1 = 0"]),
        (["workers=1", "resources.device=cuda"], [node(8)], ["8 CPU + 0 GPU -> 0"]),
        (
            ["workers=1", "data.loader_workers=4"],
            [node(4)],
            ["5 CPU (1 CPU to train, 4 for loader", "data.loader_workers or"],
        ),
        (["workers=1"], [node(8, memory=0)], ["1024 MiB of Ray's memory resource"]),
        (["workers=1"], [], ["(none): 0 // 1 = 0"]),
    ],
)
def test_what_cannot_fit_is_refused(settings: list[str], cluster: list[Mapping[str, float]], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        fit(overrides.load("quickstart", settings), cluster)
    for word in words:
        assert word in str(caught.value)


def test_max_concurrent_must_be_positive() -> None:
    with pytest.raises(UserError, match="--max-concurrent 0"):
        fit(overrides.load("quickstart"), [node(8)], 0)


def test_slots_can_be_pickled_whatever_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune pickles its searcher."""
    monkeypatch.setattr("u2pl_ray.search.cluster.capacity.nodes", lambda: [node(4)])
    slots = Slots(overrides.load("quickstart", ["workers=1"]), None, threading.Lock().acquire)  # type: ignore[arg-type]
    assert slots() == 4
    pickle.dumps(slots)
