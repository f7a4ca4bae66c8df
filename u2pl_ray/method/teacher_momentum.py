"""How fast the teacher follows the student."""


def teacher_momentum(steps: int, limit: float) -> float:
    """EMA momentum min(1 - 1 / (k + 1), limit), k = `steps` made since the warm-up ended (0 at the first).

    0 at k = 0: the teacher starts as a copy of the student; until `limit` it is the plain mean of the students so far.
    """
    return min(1.0 - 1.0 / (steps + 1), limit)
