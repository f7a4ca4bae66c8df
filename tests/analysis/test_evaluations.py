"""The file of results: what is kept, and what is taken for the same."""

from pathlib import Path

from u2pl_ray.analysis.evaluations import add_result, read_results


def test_another_figure_of_the_same_is_another_entry(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "r.json"
    assert add_result(file, {"created": "1", "metrics": {"a": 0.5}, "classes": ("x",)})
    assert not add_result(file, {"created": "2", "metrics": {"a": 0.5}, "classes": ("x",)})
    assert add_result(file, {"created": "3", "metrics": {"a": 0.25}, "classes": ("x",)})
    assert [entry["created"] for entry in read_results(file)] == ["1", "3"]
