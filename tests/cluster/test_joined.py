"""Machines joined by hand, with the commands of launch/local/README.md: one is cut off, one loses its power.

The trainings are real; each spans two hosts.
"""

import re
from pathlib import Path

import pytest

from tests.cluster.documents import commands
from tests.cluster.hosts import ROOT, Host, Job, Network, wait_for
from tests.cluster.tiny import EPOCHS, epochs_on_record, newest_checkpoint, records, write_files
from u2pl_ray.search.study.trial_record import State

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

README = ROOT / "launch" / "local" / "README.md"
HEALTH = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
SMALL = {"RAY_worker_niceness": "0", "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "100000000"}
SECRETS = {"WANDB_API_KEY": "5ec7e7" * 6 + "5ec7", "AWS_SECRET_ACCESS_KEY": "a-secret-access-key"}


class Joined:
    """A cluster on hosts, made with the commands of the document.

    Args:
        network: of the hosts.
        shared: the folder that all see.
    """

    def __init__(self, network: Network, shared: Path) -> None:
        self.network, self.shared = network, shared
        self.head = network.add("n1")

    def command(self, before: str, host: Host, **more: str) -> list[str]:
        """Return the document's commands that follow a text, in a shell that is set up as it says."""
        here = {"192.168.1.10": self.head.address, "/shared": str(self.shared), "192.168.1.11": host.address, **more}
        here |= {"my.yaml": str(self.shared / "my.yaml")}
        setup = commands(README, "**In every shell**", here)
        return ["bash", "-euc", f"{setup}\n{commands(README, before, here)}"]

    def token(self) -> str:
        """Return the cluster's token."""
        return (self.shared / "ray.token").read_text().strip()

    def join(self, host: Host) -> None:
        """Join a host: the head with no CPU of its own, others with one."""
        first = host is self.head
        script = self.command("**On the first machine**" if first else "**On each further machine**", host)
        script[2] = f"{script[2].rstrip()} --num-cpus={0 if first else 1}"
        host.run(script, 120, True, **HEALTH, **SMALL)


def test_a_host_is_cut_off_and_another_loses_its_power(tmp_path: Path) -> None:
    """Every trial ends with all its epochs, and of each loss at most the unfinished epoch is trained again."""
    shared = tmp_path / "shared"
    shared.mkdir()
    write_files(shared)
    with Network(tmp_path / "hosts") as network:
        cluster = Joined(network, shared)
        head = cluster.head
        head.run(["bash", "-euc", commands(README, "**Once**", {"/shared": str(shared)})])
        cluster.join(head)
        others = [network.add(name) for name in ("n2", "n3", "n4")]
        for host in others[:2]:
            cluster.join(host)
        head.run(cluster.command("look whether all is well", head), 120)
        here = {"paper": str(shared / "space.yaml"), "--trials 50": "--trials 2 --baseline none --scheduler none"}
        script = cluster.command("where the search stands", head, **here)
        job = head.start(script, "search.log", U2PL_RAY_CACHE=str(shared / "cache"), **SECRETS)
        experiment = shared / "searches" / "mine"

        def lose(trial: str, what: str) -> None:
            """Wait for the trial's second epoch, do it, and see that no finished epoch is lost."""
            wait_for(f"{trial} at work", lambda: epochs_on_record(experiment).get(trial, 0) >= 2, 240, job)
            known, notes = epochs_on_record(experiment)[trial], losses(job)
            if what == "cut":
                network.cut(others[1])
                cluster.join(others[2])
            else:
                others[0].kill()
                network.mend(others[1])
                cluster.join(others[1])
            wait_for(f"{trial} after {what}", lambda: losses(job) > notes, 150, job)
            assert newest_checkpoint(experiment, trial) >= known

        lose("0000", "cut")
        assert_no_secrets(tmp_path, cluster.token(), [head, others[0]])
        lose("0001", "power")
        assert job.wait(300) == 0, job.said()
        assert_no_secrets(tmp_path, cluster.token(), [head])
    ended = [(record.state, sorted(record.values)) for record in records(experiment)]
    assert ended == [(State.COMPLETED, list(range(1, EPOCHS + 1)))] * 2
    assert epochs_on_record(experiment) == {"0000": EPOCHS, "0001": EPOCHS}


def losses(job: Job) -> int:
    """Return how often a trial went on after a loss: of a worker, or of its own process, which is on any host."""
    return len(re.findall("goes on after epoch|lost its process and is started again", job.said()))


def assert_no_secrets(folder: Path, token: str, hosts: list[Host]) -> None:
    """Look for the token and the user's secrets in all that was written, and in what `ps` shows."""
    secrets = {"token": token, **SECRETS}
    shown = "".join(host.run(["ps", "-eo", "args"]).stdout for host in hosts)
    assert "raylet" in shown
    assert not [name for name, secret in secrets.items() if secret in shown]
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "ray.token"]
    assert any("/logs/" in str(file) for file in files)
    assert any(".wandb" in file.name for file in files)
    for file in files:
        content = file.read_bytes()
        assert not [name for name, secret in secrets.items() if secret.encode() in content], file
