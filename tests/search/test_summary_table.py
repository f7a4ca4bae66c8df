import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.search.small_search import searched
from u2pl_ray.analysis.tables import print_summary
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Summary


@pytest.mark.usefixtures("two_cpus")
def test_the_table_at_the_end_says_how_many_trials_it_leaves_out(tmp_path: Path, base: Config) -> None:
    made = searched(tmp_path, base)
    (first, *_) = made.study().records()
    for count, words in ((20, ""), (23, f"and 3 more: u2pl-ray status {made.argument}")):
        trials = [replace(first, id=f"{number:04d}", number=number) for number in range(count)]
        print_summary(
            made, Summary(trials, first, False, "interrupted"), Console(file=(page := io.StringIO()), width=200)
        )
        assert words in page.getvalue()
        assert ("more:" in page.getvalue().split("best trial")[0]) == bool(words)
