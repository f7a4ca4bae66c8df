"""The printed table of a comparison: pairs by seed, the share of the gap, and the classes."""

from typing import Any

from benchmarks.evidence.table import class_lines, lines


def result(row: str, seed: int, score: float, **more: Any) -> dict[str, Any]:
    return {"row": row, "seed": seed, "test/student": score, "test/teacher": score, **more}


RESULTS = [
    result("supervised", 0, 0.5),
    result("supervised", 1, 0.6),
    result("oracle", 0, 0.7),
    result("oracle", 1, 0.9),
    # Of one seed only: its share of the gap is that of this seed, 0.05 of 0.2.
    result("u2pl", 0, 0.55),
]


def test_share_of_the_gap_is_taken_over_the_seeds_that_a_row_has() -> None:
    by_row = {line[:28].strip(): line for line in lines(RESULTS, "supervised")}
    assert by_row["u2pl"].endswith("25%")
    assert "5.00" in by_row["u2pl"]
    assert "(1/1 up)" in by_row["u2pl"]
    assert by_row["oracle"].endswith("100%")
    assert "25.00 +-  7.07 (2/2 up)" in by_row["oracle"]


def test_newest_result_of_a_row_and_seed_counts() -> None:
    by_row = {line[:28].strip(): line for line in lines([*RESULTS, result("u2pl", 0, 0.6)], "supervised")}
    assert by_row["u2pl"].endswith("50%")


def test_classes_are_means_over_the_seeds_that_have_them() -> None:
    field = "test/iou/teacher"
    results = [
        result("u2pl", 0, 0.5, **{field: {"val/iou/lung": 0.8, "val/iou/light/pole": 0.1}}),
        result("u2pl", 1, 0.5, **{field: {"val/iou/lung": 0.9}}),
        result("supervised", 0, 0.5, **{field: {}}),
    ]
    head, row = class_lines(results, field)
    assert head.split() == [field, "seeds", "lung", "light/pole"]
    assert row.split() == ["u2pl", "2", "85.0", "10.0*"]
    assert len(head) == len(row)


def test_nothing_recorded_by_class_is_no_table() -> None:
    assert class_lines(RESULTS, "test/iou/teacher") == []


def test_long_names_of_rows_move_no_column() -> None:
    head, *rows = lines([*RESULTS, result("a row with a name of more than twenty-eight letters", 0, 0.4)], "supervised")
    assert len({row.index("%") for row in rows}) == 1
    assert len(head) == len(rows[0])
