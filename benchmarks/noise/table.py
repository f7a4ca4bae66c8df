"""What the simulated cells say: how many trainings baseline B needs for the same regret and the same claims."""

import math
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
BASELINE = "random"


def needed(baseline: Sequence[Row], regret: float, claims: float) -> float:
    """Return the trainings at which the baseline has at most this regret and at least these claims.

    Straight lines between its budgets (log regret and claims over log budget), made monotone first: what a larger
    budget has reached counts for all larger ones. Infinite beyond the largest budget; the smallest budget where even
    that is enough.
    """
    points = []
    best, most = math.inf, 0.0
    for row in sorted(baseline, key=lambda row: row["budget"]):
        best, most = min(best, row["regret"]), max(most, row["claims"])
        points.append((row["budget"], math.log(max(best, 1e-6)), most))
    for (low, r0, c0), (high, r1, c1) in zip(points, points[1:], strict=False):
        for step in range(101):
            part = step / 100
            regret_there, claims_there = r0 + part * (r1 - r0), c0 + part * (c1 - c0)
            if regret_there <= math.log(max(regret, 1e-6)) + 1e-9 and claims_there >= claims - 1e-9:
                return float(low * (high / low) ** part)
    return math.inf


def print_table(rows: Sequence[Row]) -> None:
    """Print every cell, with its ratio to baseline B where B was simulated in the same case."""
    for row in sorted(rows, key=lambda r: (str(r["case"]), r["budget"], r["policy"], r["parallel"])):
        case = row["case"]
        where = f"{case['structure']} snr {case['snr']:g} paper {case['paper']:g} {case['luck']}"
        same = [r for r in rows if r["case"] == case and r["policy"] == BASELINE and r["parallel"] == 8]
        ratio = ""
        if case["snr"] > 0 and case["paper"] < 1 and len(same) > 2 and row["policy"] != BASELINE:
            both, alone = needed(same, row["regret"], row["claims"]), needed(same, row["regret"], 0.0)
            most = max(r["budget"] for r in same)
            text = [f"{row['budget'] / x:.2f}" if math.isfinite(x) else f"< {row['budget'] / most:.2f}" for x in (both, alone)]
            ratio = f"  of B's trainings {text[0]} (for the regret alone {text[1]})"
        print(
            f"{where:36} {row['policy']:18} budget {row['budget']:3} at once {row['parallel']:2}  "
            f"regret {row['regret']:.3f} ± {row['regret_error']:.3f}  gain {row['gain']:+.3f}  claims {row['claims']:.3f} "
            f"false {row['false']:.3f}  below {row['below']:.2f}  nothing {row['nothing']:.2f}{ratio}"
        )
