"""`doctor --cluster`: what is said of nodes that differ, and a look at a real cluster of two nodes."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.voc_folder import Folder
from u2pl_ray.doctor.cluster import compare, examine_nodes, judge
from u2pl_ray.doctor.links import pairs
from u2pl_ray.doctor.node import Gpu, Node, data, gpus

GIB = 2**30
WELL = Node({}, (), "", 8, 64 * GIB, 100 * GIB, 8 * GIB, {})
CARD = Gpu("NVIDIA L4", 23034, "550.54")


def problems(node: Node, clock: float | None = 0.0) -> list[str]:
    return [line for well, line in judge("n", node, clock) if well is False]


def test_a_node_that_is_well_is_one_line() -> None:
    said = list(judge("10.0.0.2", replace(WELL, gpus=(CARD, CARD), cuda="12.8"), 0.0))
    assert said == [
        (
            True,
            "10.0.0.2: 8 CPU cores, 64 GiB, 2 GPUs (NVIDIA L4, 22 GiB, driver 550.54; CUDA 12.8); "
            "free: disk 100 GiB, /dev/shm 8.0 GiB",
        )
    ]


@pytest.mark.parametrize(
    ("change", "clock", "words"),
    [
        ({"disk": 3 * GIB}, 0.0, "only 3.0 GiB are free for temporary files"),
        ({"shared": 64 << 20}, 0.0, "/dev/shm has only 0.1 GiB free"),
        ({"gpus": (CARD,)}, 0.0, "has GPUs that torch does not see; compare driver 550.54"),
        ({}, -7.0, "its clock is -7.0 s off"),
        ({}, None, "does not say what time it is"),
    ],
)
def test_what_is_wrong_with_a_node(change: dict[str, object], clock: float | None, words: str) -> None:
    (line,) = problems(replace(WELL, **change), clock)  # type: ignore[arg-type]
    assert line.startswith("n: ")
    assert words in line


def test_a_difference_says_which_node_and_what_the_first_has() -> None:
    nodes = {"a": {"torch": "2.9", "ray": "2.60"}, "b": {"torch": "2.9", "ray": "2.60"}, "c": {"torch": "2.8"}}
    assert list(compare(nodes, "software")) == [
        (False, "c: torch: 2.8; on a: 2.9"),
        (False, "c: ray: missing; on a: 2.60"),
    ]
    del nodes["c"]
    assert list(compare(nodes, "software")) == [(True, "software: the same on 2 nodes (2 compared)")]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_node_is_in_a_pair(count: int) -> None:
    names = [str(number) for number in range(count)]
    found = pairs(names)
    assert {name for pair in found for name in pair} == set(names)
    assert len(found) == (count + 1) // 2
    assert count == 1 or all(first != second for first, second in found)


@pytest.mark.parametrize("change", ["list", "image", "label", "missing", "root"])
def test_another_data_set_has_other_hashes(voc: Folder, tmp_path: Path, change: str) -> None:
    other = Folder(tmp_path / "other")
    shutil.copytree(voc.root, other.root)
    before = data(other.config())
    assert before == data(voc.config())
    assert len(before) == 8
    if change == "list":
        other.split("ImageSets/Segmentation/val.txt", ["t0"])
    elif change == "image":
        other.write("l0", 50, 60, seed=9)
    elif change == "label":
        shutil.copy(other.label("l1"), other.label("l0"))
    elif change == "missing":
        other.image("u0").unlink()
    else:
        shutil.rmtree(other.root)
    after = data(other.config())
    assert after != before
    assert {"missing": "u0", "root": "there is no such folder"}.get(change, "") in " ".join(after.values())


def test_a_driver_s_list_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "NVIDIA L4, 23034, 550.54"\necho "NVIDIA L4, [N/A], 550.54"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpus() == (CARD, Gpu("NVIDIA L4", 0, "550.54"))
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpus() == ()


@pytest.fixture
def two_nodes() -> Iterator[None]:
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 0, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    cluster.add_node(node_ip_address="127.0.0.2", **small)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow  # four processes that import torch
@pytest.mark.ray
def test_two_nodes(two_nodes: None, voc: Folder, tmp_path: Path) -> None:
    found = list(examine_nodes(str(tmp_path / "new" / "storage"), voc.config()))
    assert [line for well, line in found if well is False] == []
    said = "\n".join(line for _, line in found)
    for words in (
        "CPU cores",
        "software: the same on 2 nodes",
        "data: the same on 2 nodes (8 compared)",
        f"storage: what each node writes to {tmp_path} the next one reads",
        "a collective of 64 MiB at",
    ):
        assert words in said
    assert not list(tmp_path.glob(".u2pl-ray*"))
    assert not (tmp_path / "new").exists()

    file = tmp_path / "file"
    file.touch()
    found = [line for well, line in examine_nodes(str(file), None) if well is False]
    assert len(found) == 2
    assert all(f"cannot write to {file}: NotADirectoryError" in line for line in found)
