"""`doctor --cluster` on four hosts: all well, and each thing that can be wrong with one, which is named."""

import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.killing import CONFIG
from tests.cluster.hosts import ROOT, Host, Job, Network
from tests.cluster.test_joined import SMALL
from tests.data.voc_folder import Folder

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "d" * 64}
NAMES = ("n1", "n2", "n3", "n4")


def write_data(folder: Path) -> None:
    """Write a small data set, and my.yaml for it, into a folder."""
    data = Folder.new(folder / "data")
    for file, letter in {"labeled.txt": "l", "unlabeled.txt": "u", "ImageSets/Segmentation/val.txt": "v"}.items():
        data.split(file, [f"{letter}{index}" for index in range(3)])
        for index in range(3):
            data.write(f"{letter}{index}", 40, 48, ord(letter) + index)
    config = yaml.safe_load(CONFIG)
    config["data"] = {"root": str(data.root), "crop": 32, "test": None}
    config["train"] |= {"unlabeled_batch_size": 4}
    (folder / "my.yaml").write_text(yaml.safe_dump(config))


def join(hosts: list[Host], **more: dict[str, str]) -> list[Job]:
    """Start Ray on all hosts, the head on the first one.

    Args:
        hosts: all of them.
        more: settings of single hosts, by name.
    """
    head = hosts[0].address
    start = ["ray", "start", "--block", "--disable-usage-stats", "--num-cpus=1"]
    jobs = []
    for host in hosts:
        role = (
            ["--head", "--port=6379", "--include-dashboard=false"] if host is hosts[0] else [f"--address={head}:6379"]
        )
        command = [*start, f"--node-ip-address={host.address}", *role]
        wait = ["bash", "-c", f'until (echo > /dev/tcp/{head}/6379) 2> /dev/null; do sleep 0.3; done; exec "$@"', "-"]
        first = [] if host is hosts[0] else wait
        jobs.append(host.start([*first, *command], "ray.log", **TOKEN, **SMALL, **more.get(host.name, {})))
    return jobs


def examine(head: Host, shared: Path) -> tuple[int, str]:
    """Run the doctor on the head once all nodes have joined; return its exit code and output."""
    settings = {"RAY_ADDRESS": f"{head.address}:6379", "U2PL_RAY_NODES": "4", "WANDB_MODE": "offline", **TOKEN}
    command = ["u2pl-ray", "doctor", str(shared / "my.yaml"), "--cluster", "--storage-path", str(shared / "searches")]
    done = head.run(command, 200, False, **settings)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_all_is_well_and_then_it_is_not(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "searches").mkdir(parents=True)
    write_data(shared)
    with Network(tmp_path / "well", NAMES) as network:
        hosts = [network.add(name) for name in NAMES]
        join(hosts)
        code, said = examine(hosts[0], shared)
        assert code == 0, said
        for words in (
            "software: the same on 4 nodes",
            "data: the same on 4 nodes (6 compared)",
            f"storage: what each node writes to {shared / 'searches'} the next one reads",
            "10.77.0.1 and 10.77.0.2: a collective of 64 MiB at",
            "10.77.0.3 and 10.77.0.4: a collective of 64 MiB at",
        ):
            assert words in said
        assert not list((shared / "searches").iterdir())

    older = tmp_path / "older"
    shutil.copytree(ROOT / "u2pl_ray", older / "u2pl_ray")
    with (older / "u2pl_ray" / "rng.py").open("a") as file:
        file.write("# an older state of the source\n")
    shutil.copytree(shared / "data", tmp_path / "data")
    (tmp_path / "data" / "ImageSets" / "Segmentation" / "val.txt").write_text("v0\nv1\n")
    with Network(tmp_path / "ill", NAMES) as network:
        _, n2, n3, n4 = hosts = [network.add(name) for name in NAMES]
        n2.run(["mount", "--bind", tmp_path / "data", shared / "data"])
        n2.run(["mount", "-o", "remount,size=500m", "/dev/shm"])
        n3.run(["mount", "-t", "tmpfs", "tmpfs", shared / "searches"])
        n3.run(["ip", "route", "add", "blackhole", n4.address])
        join(hosts, n4={"PYTHONPATH": str(older)})
        code, said = examine(hosts[0], shared)
    assert code == 1, said
    wrong = [line.removeprefix("  !!  ") for line in said.splitlines() if line.startswith("  !!  ")]
    expected = (
        "10.77.0.2: /dev/shm has only 0.",
        "10.77.0.4: u2pl_ray's files: ",
        "10.77.0.2: data.val=ImageSets/Segmentation/val.txt: ",
        f"10.77.0.3: cannot read what 10.77.0.2 wrote to {shared / 'searches'}: it is not there",
        f"10.77.0.4: cannot read what 10.77.0.3 wrote to {shared / 'searches'}: it is not there",
        "10.77.0.3 and 10.77.0.4: no collective (gloo between CPUs): ",
    )
    for words in expected:
        assert [line for line in wrong if line.startswith(words)], f"{words!r} is not in {said}"
    assert not [line for line in wrong if line.startswith("10.77.0.1")], said
