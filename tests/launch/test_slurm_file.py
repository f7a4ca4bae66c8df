"""launch/slurm/search.sbatch before Ray is up: which address its head gets, and how a job ends whose head cannot start.

The file itself runs, in a network of its own; of Slurm there are its variables alone. All of Slurm: tests/cluster.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "launch" / "slurm" / "search.sbatch"
_ALONE = ("unshare", "--map-root-user", "--net", "--mount", "bash", "-ec")
_HEAD_FAILS = "#!/bin/sh\necho 'ValueError: Malformed host' >&2\nexit 1\n"


@pytest.fixture
def started(tmp_path: Path) -> "Started":
    try:
        subprocess.run([*_ALONE, "ip link set lo up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces are not permitted, or ip is not installed")
    return Started(tmp_path)


class Started:
    """The job file on a node on which `ray start` fails.

    Args:
        folder: for the node's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, programs = folder, folder / "venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
        (programs / "python").symlink_to(sys.executable)
        (programs / "ray").write_text(_HEAD_FAILS)
        (programs / "ray").chmod(0o755)
        (folder / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 node\n")

    def __call__(self, network: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the file after shell commands that set its network up."""
        settings = {"VENV": str(self.folder / "venv"), "HOME": str(self.folder), "SLURM_JOB_ID": "7"}
        settings |= {"SLURMD_NODENAME": "node", "SLURM_CPUS_PER_TASK": "1", "SLURM_NNODES": "2"}
        script = f"mount --bind {self.folder}/hosts /etc/hosts; {network}\nexec bash {FILE} my.yaml --name mine"
        variables = {"PATH": os.environ["PATH"], **settings, **environment}
        return subprocess.run([*_ALONE, script], env=variables, capture_output=True, text=True, timeout=120)


_ADDRESS = """ip link set lo up; ip link add eth9 type veth peer name eth8
ip addr add 10.99.0.5/24 dev eth9; ip link set eth9 up"""


def test_a_node_that_knows_itself_as_loopback_has_the_address_of_its_network(started: Started) -> None:
    ended = started(_ADDRESS)
    assert "Ray's head did not start at 10.99.0.5:20007" in ended.stderr, ended


def test_a_head_that_does_not_start_is_no_lost_node(started: Started) -> None:
    ended = started(_ADDRESS, HEAD_ADDRESS="10.99.0.6")
    assert ended.returncode == 1, ended  # 75 would have the job requeued, again and again
    assert ended.stderr.splitlines()[-1] == (
        "error: Ray's head did not start at 10.99.0.6:20007, see above and /tmp/ray-7; if that is not node's address, "
        "set HEAD_ADDRESS"
    )
    assert list(started.folder.glob(".*.token")) == []


def test_a_node_without_an_address_is_told(started: Started) -> None:
    ended = started("ip link set lo up")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: node has no address that other nodes reach; set HEAD_ADDRESS\n"
