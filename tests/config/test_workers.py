import pytest

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError


@pytest.mark.parametrize(
    ("given", "counts"),
    [("2", (2,)), ("2..4", (4, 2)), ("1..4", (4, 2, 1)), ("{min: 1, max: 2}", (2, 1)), ("2..2", (2,))],
)
def test_counts_that_the_batches_divide_over(given: str, counts: tuple[int, ...]) -> None:
    config = overrides.load("quickstart", [f"workers={given}", "train.batch_size=8", "train.unlabeled_batch_size=8"])
    assert config.worker_counts == counts
    assert config.most_workers == counts[0]
    assert overrides.validate(config.model_dump()) == config
    assert config.with_workers(counts[-1]).worker_counts == counts[-1:]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("4..2", "workers=4..2 is inverted"),
        ("0", "workers: give a number from 1 on, or a range such as 2..4"),
        ("0..2", "workers: give a number"),
        ("many", "workers: give a number"),
        ("3..4", "train.batch_size=8 does not divide over workers=3"),
        ("2..8", "mixes pairs"),
    ],
)
def test_ranges_that_make_no_sense(given: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        overrides.load("quickstart", [f"workers={given}", "train.batch_size=8", "train.unlabeled_batch_size=8"])
