"""The golden searches, byte by byte."""

import optuna
import pytest

from tests.search.golden_search import GOLDEN, SEARCHES, record

RECORDED_WITH = "5.0.0"


@pytest.mark.skipif(optuna.__version__ != RECORDED_WITH, reason=f"recorded with Optuna {RECORDED_WITH}")
@pytest.mark.parametrize("name", SEARCHES)
def test_the_search_is_the_one_that_was_recorded(name: str) -> None:
    assert record(name).decode().splitlines() == (GOLDEN / f"{name}.txt").read_text("utf-8").splitlines()
