"""The cells that are simulated, the most wanted first."""

from dataclasses import dataclass, field

from benchmarks.noise.world import Case


@dataclass(frozen=True)
class Cell:
    """Name one cell: a policy in a case, with a budget in trainings and so many at once."""

    policy: str
    case: Case = field(default_factory=Case)
    budget: int = 40
    parallel: int = 8


OURS, BASELINE, CONFIRM = "search", "random", "random+confirm"
WINS = [Case("smooth", 1.0), Case("smooth", 3.0), Case("mixed", 1.0), Case("mixed", 3.0)]
NULLS = {
    "flat": Case(snr=0.0),
    "paper best": Case(snr=1.0, paper=1.0),
    "outlier": Case(snr=0.0, luck="outlier"),
    "heavy tails": Case(snr=0.0, luck="heavy"),
    "unequal noise": Case(snr=0.0, luck="unequal"),
}
RECORDED = [Case("recorded", None, None), Case("recorded", None, 0.25)]
"""Against the paper's setting, which may be hard to beat, and against one that three of four are better than."""
BUDGETS = (40, 60, 80, 120, 160, 240)
"""Of the baseline."""

GROUPS: dict[str, list[Cell]] = {
    "main": [Cell(OURS, case, 40) for case in WINS],
    "double": [Cell(OURS, case, 80) for case in WINS],
    "baseline": [Cell(BASELINE, case, budget) for case in WINS for budget in BUDGETS],
    "confirm": [Cell(CONFIRM, case, budget) for case in WINS for budget in (40, 80, 160, 240)],
    "null": [Cell(OURS, case, 40) for case in NULLS.values()],
    "null-baseline": [Cell(BASELINE, case, 40) for case in NULLS.values()],
    "parallel-64": [Cell(OURS, case, 40, 64) for case in (WINS[0], NULLS["flat"])],
    "parallel-1": [Cell(OURS, case, 40, 1) for case in (WINS[0], NULLS["flat"])],
    "recorded": [Cell(OURS, case, budget) for case in RECORDED for budget in (16, 24, 32)],
    "recorded-baseline": [
        Cell(policy, case, budget)
        for policy in (BASELINE, CONFIRM)
        for case in RECORDED
        for budget in (16, 20, 24, 32, 40, 48)
    ],
    "budget": [Cell(OURS, Case("smooth", snr), budget) for budget in (20, 40, 80) for snr in (0.3, 1.0, 3.0)],
}
