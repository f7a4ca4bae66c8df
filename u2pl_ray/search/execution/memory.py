"""Whose memory was full: what the message of a failure for want of memory says of others beside the training.

Only a setting that finds no room on a machine of its own cannot work. torch names total, free and own memory of a GPU;
Ray, when it kills a worker to save its node, names the node's memory and its largest processes.
"""

import re

_GPU_SLACK = 1.0
"""GiB of a GPU that nobody's tensors hold: contexts, drivers."""
_NODE_SLACK = 0.2
"""Share of a node's memory that the system, and processes too small to be listed, may hold."""

_NUMBER = r"(\d+(?:\.\d+)?) ?"
_SIZE = _NUMBER + r"(bytes|KiB|MiB|GiB)"
_IN_GIB = {"bytes": 2.0**-30, "KiB": 2.0**-20, "MiB": 2.0**-10, "GiB": 1.0}
_GPU = re.compile(rf"total capacity of {_SIZE} of which {_SIZE} is free")
_OWN = re.compile(rf"this process has {_SIZE} memory in use")
_TENSORS = re.compile(rf"{_SIZE} is allocated by PyTorch.*?{_SIZE} is reserved by PyTorch", re.DOTALL)
_NODE = re.compile(rf"was {_NUMBER}GB (?:used )?/ {_NUMBER}GB")
_TRAINING_WORKER = re.compile(r"^(\d+)\s+(\d+(?:\.\d+)?)\s+ray::\w*RayTrainWorker", re.MULTILINE)
_RAY_PROCESS = re.compile(r"^(\d+)\s+(\d+(?:\.\d+)?)\s+ray::", re.MULTILINE)
PROGRAMS, TRAININGS = "other programs", "trainings beside it"


def held_by_others(message: str, workers: int, shared: bool) -> tuple[float, str]:
    """Return how much of a full memory others held, in GiB, and who; 0 where that is little, or is not said.

    Args:
        message: of the failure, as torch or Ray wrote it.
        workers: of the training.
        shared: whether trainings of the search share a GPU; torch does not say whose a process is.
    """
    if (gpu := _GPU.search(message)) is not None:
        own = _OWN.search(message) or _TENSORS.search(message)
        if own is None:
            return 0.0, PROGRAMS
        total, free = _sizes(gpu.groups())
        others = total - free - sum(_sizes(own.groups()))
        return others if others > _GPU_SLACK else 0.0, TRAININGS if shared else PROGRAMS
    if (node := _NODE.search(message)) is not None:
        used, limit = (float(number) for number in node.groups())
        others = used - sum(_processes(_RAY_PROCESS, message))
        if others > _NODE_SLACK * limit:
            return others, PROGRAMS
        # Loader processes bear their worker's name; they are small, as they share its memory.
        sizes = sorted(_processes(_TRAINING_WORKER, message), reverse=True)
        return sum(size for size in sizes[workers:] if size >= sizes[0] / 2), TRAININGS
    return 0.0, PROGRAMS


def _processes(row: re.Pattern[str], message: str) -> list[float]:
    """Return the memory of the processes in Ray's table, in GB, each once: a failure and its cause may both hold it."""
    return [float(size) for size in dict(row.findall(message)).values()]


def _sizes(groups: tuple[str, ...]) -> list[float]:
    """Return the sizes in GiB that a match's pairs of number and unit say."""
    return [float(number) * _IN_GIB[unit] for number, unit in zip(groups[::2], groups[1::2], strict=True)]
