import re

import pytest

from u2pl_ray.config.checks import check_classes, rank_window, working_ranks
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.method import ContrastiveConfig
from u2pl_ray.config.schema import Config


def config(low: int = 3, high: int = 20, background: int | None = 0, name: str = "u2pl") -> Config:
    method = {
        "name": name,
        "contrastive": {"low_rank": low, "high_rank": high},
        "memory_bank": {"background_class": background},
    }
    return Config.model_validate({"method": method})


@pytest.mark.parametrize("classes", range(2, 256))
def test_working_ranks_leave_both_windows(classes: int) -> None:
    low, high = working_ranks(classes)
    assert 1 <= low < min(high, classes)
    check_classes(config(low, high), classes)


def test_working_ranks_are_the_papers_where_they_fit() -> None:
    assert working_ranks(21) == (3, 20)
    assert working_ranks(19) == (3, 19)
    assert [working_ranks(classes) for classes in (2, 3, 5, 11)] == [(1, 2), (2, 3), (2, 5), (2, 11)]


@pytest.mark.parametrize(("low", "classes"), [(3, 3), (3, 2), (7, 5), (19, 19)])
def test_low_rank_at_or_above_the_classes(low: int, classes: int) -> None:
    with pytest.raises(UserError, match=f"method.contrastive.low_rank={low} .*{classes} classes") as caught:
        check_classes(config(low), classes)
    proposed = re.findall(r"method\.contrastive\.(low|high)_rank=(\d+)", str(caught.value))[1:]
    values = {name: int(value) for name, value in proposed}
    check_classes(config(values["low"], values["high"]), classes)


@pytest.mark.parametrize("classes", range(2, 41))
def test_unset_ranks_follow_the_classes_and_what_is_set(classes: int) -> None:
    assert rank_window(ContrastiveConfig(), classes) == working_ranks(classes)
    for low in range(1, classes):
        assert rank_window(ContrastiveConfig(low_rank=low), classes) == (low, max(working_ranks(classes)[1], low + 1))
    for high in range(2, 40):
        low, kept = rank_window(ContrastiveConfig(high_rank=high), classes)
        assert (kept, low) == (high, min(working_ranks(classes)[0], high - 1))
    assert rank_window(ContrastiveConfig(low_rank=1, high_rank=2), classes) == (1, 2)
    check_classes(Config(), classes)


def test_low_rank_just_below_the_classes() -> None:
    check_classes(config(3), 4)


@pytest.mark.parametrize("name", ["supervised", "pseudo_label"])
def test_other_methods_have_no_ranks(name: str) -> None:
    check_classes(config(3, 20, 99, name), 2)


def test_background_class() -> None:
    check_classes(config(background=20), 21)
    check_classes(config(background=None), 21)
    with pytest.raises(UserError, match=r"method\.memory_bank\.background_class=21 .*21 classes"):
        check_classes(config(background=21), 21)
