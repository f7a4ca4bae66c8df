"""How fast the teacher follows the student."""


def teacher_momentum(steps: int, limit: float) -> float:
    """EMA momentum min(1 - 1 / (k + 1), limit), k = `steps` made since the warm-up ended (0 at the first).

    0 at k = 0: the teacher starts as a copy of the student; until `limit` it is the plain mean of the students so far.
    """
    return min(1.0 - 1.0 / (steps + 1), limit)


def horizon_momentum(share: float, steps: int) -> float:
    """Compute the momentum with which an EMA remembers a share of `steps`: 1 - 1 / (share * steps), at least 0.

    Args:
        share: in (0, 1].
        steps: of the training after its warm-up.
    """
    return 1.0 - 1.0 / max(1.0, share * steps)
