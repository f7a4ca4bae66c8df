"""A cluster that goes away under the driver, in real processes."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from u2pl_ray.search.execution.interrupts import AGAIN
from u2pl_ray.search.experiment.experiment import Experiment

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = """
from u2pl_ray.cli.running import run_experiment
from u2pl_ray.config.overrides import load
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.execution import head_watch
from u2pl_ray.search.experiment.plan import plan_search
from u2pl_ray.search.space.file import parse_space

head_watch.PATIENCE = 3.0
config = resolve(load("quickstart", ["train.epochs=40", "workers=1"]))
space = parse_space("parameters: {method.contrastive.temperature: {min: 0.1, max: 1.0}}", "s")
plan = plan_search(config, space, name="lost", trials=1, trainer="fake_training:build_slow", scheduler="none")
run_experiment(plan.create(), quiet=False)
"""


def test_a_lost_head_ends_the_search_with_75_and_the_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")
    small = {"num_cpus": 1, "memory": 8 << 30, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    address = str(cluster.address)
    environment = os.environ | {
        "RAY_ADDRESS": address,
        "U2PL_RAY_STORAGE": str(tmp_path / "my storage"),
        "WANDB_MODE": "disabled",
    }
    try:
        with subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as driver:  # fmt: skip
            assert driver.stdout is not None
            for line in driver.stdout:
                if "epoch 2/" in line:
                    for name in ("gcs_server", "raylet"):
                        os.kill(cluster.head_node.all_processes[name][0].process.pid, signal.SIGKILL)
                    break
            rest = driver.stdout.read()
    finally:
        cluster.shutdown()
    assert driver.returncode == AGAIN, rest
    (line,) = [line for line in rest.splitlines() if "has not answered" in line]
    assert address in line
    found = re.search(r"u2pl-ray resume (.*)$", line)
    assert found is not None
    (location,) = shlex.split(found[1])
    experiment = Experiment.open(location)
    assert not experiment.is_running()
    assert experiment.study().records()[0].epochs >= 2
