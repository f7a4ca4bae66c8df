"""Print what trainings came to: means, paired differences, and the share of the gap that is closed.

python -m benchmarks.evidence.table benchmarks/results/lab.jsonl [--against u2pl] [--classes]
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.evidence.rows import read_results

BASELINE, CEILING = "supervised", "oracle"


def by_row(results: list[dict[str, Any]], who: str) -> dict[str, dict[int, float]]:
    """Test mIoU in points by row and seed, of `student` or `teacher`; the newest result of a row and seed counts."""
    table: dict[str, dict[int, float]] = defaultdict(dict)
    for result in results:
        table[result["row"]][result["seed"]] = 100 * result[f"test/{who}"]
    return table


def width(names: Iterable[str]) -> int:
    """Columns that the names of rows take."""
    return max(28, *map(len, names))


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):6.2f} +- {stdev(values):5.2f}" if len(values) > 1 else f"{values[0]:6.2f}         "


def gap_closed(scores: dict[int, float], base: dict[int, float], ceiling: dict[int, float]) -> str:
    """(row - supervised) / (oracle - supervised), of the means over the seeds that all three have."""
    seeds = scores.keys() & base.keys() & ceiling.keys()
    if not seeds:
        return "-"
    gap = mean(ceiling[seed] - base[seed] for seed in seeds)
    return f"{mean(scores[seed] - base[seed] for seed in seeds) / gap:5.0%}" if gap > 0 else "-"


def lines(results: list[dict[str, Any]], against: str) -> list[str]:
    """Return the table's lines, the best teacher first."""
    student, teacher = by_row(results, "student"), by_row(results, "teacher")
    wide = width(teacher)
    head = f"{'row':<{wide}} {'seeds':>5}  {'student':>15}  {'teacher':>15}"
    out = [f"{head}  {f'teacher - {against}':>25}  {'gap closed':>10}"]
    for row in sorted(teacher, key=lambda name: -mean(teacher[name].values())):
        common = sorted(teacher[row].keys() & teacher.get(against, {}).keys())
        pairs = [teacher[row][seed] - teacher[against][seed] for seed in common]
        difference = (
            f"{spread(pairs)} ({sum(it > 0 for it in pairs)}/{len(pairs)} up)" if pairs and row != against else ""
        )
        share = gap_closed(teacher[row], teacher.get(BASELINE, {}), teacher.get(CEILING, {}))
        own = list(student[row].values()), list(teacher[row].values())
        out.append(f"{row:<{wide}} {len(own[0]):>5}  {spread(own[0])}  {spread(own[1])}  {difference:>25}  {share:>10}")
    return out


def class_lines(results: list[dict[str, Any]], field: str) -> list[str]:
    """Return a line for each row with the mean over its seeds of each class, in points; `-` where none was recorded.

    A star: not every seed of the row has this class.

    Args:
        results: as `read_results` returns them.
        field: `test/iou/teacher`, or `reliable/right by class` (of reliable pseudo-labels, those that are right).
    """
    table: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for result in results:
        if values := result.get(field):
            table[result["row"]][result["seed"]] = {name.removeprefix("val/iou/"): it for name, it in values.items()}
    if not table:
        return []
    classes = list(dict.fromkeys(name for seeds in table.values() for values in seeds.values() for name in values))
    wide = width([field, *table])
    out = [f"{field:<{wide}} {'seeds':>5}  " + "  ".join(f"{name:>8}" for name in classes)]
    for row, seeds in table.items():
        columns = [[values[name] for values in seeds.values() if name in values] for name in classes]
        marks = ("*" if len(column) < len(seeds) else "" for column in columns)
        cells = (
            f"{100 * mean(column):.1f}{mark}" if column else "-" for column, mark in zip(columns, marks, strict=True)
        )
        widths = (max(8, len(name)) for name in classes)
        out.append(
            f"{row:<{wide}} {len(seeds):>5}  " + "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
        )
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--against", default=BASELINE, help="the row that differences are taken to")
    parser.add_argument(
        "--classes", action="store_true", help="the teacher's IoU and the reliable labels by class, too"
    )
    options = parser.parse_args()
    results = [result for file in options.results for result in read_results(file)]
    print("\n".join(lines(results, options.against)))
    for field in ("test/iou/teacher", "reliable/right by class") if options.classes else ():
        if table := class_lines(results, field):
            print("", *table, sep="\n")


if __name__ == "__main__":
    main()
