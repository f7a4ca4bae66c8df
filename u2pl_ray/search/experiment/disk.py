"""How much disk a search takes, before it starts."""

import math

from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.largest import largest_bank
from u2pl_ray.search.experiment.options import Options
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.trials.warmups import one_warmup
from u2pl_ray.system.stores import is_uri

_A_SEED = 4
"""Replicates on one seed, about: the paper's setting, a baseline, leaders."""


def checkpoints(config: Config, space: Space, options: Options, concurrent: int, storage: str) -> list[str]:
    """Describe the largest disk use of checkpoints; no line if the number of classes is not known yet.

    Args:
        config: the trials start from.
        space: what is searched.
        options: say how many finished trials keep theirs.
        concurrent: trials at once.
        storage: the folder or URI; in a folder, failed trials keep theirs for a retry.
    """
    if not config.data.classes:
        return []
    from u2pl_ray.train.footprint import bank_bytes, checkpoint_bytes  # builds the network

    largest = largest_bank(config, space)
    size, bank, each = checkpoint_bytes(largest), bank_bytes(largest), largest.train.keep_checkpoints
    finished = min(options.keep, options.trials or options.keep)
    # One trial more than run at once, as one has just ended; one checkpoint more, as one is being written.
    broken = 0 if is_uri(storage) else finished
    most = (finished + broken + len(options.baselines)) * each + (concurrent + 1) * (each + 1)
    keys = f"at most {largest.method.memory_bank.capacity} keys of {largest.model.representation_dim} numbers a class"
    of_which = f" once the memory bank is full ({bank / 1e9:.2g} GB of it: {keys})" if bank else ""
    beside = f", and of {' and '.join(options.baselines)}" if options.baselines else ""
    kept = f"{each} of each running trial and of the best {finished} finished{beside}"
    kept += f", and of {broken} that broke and may run again" if broken else ""
    warmups = _warmups(config, space, options)
    if warmups:
        most, kept = most + warmups, f"{kept}, and about {warmups} of shared warm-ups"
    return [
        f"checkpoints  {size / 1e9:.2g} GB each{of_which}, at most about {most * size / 1e9:.2g} GB at a time ({kept})"
    ]


def _warmups(config: Config, space: Space, options: Options) -> int:
    """Return how many shared warm-ups are kept, one a seed; 0 where trials share none."""
    if options.trials == 1 or not one_warmup(config, (path for path in space.parameters if path != "seed")):
        return 0
    replicates = options.budget.replicating * (options.budget.trainings or options.trials or 0)
    return 1 + math.ceil(replicates / _A_SEED)
