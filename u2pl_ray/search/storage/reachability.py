"""Check that every node of the cluster reaches a storage: a node reads checkpoints that another one wrote."""

import tempfile
import uuid
from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.storage.object_store import Objects
from u2pl_ray.search.storage.place import existing
from u2pl_ray.system.stores import is_uri

_SECONDS = 120.0


def check_reach(storage: str) -> str:
    """Check that every node of the connected cluster reaches a storage; return a sentence that says so.

    Raises:
        UserError: some nodes do not; it names them.
    """
    import ray

    if blind := unreached(storage):
        raise UserError(
            f"--storage-path {storage}: not seen from node{'s' * (len(blind) > 1)} {', '.join(blind)}; use a folder "
            "that all nodes share, or s3://bucket/prefix (with the environment that reaches it on each node)"
        )
    return f"{sum(node['Alive'] for node in ray.nodes())} nodes, all of which reach the storage"


def unreached(storage: str) -> list[str]:
    """List the addresses of the connected cluster's nodes that do not see a file this process writes to `storage`.

    Args:
        storage: a URI, or the absolute path of a folder, which need not exist yet.

    Raises:
        UserError: this process cannot write there.
    """
    mark = f".u2pl-ray.{uuid.uuid4().hex[:8]}"
    if is_uri(storage):
        objects = Objects(storage)
        objects.check()
        objects.write(mark, b"")
        try:
            return _blind(storage, mark)
        finally:
            objects.delete(mark)
    try:
        with tempfile.NamedTemporaryFile(prefix=f"{mark}.", dir=existing(Path(storage))) as file:
            return _blind(str(Path(file.name).parent), Path(file.name).name)
    except OSError as error:
        raise UserError(f"--storage-path {storage}: cannot be written ({error.strerror})") from None


def _blind(storage: str, name: str) -> list[str]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def sees() -> bool:
        return _sees(storage, name)

    task = ray.remote(num_cpus=0, max_retries=0)(sees)
    asked = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_SECONDS)
    return [address for address, answer in asked.items() if not _yes(answer)]


def _yes(answer: object) -> bool:
    import ray

    try:
        return bool(ray.get(answer, timeout=0))
    except Exception:  # no answer, or the node lacks what it needs to reach the storage
        return False


def _sees(storage: str, name: str) -> bool:
    return Objects(storage).exists(name) if is_uri(storage) else (Path(storage) / name).exists()
