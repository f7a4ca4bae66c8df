import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.search.postgres import database
from tests.search.s3 import s3_server
from u2pl_ray.config import overrides
from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.space import Space

__all__ = ["database"]  # a fixture

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.memory_bank.capacity: {distribution: q_log_uniform_values, q: 100, min: 1000, max: 20000}
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.05, max: 2.0}
  method.alpha.kind: {values: [linear, cosine]}
"""


@pytest.fixture
def space() -> Space:
    return parse_space(SPACE, "space.yaml")


BASE = {
    "data": {"dataset": "synthetic", "crop": 64},
    "model": {"encoder": "tu-mobilenetv3_small_050"},
    "method": {"warmup_epochs": 0, "contrastive": {"low_rank": 2, "high_rank": 6}},
    "train": {"epochs": 9, "batch_size": 8, "unlabeled_batch_size": 8},
    "tracking": {"wandb": "disabled"},
}
"""One worker, nine epochs: a rung at 5."""


@pytest.fixture
def base() -> Config:
    return overrides.validate(BASE)


_PATH = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="package")
def shared_ray() -> Iterator[None]:
    """What `ray_cluster` starts is kept for the tests after it: a start takes seconds of every core."""
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def ray_cluster(shared_ray: None) -> None:
    """A local Ray with 2 CPUs whose workers can import this folder's modules."""
    from u2pl_ray.search.cluster.connection import connect

    os.environ["PYTHONPATH"] = _PATH
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  or whatever else runs here starves the workers
    os.environ["RAY_NUM_CPUS"] = "2"
    connect()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket on an S3 server of this machine."""
    with s3_server("bucket") as uri:
        yield uri


@pytest.fixture
def storage(bucket: str, request: pytest.FixtureRequest) -> str:
    """A folder of the bucket, each test its own."""
    return f"{bucket}/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPUs, as Ray would say, without Ray."""
    from u2pl_ray.search.experiment import plan

    monkeypatch.setattr(plan, "connect", lambda: None)
    monkeypatch.setattr(plan, "nodes", lambda: [{"CPU": 2.0, "memory": 2.0**33}])
