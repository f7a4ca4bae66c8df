import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.analysis.local_search import SETTINGS, create, run
from tests.train.conftest import tiny
from u2pl_ray.search.experiment.experiment import Experiment

SPACE = """
metric: {name: val/miou, goal: maximize}
parameters:
  method.contrastive.temperature: {distribution: log_uniform_values, min: 0.1, max: 1.0}
  method.alpha.start: {min: 0.1, max: 0.5}
  method.alpha.kind: {values: [linear, cosine]}
"""

TWO = "metric: [{name: val/miou, goal: maximize}, {name: train/loss/contrastive, goal: minimize}]"


@pytest.fixture(scope="package", autouse=True)
def one_thread_and_a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("U2PL_RAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished search of real trainings: five trials, some stopped. Trained by one of the tests' processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "searched.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "searched").exists():
            trained = tmp_path_factory.mktemp("trained")
            made = run(create(trained, tiny(*SETTINGS), SPACE, trials=5, name="searched", scheduler="asha"))
            made.folder.rename(shared / "searched")
    own = tmp_path_factory.mktemp("storage") / "searched"
    shutil.copytree(shared / "searched", own)
    return Experiment.open(str(own))


@pytest.fixture(scope="package")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A search whose first trial is done, and nothing else."""
    return run(create(tmp_path_factory.mktemp("storage"), tiny(), SPACE, trials=4, name="begun"), trials=1)


@pytest.fixture(scope="package")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished search for two things at once."""
    space = SPACE.replace("metric: {name: val/miou, goal: maximize}", TWO)
    return run(create(tmp_path_factory.mktemp("storage"), tiny("train.epochs=2"), space, trials=3, name="weighed"))


@pytest.fixture(scope="package")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A search whose trials all failed."""
    config = tiny("optim.lr=1e30", "train.epochs=2")
    return run(create(tmp_path_factory.mktemp("storage"), config, SPACE, trials=2, name="diverged"))


@pytest.fixture
def empty(tmp_path: Path) -> Experiment:
    """A search in which nothing has run."""
    return create(tmp_path, tiny(), SPACE, trials=4, name="empty")
