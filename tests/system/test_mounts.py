from pathlib import Path

import pytest

from u2pl_ray.system.mounts import file_system, in_memory, on_network

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /home rw shared:5 master:2 - nfs4 server:/home rw,vers=4.2
31 30 0:31 / /home/me/scratch rw - xfs /dev/sdb rw
32 22 0:32 / /data rw - autofs systemd-1 rw
33 22 0:33 / /data rw - lustre 10.0.0.1@tcp:/fs rw
34 22 0:34 / /mnt/my\\040bucket rw - fuse.s3fs s3fs rw
35 22 0:35 / /run rw - tmpfs tmpfs rw
36 22 0:36 / /homes rw - overlay overlay rw
a line of another kind
"""
"""As in proc(5): an escaped blank, a point mounted twice, optional fields from none to two, names that begin alike."""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/data", "ext4", False),
        ("/home/me/data", "nfs4", True),
        ("/home/me/scratch", "xfs", False),
        ("/home/me/scratch/deep/er", "xfs", False),
        ("/homes/me", "overlay", False),
        ("/data/voc", "lustre", True),
        ("/mnt/my bucket/set", "fuse.s3fs", True),
        ("/run/u2pl", "tmpfs", False),
    ],
)
def test_types_by_mountinfo(path: str, kind: str, network: bool) -> None:
    assert file_system(Path(path), MOUNTS) == kind
    assert on_network(kind) is network
    assert in_memory(kind) is (kind == "tmpfs")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/home/me")
    assert file_system(tmp_path / "link" / "data", MOUNTS) == "nfs4"


def test_this_machine() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/proc/self"), "") == ""


@pytest.mark.parametrize("kind", ["nfs", "cifs", "smb3", "beegfs", "ceph", "9p", "fuse.sshfs", "fuse.gcsfuse"])
def test_network_file_systems(kind: str) -> None:
    assert on_network(kind)


@pytest.mark.parametrize("kind", ["", "ext4", "xfs", "btrfs", "zfs", "overlay", "fuseblk", "fuse.fuse-overlayfs"])
def test_disks(kind: str) -> None:
    assert not on_network(kind)
