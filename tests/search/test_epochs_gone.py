"""The best trial's epochs are gone or empty: the study still has its value."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.search.small_search import searched
from u2pl_ray.analysis.compare import print_comparison
from u2pl_ray.analysis.tables import best_of, print_best
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config

pytestmark = pytest.mark.usefixtures("two_cpus")


@pytest.mark.parametrize("empty", [True, False])
def test_best_has_the_value_and_compare_names_the_file(tmp_path: Path, base: Config, empty: bool) -> None:
    made = searched(tmp_path, base)
    best = made.study().best()
    assert best is not None
    file = made.trial_folder(best.id) / "epochs.jsonl"
    file.unlink()
    if empty:
        file.touch()
    print_best(made, Console(file=(screen := io.StringIO()), width=200))
    assert f"trial {best.id} (completed, {best.epochs} epochs): student mIoU {best.value:.4f}" in screen.getvalue()
    assert best_of(made)["value"] == best.value
    with pytest.raises(UserError, match=r"epochs\.jsonl: has no val/miou of the last epoch; `u2pl-ray resume"):
        print_comparison([made], "val")
