"""What kind of file system a path lies on (Linux)."""

import os
import re
from pathlib import Path

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "beegfs", "ceph", "gpfs", "wekafs", "panfs", "pvfs2", "afs"),
    *("9p", "glusterfs", "ocfs2", "gfs2"),
}
_FUSE_ON_DISK = {"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.gocryptfs", "fuse.encfs", "fuse.bindfs"}
"""Of FUSE, which is most often a network's (sshfs, s3fs, gcsfuse, GlusterFS), those that lie over a local disk."""
_MEMORY = {"tmpfs", "ramfs"}


def file_system(path: Path, mounts: str | None = None) -> str:
    """Return the type of a path's file system, such as ext4 or nfs4; empty where it is not known.

    Args:
        path: it, or the part of it that is not there yet, may be below a link.
        mounts: text as of /proc/self/mountinfo (proc(5)), which is read by default.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:  # not Linux
            return ""
    place = os.path.realpath(path)
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        within = place == point or place.startswith(point.rstrip("/") + "/")
        if within and len(point) >= best:  # a later mount on the same point covers the earlier
            best, kind = len(point), after.split(" ")[0]
    return kind


def on_network(kind: str) -> bool:
    """Return whether a type of file system is served over a network."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _FUSE_ON_DISK)


def in_memory(kind: str) -> bool:
    """Return whether a type of file system keeps its files in memory."""
    return kind in _MEMORY
