"""launch/cloud/onprem.yaml for real: `ray up`, `ray exec` of a search, `ray down`, over sshd on hosts of their own."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.hosts import Host, Job, Network, wait_for
from tests.launch.environment import borrowed_packages
from tests.launch.manifests import LAUNCH
from tests.train.conftest import TINY

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="no sshd (apt-get install openssh-server rsync)"),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="no rsync (apt-get install rsync)"),
]

ROOT = Path(__file__).parents[2]
SEARCH = [
    *("quickstart", *TINY, "workers=1", "train.epochs=2", "train.steps_per_epoch=1", "method.alpha.end=0.1"),
    *("--space", "temperature", "--trials", "2", "--name", "mine", "--baseline", "none", "--resume-if-exists"),
]


def serve_ssh(host: Host, key: Path) -> Job:
    """Start sshd on a host; whoever logs in finds the host's own home, and a Python.

    ssh and sshd look up homes in /etc/passwd, whatever HOME says: the host gets one of its own.
    """
    home = host.folder / "home"
    users = host.folder / "passwd"
    users.write_text(re.sub(r"(?m)^(root:.*):[^:]*:[^:]*$", rf"\1:{home}:/bin/bash", Path("/etc/passwd").read_text()))
    host.run(["mount", "--bind", users, "/etc/passwd"])
    (home / ".profile").write_text(f"export PATH={Path(sys.executable).parent}:$PATH RAY_USAGE_STATS_ENABLED=0\n")
    (home / ".bashrc").touch()
    settings = host.folder / "sshd_config"
    settings.write_text(
        f"HostKey {key}\nAuthorizedKeysFile {key}.pub\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin prohibit-password\nMaxStartups 100\n"
        f"SetEnv PIP_NO_BUILD_ISOLATION=false PIP_NO_DEPS=1 PIP_NO_INDEX=1\n"
    )
    return host.start(["/usr/sbin/sshd", "-D", "-e", "-f", settings], "sshd.log")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A laptop and three machines with sshd. Each has its own /run/sshd, which all of them share here."""
    Path("/run/sshd").mkdir(exist_ok=True)
    with Network(tmp_path / "net", ["laptop", "head", "one", "two"]) as network:
        yield [network.add(name) for name in ("laptop", "head", "one", "two")]


def processes(machines: list[Host]) -> str:
    """All their command lines."""
    return "\n".join(machine.run(["ps", "axww", "-o", "args"]).stdout for machine in machines)


def test_up_exec_down(hosts: list[Host], tmp_path: Path) -> None:
    laptop, *machines = hosts
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for machine in machines:
        borrowed_packages(machine.folder / "home" / "venv")
        serve_ssh(machine, key)
    cluster = yaml.safe_load((LAUNCH / "cloud/onprem.yaml").read_text())
    cluster["provider"] |= {"head_ip": machines[0].address, "worker_ips": [each.address for each in machines[1:]]}
    cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(key)}
    file = laptop.folder / "onprem.yaml"
    file.write_text(yaml.safe_dump(cluster))
    # From the top of the repository, as its README says; `env --chdir` of `Host.enter` comes first.
    at_top: list[str | Path] = ["env", f"--chdir={ROOT}"]
    laptop.run(["ray", "get-auth-token", "--generate"])
    token = (laptop.folder / "home/.ray/auth_token").read_text()

    up = laptop.run([*at_top, "ray", "up", "-y", "--no-config-cache", file], 240)
    assert token not in up.stdout + up.stderr
    storage = tmp_path / "storage"
    search = (
        " ".join([f"RAY_ADDRESS=auto WANDB_MODE=offline U2PL_RAY_CACHE={tmp_path}/cache u2pl-ray search", *SEARCH])
        + f" --storage-path {storage}"
    )
    ask = [*at_top, "ray", "exec", "--no-config-cache", file]
    alive = "RAY_ADDRESS=auto python -c 'import ray; ray.init(log_to_driver=False); print(len(ray.nodes()), \"nodes\")'"
    try:
        wait_for("three nodes", lambda: "3 nodes" in laptop.run([*ask, alive], 60, check=False).stdout, 200)
    except AssertionError as error:
        logs = (machines[0].folder / "ray").glob("session_2*/logs/monitor*")
        raise AssertionError(f"{error} {[log.read_text()[-3000:] for log in logs]}") from None
    refused = laptop.run([*ask, f"RAY_AUTH_MODE=disabled {search}"], 120, check=False)
    assert "token" in refused.stdout + refused.stderr, refused.stdout[-3000:]
    assert not storage.exists()

    said = laptop.run([*ask, search], 240).stdout
    assert "next: u2pl-ray train" in said
    again = laptop.run([*ask, search], 120).stdout
    assert "mine" in again
    records = [json.loads(each.read_text().splitlines()[-1]) for each in storage.glob("mine/trials/*/epochs.jsonl")]
    assert [record["training_iteration"] for record in records] == [2, 2]
    assert "gcs_server" in processes(machines)
    assert token not in processes(machines)

    laptop.run([*at_top, "ray", "down", "-y", file], 120)
    # Ray stops the head; the others end by themselves when they have not reached it for a minute.
    wait_for("no Ray", lambda: "raylet" not in processes(machines), 150)
