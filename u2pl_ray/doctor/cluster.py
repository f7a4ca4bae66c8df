"""Look at every node of the connected cluster: is it what the others are, and does it reach them?"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from u2pl_ray.config.schema import Config
from u2pl_ray.doctor.links import answers, collectives, exchange
from u2pl_ray.doctor.node import Finding, Look, Node

_GIB = 2**30
_LEAST_DISK = 5 * _GIB
_LEAST_SHARED = _GIB
_CLOCK = 2.0
"""Largest difference of clocks, in seconds, that nothing depends on: a lease's owner is given up after a minute."""


def examine_nodes(storage: str | None, config: Config | None) -> Iterator[Finding]:
    """Yield what is well and what is wrong with the nodes of the connected cluster, one line each.

    Args:
        storage: absolute folder or URI; None: cannot be used, which was said already.
        config: whose data set to compare; None: of none.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    here = ray.get_runtime_context().get_node_id()
    ids = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
    # This one first: the others are compared with it.
    ids = dict(sorted(ids.items(), key=lambda each: (each[1] != here, each[0])))
    actor = ray.remote(num_cpus=0, max_restarts=0)(Look)
    lookers = {address: actor.options(scheduling_strategy=On(id, soft=False)).remote() for address, id in ids.items()}
    sent = None if config is None else config.model_dump(mode="json")
    nodes, lost = answers({address: looker.describe.remote(sent) for address, looker in lookers.items()})
    yield from ((False, f"{address}: {why}") for address, why in lost.items())
    lookers = {address: lookers[address] for address in nodes}
    for address, node in nodes.items():
        yield from judge(address, node, _clock(lookers[address]))
    yield from compare({address: node.software for address, node in nodes.items()}, "software")
    if config is not None:
        yield from compare({address: node.data for address, node in nodes.items()}, "data")
    if storage is not None:
        yield from exchange(lookers, storage)
    yield from collectives({address: ids[address] for address in nodes}, nodes)


def judge(address: str, node: Node, clock: float | None) -> Iterator[Finding]:
    """Yield a line about a node, and one for each thing that is wrong with it.

    Args:
        address: its address.
        node: what it is.
        clock: how far its clock is ahead of this machine's, in seconds; None: it did not say.
    """
    kinds = {f"{gpu.name}, {gpu.memory / 1024:.0f} GiB, driver {gpu.driver}" for gpu in node.gpus}
    gpus = f"{len(node.gpus)} GPUs ({'; '.join(sorted(kinds))}; CUDA {node.cuda or 'none'})" if kinds else "no GPU"
    shared = "no /dev/shm" if node.shared is None else f"/dev/shm {node.shared / _GIB:.1f} GiB"
    sizes = f"{node.cores} CPU cores, {node.memory / _GIB:.0f} GiB, {gpus}"
    yield True, f"{address}: {sizes}; free: disk {node.disk / _GIB:.0f} GiB, {shared}"
    if node.gpus and not node.cuda:
        yield (
            False,
            f"{address}: has GPUs that torch does not see; compare driver {node.gpus[0].driver} with torch's CUDA",
        )
    if node.disk < _LEAST_DISK:
        yield False, f"{address}: only {node.disk / _GIB:.1f} GiB are free for temporary files, where checkpoints begin"
    if node.shared is not None and node.shared < _LEAST_SHARED:
        yield False, f"{address}: /dev/shm has only {node.shared / _GIB:.1f} GiB free: loader workers need more"
    if clock is None:
        yield False, f"{address}: does not say what time it is"
    elif abs(clock) > _CLOCK:
        yield False, f"{address}: its clock is {clock:+.1f} s off; set up NTP (chrony) there and here"


def compare(nodes: Mapping[str, Mapping[str, str]], what: str) -> Iterator[Finding]:
    """Yield a line for every value in which a node differs from the first one; one line if none does.

    Args:
        nodes: values by name, by address.
        what: they are.
    """
    if not nodes:
        return
    first, *others = nodes
    differences = 0
    for name in dict.fromkeys(name for values in nodes.values() for name in values):
        expected = nodes[first].get(name, "missing")
        for address in others:
            if (found := nodes[address].get(name, "missing")) != expected:
                differences += 1
                yield False, f"{address}: {name}: {found}; on {first}: {expected}"
    if not differences:
        yield True, f"{what}: the same on {len(nodes)} node{'s' * (len(nodes) != 1)} ({len(nodes[first])} compared)"


def _clock(looker: Any) -> float | None:
    """Return how far a node's clock is ahead, by the fastest of some answers; within that answer's time it is 0."""
    found = []
    for _ in range(5):
        before = time.time()
        came, _ = answers({"": looker.now.remote()})
        after = time.time()
        if not came:
            return None
        there = came[""]
        found.append((after - before, there - (before + after) / 2))
    taken, ahead = min(found)
    return ahead if abs(ahead) > taken else 0.0
