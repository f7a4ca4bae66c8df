"""What the simulated cells say: how many trainings baseline B needs for the same regret and the same claims."""

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.noise.groups import BASELINE, CONFIRM

Row = dict[str, Any]
_DRAWS = 400
"""Of worlds, with replacement, for the ratios' intervals."""


def merge(rows: Sequence[Row]) -> list[Row]:
    """Return one row a cell, its worlds' results as arrays in the order of the worlds."""
    cells: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["first"]):
        cells.setdefault(json.dumps([row[k] for k in ("case", "budget", "policy", "parallel")]), []).append(row)
    names = ("regret", "gain", "claimed", "trainings", "advised")
    return [
        {**parts[0], **{name: np.array([x for part in parts for x in part[name]], float) for name in names}}
        for parts in cells.values()
    ]


def needed(
    budgets: Sequence[float], regrets: Sequence[float], claims: Sequence[float], regret: float, claim: float
) -> float:
    """Return the trainings at which a baseline has at most this regret and at least these claims.

    Straight lines between its budgets (log regret and claims over log budget), made monotone first: what a larger
    budget has reached counts for all larger ones. Infinite beyond the largest budget; the smallest budget where even
    that is enough.

    Args:
        budgets: ascending.
        regrets, claims: the baseline's, by budget.
        regret, claim: to be reached.
    """
    logs = np.log(np.maximum(np.minimum.accumulate(regrets), 1e-6))
    most = np.maximum.accumulate(claims)
    points = list(zip(budgets, logs, most, strict=True))
    for (low, r0, c0), (high, r1, c1) in itertools.pairwise(points):
        for part in np.linspace(0, 1, 101):
            enough = r0 + part * (r1 - r0) <= math.log(max(regret, 1e-6)) + 1e-9
            if enough and c0 + part * (c1 - c0) >= claim - 1e-9:
                return float(low * (high / low) ** part)
    return math.inf


def ratio(row: Row, baseline: Sequence[Row], claims: bool = True) -> tuple[float, float, float]:
    """Return a cell's trainings over the baseline's for the same regret (and claims), with its 90 % interval.

    The interval is from drawing worlds again, the same ones for both. 0 stands for less than the simulated budgets can
    tell: the baseline's largest did not suffice.

    Args:
        row: the cell.
        baseline: the baseline's cells in the same case.
        claims: whether the share of claims must be reached too.
    """
    baseline = sorted(baseline, key=lambda b: b["budget"])
    count = min(len(r["regret"]) for r in (row, *baseline))
    regret = np.array([r["regret"][:count] for r in (row, *baseline)])
    claimed = np.array([r["claimed"][:count] for r in (row, *baseline)])
    rng = np.random.default_rng(0)

    def once(worlds: NDArray[np.intp] | slice) -> float:
        r, c = regret[:, worlds].mean(1), claimed[:, worlds].mean(1)
        wanted = float(c[0]) if claims else 0.0
        return float(row["trainings"].mean()) / needed(
            [b["budget"] for b in baseline], r[1:], c[1:], float(r[0]), wanted
        )

    low, high = np.quantile([once(rng.integers(0, count, count)) for _ in range(_DRAWS)], [0.05, 0.95])
    return once(slice(None)), float(low), float(high)


def false_claims(row: Row) -> tuple[int, int]:
    """Return how many searches claimed a setting that is not better than the paper's, of how many."""
    return int((row["claimed"] * (row["gain"] <= 1e-12)).sum()), len(row["gain"])


def describe(case: Row) -> str:
    """Return a case in words."""
    words = ["flat"] if case["snr"] == 0 else [case["structure"]]
    words += [f"snr {case['snr']:g}"] if case["snr"] else []
    words += ["against a poor setting"] if case["snr"] is None and case["paper"] is not None else []
    words += ["paper's setting best"] if case["paper"] == 1 else []
    return ", ".join(words + ([case["luck"]] if case["luck"] != "normal" else []))


def print_table(cells: Sequence[Row]) -> None:
    """Print every cell, and how many of the baselines' trainings it needs where those were simulated."""
    for row in sorted(cells, key=lambda r: (describe(r["case"]), r["policy"], r["budget"], r["parallel"])):
        n, (false, _) = len(row["regret"]), false_claims(row)
        error = row["regret"].std() / math.sqrt(n)
        advised = np.nan_to_num(row["advised"], nan=row["budget"])
        print(
            f"{describe(row['case']):28} {row['policy']:18} budget {row['budget']:3} at once {row['parallel']:2} "
            f"n {n:3} "
            f"regret {row['regret'].mean():.3f} ± {error:.3f} gain {row['gain'].mean():+.3f} "
            f"claims {row['claimed'].mean():.3f} false {false / n:.3f} below {(row['gain'] < -1e-12).mean():.2f} "
            f"advised to stop after {advised.mean():.1f}"
        )
        if row["policy"] not in (BASELINE, CONFIRM) and row["case"]["snr"] != 0 and row["case"]["paper"] != 1:
            for other in (BASELINE, CONFIRM):
                same = [r for r in cells if r["case"] == row["case"] and r["policy"] == other and r["parallel"] == 8]
                if len(same) > 2:
                    both, alone = ratio(row, same), ratio(row, same, claims=False)
                    print(
                        f"{'':28}   of {other}'s trainings {both[0]:.2f} ({both[1]:.2f} .. {both[2]:.2f}), "
                        f"for the regret alone {alone[0]:.2f} ({alone[1]:.2f} .. {alone[2]:.2f})"
                    )
