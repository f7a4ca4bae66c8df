"""Which settings get a further seed: the leaders, halved round by round, and the reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior.answer import leading
from u2pl_ray.posterior.fit import Posterior

_BLOCK = 1_000_000
"""Seeds of one purpose; searches with more runs than this do not exist."""


class Purpose(Enum):
    """Name what a training is for. Its seeds overlap with no other purpose's."""

    EXPLORE = 0
    REPLICATE = 1
    CONFIRM = 2
    WORTH = 3


@dataclass(frozen=True)
class Replicate:
    """Hold one training to start: setting `setting` on seed `seed`."""

    setting: str
    seed: int


def seed_for(base: int, purpose: Purpose, number: int = 0) -> int:
    """Return the seed of the `number`-th common draw for a purpose.

    Args:
        base: the search's own seed, 0 .. 999; exploring trials use it as it is.
        purpose: what the training is for.
        number: counted from 0.
    """
    if not 0 <= base < 1000 or not 0 <= number < _BLOCK // 1000:
        raise UserError(f"seed {base} or number {number} is not within 0 .. 999: choose a smaller seed")
    return base + purpose.value * _BLOCK + number * 1000


def next_replicates(
    posterior: Posterior,
    left: int,
    total: int,
    base: int,
    leaders: int = 6,
    purpose: Purpose = Purpose.REPLICATE,
    begun: Sequence[Replicate] = (),
    baselines: Sequence[str] = (),
) -> list[Replicate]:
    """Return the trainings of the present round: the leaders and the reference, on common new seeds.

    The replicates' budget is split evenly over about log2(leaders) rounds; each compares half as many leaders as the
    one before. A setting's n-th replicate is on the n-th common seed, so settings are compared in pairs. Where a budget
    does not fill the last seed, baselines are left out first, then the weaker leaders.

    Args:
        posterior: of all runs so far, with a reference.
        left: trainings left for replicates; at least 1, else the list is empty.
        total: trainings that replicates had at the start.
        base: the search's seed.
        leaders: settings besides the reference in the first round.
        purpose: whose seeds to use.
        begun: earlier replicates; those that failed are not in `posterior`, and would fail again.
        baselines: what joins every seed and is not in `posterior`: other methods.

    Returns:
        at most `left` trainings, in the order in which to start them.
    """
    reference = posterior.reference
    if reference is None:
        raise UserError("there is no setting to compare with: name the reference (the paper's setting)")
    ahead = leading(posterior)
    if left < 1 or not ahead:
        return []
    # Fewer leaders where the budget could not give each one two new seeds in the first round.
    count = max(1, min(leaders, len(ahead), total // 4))
    rounds = max(1, math.ceil(math.log2(count + 1e-9))) if count > 1 else 1
    done = min(rounds - 1, int((total - left) * rounds / max(total, 1) + 1e-9))
    width = max(1, count >> done)
    group = [reference, *ahead[:width]]
    together = [*(posterior.settings[index] for index in group), *baselines]
    each = max(1, round(left / (rounds - done) / len(together)))
    table = posterior.table
    known = [(posterior.settings[i], int(seed)) for i, seed in zip(table.setting, table.seed, strict=True)]
    seeds = _used([*known, *((it.setting, it.seed) for it in begun)], seed_for(base, purpose))
    found = []
    for turn in range(each):
        for setting in together:
            number = seeds.get(setting, 0) + turn
            found.append(Replicate(setting, seed_for(base, purpose, number)))
    return found[:left]


def _used(trainings: Sequence[tuple[str, int]], low: int) -> dict[str, int]:
    """Return how many of a purpose's common seeds each setting has had: one past the last, so none comes twice.

    Args:
        trainings: setting and seed of each.
        low: first seed of the purpose.
    """
    used: dict[str, int] = {}
    for setting, seed in trainings:
        if low <= seed < low + _BLOCK:
            used[setting] = max(used.get(setting, 0), (seed - low) // 1000 + 1)
    return used
