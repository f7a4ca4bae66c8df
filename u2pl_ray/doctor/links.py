"""What joins the nodes of a cluster: do they answer, read what others write, and sum over the network?"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.doctor.collective import SECONDS, start_pair
from u2pl_ray.doctor.node import Finding, Node

_SLOW = 1e8
"""Bytes a second between workers: below 1 Gbit/s, summing the gradients takes longer than most steps."""


def answers(asked: Mapping[str, Any], seconds: float = SECONDS) -> tuple[dict[str, Any], dict[str, str]]:
    """Wait for answers; return those that came, and why the others did not, by the same names.

    Args:
        asked: Ray's references.
        seconds: to wait for all of them.
    """
    import ray

    came, why = {}, {}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    for name, reference in asked.items():
        try:
            came[name] = ray.get(reference, timeout=0)
        except ray.exceptions.GetTimeoutError:
            why[name] = f"no answer within {seconds:g} s"
        except Exception as error:  # whatever was raised there
            why[name] = _last_line(error)
    return came, why


def exchange(lookers: Mapping[str, Any], storage: str) -> Iterator[Finding]:
    """Let every node write a file into the storage, and the next node read it; yield what came of it.

    Args:
        lookers: an actor on each node, by address.
        storage: folder or URI.
    """
    from u2pl_ray.search.storage.object_store import Objects
    from u2pl_ray.search.storage.place import existing
    from u2pl_ray.system.stores import is_uri

    place = storage if is_uri(storage) else str(existing(Path(storage)))
    marks = {address: f".u2pl-ray.{uuid.uuid4().hex[:8]}" for address in lookers}
    try:
        wrote, failed = answers({each: looker.write.remote(place, marks[each]) for each, looker in lookers.items()})
        yield from ((False, f"{each}: cannot write to {place}: {why}") for each, why in failed.items())
        reader = dict(zip(lookers, [*list(lookers)[1:], *list(lookers)[:1]], strict=True))
        read, lost = answers({each: lookers[reader[each]].reads.remote(place, marks[each]) for each in wrote})
        unread = {**lost, **{each: "it is not there" for each, there in read.items() if not there}}
        for each, why in unread.items():
            yield False, f"{reader[each]}: cannot read what {each} wrote to {place}: {why}"
        if not failed and not unread:
            yield True, f"storage: what each node writes to {place} the next one reads"
    finally:
        for mark in marks.values():
            with suppress(OSError):  # said already
                if is_uri(place):
                    Objects(place).delete(mark)
                else:
                    (Path(place) / mark).unlink(missing_ok=True)


def collectives(ids: Mapping[str, str], nodes: Mapping[str, Node]) -> Iterator[Finding]:
    """Let every node take part in a collective with another one, a lone node with itself; yield what came of it.

    Args:
        ids: Ray's ids of the nodes, by address.
        nodes: what they are.
    """
    import ray

    if not ids:
        return
    free = ray.available_resources().get("GPU", 0) == ray.cluster_resources().get("GPU", 0)
    each = 1 if len(ids) > 1 else 2
    gpu = free and all(node.cuda and len(node.gpus) >= each for node in nodes.values())
    if not free:
        yield None, "GPUs are in use: the collective below is one between CPUs"
    for first, second in pairs(list(ids)):
        ends = start_pair((ids[first], ids[second]), gpu)
        try:
            (meeting, why) = answers({"": ends[0].listen.remote()})
            if not why:
                speed, why = answers({str(k): end.measure.remote(meeting[""], gpu) for k, end in enumerate(ends)})
            kind = "NCCL between GPUs" if gpu else "gloo between CPUs"
            if why:
                yield False, f"{first} and {second}: no collective ({kind}): {'; '.join(dict.fromkeys(why.values()))}"
                continue
            slowest = min(speed.values())
            fast = f"{first} and {second}: a collective of 64 MiB at {slowest / 1e9:.2f} GB/s ({kind})"
            yield (True, fast) if slowest >= _SLOW else (None, f"{fast}: slow for gradients")
        finally:
            for end in ends:
                ray.kill(end)


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Return pairs that hold every name: neighbours, the last one of an odd number with the first, a lone one twice."""
    if len(names) == 1:
        return [(names[0], names[0])]
    odd = [(names[-1], names[0])] if len(names) % 2 else []
    return [*zip(names[::2], names[1::2], strict=False), *odd]


def _last_line(error: BaseException) -> str:
    """Return the cause of an error that Ray passes on, in one line."""
    cause = getattr(error, "cause", None) or error
    said = ([line.strip() for line in str(cause).splitlines() if line.strip()] or [""])[-1]
    return said if isinstance(cause, UserError) else f"{type(cause).__name__}: {said}"
