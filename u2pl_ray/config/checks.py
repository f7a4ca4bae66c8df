"""Checks that need the number of classes, which only the data set knows."""

from collections.abc import Sequence

from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.method import ContrastiveConfig
from u2pl_ray.config.schema import Config

PAPER_RANKS = (3, 20)
"""low_rank and high_rank of the paper, whose data sets have 19 and 21 classes."""


def working_ranks(num_classes: int) -> tuple[int, int]:
    """A rank window (low_rank, high_rank) that leaves both kinds of negatives, for any number of classes.

    Labeled negatives use ranks [0, low_rank), unreliable ones [low_rank, min(high_rank, classes)): both hold at
    least one rank iff 1 <= low_rank < classes. Within that, low_rank should clear the classes an unreliable pixel
    is torn between, at least its top two, or it becomes a negative of what it probably is. Hence 2 for a few
    classes (for 2 classes only 1 is possible), and the paper's 3 from about a dozen on. high_rank is the paper's
    20 where there are that many classes, else all of them.
    """
    low = 1 if num_classes == 2 else 2 if num_classes < 12 else 3
    return low, max(low + 1, min(20, num_classes))


def rank_window(config: ContrastiveConfig, num_classes: int) -> tuple[int, int]:
    """Return low_rank and high_rank as they are set, or as `working_ranks` has them where they are null.

    Args:
        config: of the contrastive term.
        num_classes: C.
    """
    low, high = working_ranks(num_classes)
    if config.low_rank is not None:
        return config.low_rank, config.high_rank or max(high, config.low_rank + 1)
    if config.high_rank is not None:
        return min(low, config.high_rank - 1), config.high_rank
    return low, high


def check_rare_classes(config: Config, names: Sequence[str]) -> None:
    """Refuse `data.rare_classes` that are no classes.

    Args:
        config: gives them.
        names: of the classes, in label order.

    Raises:
        UserError: naming the first one that is not there.
    """
    for name in config.data.rare_classes:
        if name not in names:
            raise UserError(f"data.rare_classes names {name!r}, which is no class{nearest(name, names)}")


def check_classes(config: Config, num_classes: int) -> None:
    """Refuse settings of the contrastive term that the number of classes makes meaningless.

    Raises:
        UserError: naming the key. `low_rank >= classes` leaves no class for an unreliable pixel to be a negative
            of, so that the contrastive loss would silently do without them.
    """
    if not config.method.contrasts:
        return
    ranks = config.method.contrastive
    if ranks.low_rank is not None and ranks.low_rank >= num_classes:
        low, high = working_ranks(num_classes)
        raise UserError(
            f"method.contrastive.low_rank={ranks.low_rank} leaves no rank in [low_rank, high_rank) with "
            f"{num_classes} classes: use method.contrastive.low_rank={low} method.contrastive.high_rank={high}"
        )
    background = config.method.memory_bank.background_class
    if background is not None and background >= num_classes:
        raise UserError(
            f"method.memory_bank.background_class={background} is not one of the {num_classes} classes "
            f"(0..{num_classes - 1}): use an index among them, or null if there is no background"
        )
