"""The cells that are simulated, in groups that can run beside each other."""

from dataclasses import dataclass, field

from benchmarks.noise.world import Case


@dataclass(frozen=True)
class Cell:
    """Name one cell: a policy in a case, with a budget in trainings and so many at once."""

    policy: str
    case: Case = field(default_factory=Case)
    budget: int = 40
    parallel: int = 8


WINS = [Case(structure, snr) for structure in ("smooth", "mixed") for snr in (1.0, 3.0)]
NULLS = {
    "flat": Case(snr=0.0),
    "paper best": Case(snr=1.0, paper=1.0),
    "outlier": Case(snr=0.0, luck="outlier"),
    "heavy tails": Case(snr=0.0, luck="heavy"),
    "unequal noise": Case(snr=0.0, luck="unequal"),
}
BASELINE_BUDGETS = (20, 40, 60, 80, 120, 160, 240)
_OURS = ("noisy-gp", "noisy-gp-15", "tpe-halving", "tpe-halving+smooth", "random-halving")

GROUPS: dict[str, list[Cell]] = {
    "main": [Cell(policy, case, budget) for budget in (40, 80) for case in WINS for policy in _OURS],
    "baseline": [Cell("random", case, budget) for case in WINS for budget in BASELINE_BUDGETS],
    "confirm": [
        Cell(policy, case, budget)
        for case in WINS
        for policy in ("random+confirm", "tpe+confirm")
        for budget in (40, 80, 160, 240)
    ],
    "null": [
        Cell(policy, case, budget)
        for budget in (40, 80)
        for policy in ("random", "noisy-gp", "tpe-halving")
        for case in NULLS.values()
    ],
    "parallel": [
        Cell(policy, case, 40, parallel)
        for policy in ("noisy-gp", "tpe-halving")
        for parallel in (1, 64)
        for case in (*WINS[:2], NULLS["flat"])
    ],
    "budget": [
        Cell("noisy-gp", Case("smooth", snr), budget) for snr in (0.3, 1.0, 3.0) for budget in (20, 40, 60, 80, 120)
    ],
}
