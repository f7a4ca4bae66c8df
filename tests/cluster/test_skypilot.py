"""`run:` of launch/skypilot/search.yaml on two hosts, which are then lost, and on two new ones; on a real S3 server.

SkyPilot itself does not run: its variables are set here. Its script `start_cluster` is the real one, out of its wheel;
only the `uv` that it calls to install Ray is replaced by one that does nothing, as Ray is installed.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.hosts import ROOT, Host, Job, Network, wait_for
from tests.cluster.test_joined import SMALL
from tests.cluster.tiny import EPOCHS, write_files
from tests.launch.skypilot_wheel import skypilot_wheel
from tests.search.s3 import SETTINGS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

TASK = yaml.safe_load((ROOT / "launch" / "skypilot" / "search.yaml").read_text())
TOKEN = "5" * 64
TRIALS = 2


class Machines:
    """Two new machines as SkyPilot hands them over, on which `run:` is started.

    Args:
        network: which they join.
        names: theirs; the first is rank 0.
        start_cluster: SkyPilot's script.
        environment: of the task.
    """

    def __init__(self, network: Network, names: tuple[str, str], start_cluster: str, **environment: str) -> None:
        self.hosts = [network.add(name) for name in names]
        addresses = "\n".join(host.address for host in self.hosts)
        self.jobs: list[Job] = []
        for rank, host in enumerate(self.hosts):
            _install(host, start_cluster)
            variables = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NODE_IPS": addresses, "SKYPILOT_NUM_NODES": "2",
                         "SKYPILOT_NUM_GPUS_PER_NODE": "0", "RAY_CMD": "ray1"}  # fmt: skip
            self.jobs.append(host.start(["bash", "-c", TASK["run"]], "run.log", **environment, **variables, **SMALL))

    def lose(self) -> None:
        """Take both away at once, as a cloud does with spot machines."""
        for host in self.hosts:
            host.kill()


def _install(host: Host, start_cluster: str) -> None:
    """Put on a machine what SkyPilot and `setup:` would have put there."""
    home = host.folder / "home"
    files = {
        "u2pl/bin/activate": f'export PATH="$HOME/bin:{Path(sys.executable).parent}:$PATH"\n',
        "bin/uv": "#!/bin/sh\nexit 0\n",
        # Room for one worker on each machine, so that every training spans both.
        "bin/ray1": '#!/bin/sh\nif [ "$1" = start ]; then exec ray "$@" --num-cpus=1; fi\nexec ray "$@"\n',
        "sky_templates/ray/start_cluster": start_cluster,
    }
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
        (home / name).chmod(0o755)


@pytest.fixture(scope="module")
def start_cluster(tmp_path_factory: pytest.TempPathFactory) -> str:
    wheel = skypilot_wheel(tmp_path_factory.mktemp("skypilot"))
    return wheel.read("sky_templates/ray/start_cluster").decode()


def test_new_machines_go_on_from_the_bucket(tmp_path: Path, start_cluster: str) -> None:
    write_files(tmp_path)
    # Machines that come and go find the store, and each other, by these names.
    with Network(tmp_path / "hosts", ("store", "a0", "a1", "b0", "b1")) as network:
        store = network.add("store")
        url = f"http://{store.address}:5000"
        store.start([sys.executable, "-m", "moto.server", "-H", store.address, "-p", "5000"], "moto.log")
        settings = {**SETTINGS, "AWS_ENDPOINT_URL": url}
        make = "from pyarrow import fs; fs.FileSystem.from_uri('s3://my-bucket?allow_bucket_creation=true')[0].create_dir('my-bucket')"
        wait_for("S3", lambda: store.run([sys.executable, "-c", make], 60, False, **settings).returncode == 0, 60)
        environment = {**settings, **TASK["envs"], "RAY_AUTH_TOKEN": TOKEN, "TRIALS": str(TRIALS),
                       "CONFIG": str(tmp_path / "my.yaml"), "SPACE": str(tmp_path / "space.yaml"),
                       "U2PL_RAY_CACHE": str(tmp_path / "cache")}  # fmt: skip

        def stands() -> dict[str, Any]:
            """Return what anyone who reaches the bucket sees."""
            asked = [
                "u2pl-ray",
                "status",
                environment["NAME"],
                "--storage-path",
                environment["U2PL_RAY_STORAGE"],
                "--json",
            ]
            return dict(json.loads(store.run(asked, 60, True, **settings).stdout))

        first = Machines(network, ("a0", "a1"), start_cluster, **environment)
        wait_for("two epochs", lambda: "0000 epoch 2/" in first.jobs[0].said(), 400, first.jobs[0])
        first.lose()
        before = {trial["id"]: trial["epochs"] for trial in stands()["trials"]}
        assert 2 <= before["0000"] < EPOCHS

        second = Machines(network, ("b0", "b1"), start_cluster, **environment)
        assert second.jobs[0].wait(500) == 0, second.jobs[0].said()
        assert "SkyPilot" not in second.jobs[0].said()
        # The other machine waited for the first, and ends by itself.
        assert second.jobs[1].wait(60) == 0, second.jobs[1].said()
        ended = stands()["trials"]
        assert [each["state"] for each in ended if not each.get("companion")].count("COMPLETED") == TRIALS
        assert {each["epochs"] for each in ended if each["state"] == "COMPLETED"} == {EPOCHS}
        # The unfinished epoch at most was trained again.
        for trial, epochs in before.items():
            assert not [done for done in range(1, epochs + 1) if f"{trial} epoch {done}/" in second.jobs[0].said()]
