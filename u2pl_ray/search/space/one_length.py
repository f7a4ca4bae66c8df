"""Whether all trainings of a search have one length."""

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.space.space import Space


def one_length(space: Space) -> bool:
    """Return whether the length of a training is not searched."""
    return "train.epochs" not in space.parameters


def check_one_length(space: Space, asked: str, instead: str = "use --trials alone") -> None:
    """Refuse to judge trainings of several lengths: values are compared by the share of one length that is done.

    Args:
        space: what is searched.
        asked: the option that asks for it.
        instead: what to do if the length is to be searched.

    Raises:
        UserError: `train.epochs` is searched.
    """
    if not one_length(space):
        raise UserError(
            f"{asked}: compares trainings of one length, and {space.source} searches train.epochs; take it out of the "
            f"space, or {instead}"
        )
