"""How much training a search needs: recorded learning curves of real U2PL trainings, replayed in simulated time.

    python benchmarks/search_efficiency.py --output benchmarks/results/search_efficiency.json

The curves come from `record_curves.py`. A replayed trial reports a recorded setting's val/miou epoch by epoch through
the code that `search` runs on: SamplerChoice, SchedulerChoice, TrialStudy. A proposal becomes the nearest recorded
setting (in unit coordinates, logarithmic where the space is) that no trial of the search has had yet, and the study is
told that setting. Trials run at paces that differ by up to 10 %, `parallel` of them at once.

Per search: the epochs trained, all trials together, when the first trial is complete whose final val/miou is within 0.2
points of the table's best; and the regret of the best complete trial at given budgets. `full` is every setting in full.
How much a scheduler can save depends on how well an early value ranks settings: Spearman's correlation of the values
after each epoch with the final ones is written too.
"""

import argparse
import heapq
import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from scipy.stats import spearmanr

from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy

WARMUP = 2
"""Of the recorded trainings, see `record_curves.CONFIG`."""
NEAR = 0.002
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Table:
    """Recorded settings (as a study stores them) with their curves."""

    space: Space
    settings: Sequence[Mapping[str, Any]]
    curves: Sequence[Sequence[float]]

    @property
    def epochs(self) -> int:
        """Of every training."""
        return len(self.curves[0])

    @property
    def best(self) -> float:
        """The best final value."""
        return max(curve[-1] for curve in self.curves)

    def nearest(self, params: Mapping[str, Any], free: Sequence[int]) -> int:
        """The recorded setting of those in `free` that is nearest to a proposal."""
        return min(free, key=lambda index: sum(self._gaps(params, self.settings[index])))

    def _gaps(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[float]:
        kinds = self.space.distributions
        return [(_unit(kinds[path], first[path]) - _unit(kinds[path], second[path])) ** 2
                if not isinstance(kinds[path], CategoricalDistribution) else float(first[path] != second[path])
                for path in kinds]  # fmt: skip


def _unit(distribution: BaseDistribution, value: float) -> float:
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    if distribution.log:  # type: ignore[attr-defined]
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


class TableStudy(TrialStudy):
    """A study in memory whose proposals are recorded settings."""

    def __init__(self, table: Table, sampler: SamplerChoice, pruner: BasePruner) -> None:
        study = optuna.create_study(direction="maximize", pruner=pruner)
        super().__init__(study, table.space, sampler, pruner)
        self.table, self.free = table, list(range(len(table.settings)))
        self.taken: dict[int, int] = {}

    def propose(self, number: int, fixed: Mapping[str, Any] | None = None) -> FrozenTrial:
        """The sampler's proposal, moved to the nearest recorded setting that is free; the paper's first."""
        proposal = super().propose(number, fixed)
        index = 0 if number == 0 else self.table.nearest(proposal.params, self.free)
        self.free.remove(index)
        self.taken[number] = index
        proposal.params.update(self.table.settings[index])
        return proposal


@dataclass
class Replay:
    """A search that was replayed: its epochs, and (epochs so far, final value) of each trial that was completed."""

    epochs: int
    completed: list[tuple[int, float]]

    def needed(self, table: Table) -> int:
        """Epochs until a complete trial is within NEAR of the best; all epochs of the table if none ever is."""
        near = [spent for spent, value in self.completed if value >= table.best - NEAR - 1e-12]
        return min(near, default=table.epochs * len(table.curves))

    def regret(self, table: Table, budget: int) -> float:
        """In points, of the best trial complete within the budget; of the table's worst if there is none."""
        values = [value for spent, value in self.completed if spent <= budget]
        return 100 * (table.best - max(values, default=min(curve[-1] for curve in table.curves)))


def replay(table: Table, sampler: SamplerChoice, scheduler: SchedulerChoice, parallel: int, seed: int) -> Replay:
    """One search until every recorded setting has had a trial."""
    study = TableStudy(table, sampler, scheduler.build(table.epochs))
    pace, result = random.Random(seed), Replay(0, [])
    running: list[tuple[float, int, int, float]] = []  # time of its next report, trial, epoch, time per epoch
    for _ in range(min(parallel, len(table.settings))):
        _start(study, running, 0.0, pace)
    while running:
        now, number, epoch, length = heapq.heappop(running)
        result.epochs += 1
        curve = table.curves[study.taken[number]]
        study.report(number, epoch, curve[epoch - 1])
        if epoch == table.epochs:
            study.complete(number)
            result.completed.append((result.epochs, curve[-1]))
        elif study.should_stop(number):
            study.stop(number)
        else:
            heapq.heappush(running, (now + length, number, epoch + 1, length))
            continue
        if study.free:
            _start(study, running, now, pace)
    return result


def _start(study: TableStudy, running: list[tuple[float, int, int, float]], now: float, pace: random.Random) -> None:
    length = pace.uniform(0.9, 1.1)
    heapq.heappush(running, (now + length, study.start_new().number, 1, length))


def read_table(path: Path, metric: str) -> Table:
    """The recorded curves of a metric."""
    space = load_space(_ROOT / "search_spaces/paper.yaml")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return Table(space, [space.encode(row["params"]) for row in rows], [row[metric] for row in rows])


def _rank_correlation(table: Table, epoch: int) -> float:
    """Spearman's correlation of the values after `epoch` with the final ones."""
    return round(float(spearmanr([it[epoch - 1] for it in table.curves], [it[-1] for it in table.curves])[0]), 2)


def summary(table: Table, replays: Sequence[Replay]) -> dict[str, Any]:
    """Means over seeds, and the middle half of the epochs needed."""
    needed = [replay.needed(table) for replay in replays]
    quarter = statistics.quantiles(needed, n=4)
    full = table.epochs * len(table.curves)
    return {
        "epochs_needed": round(statistics.mean(needed)),
        "middle_half": [round(quarter[0]), round(quarter[2])],
        "missed": sum(not any(v >= table.best - NEAR - 1e-12 for _, v in replay.completed) for replay in replays),
        "regret_points_at_share_of_full": {
            f"1/{part}": round(statistics.mean(replay.regret(table, full // part) for replay in replays), 2)
            for part in (12, 6, 3)
        },
    }


def main() -> None:
    """Replay, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=_ROOT / "benchmarks/data/curves_generated.jsonl")
    parser.add_argument("--metric", default="val/miou", choices=["val/miou", "val/teacher/miou"])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--only", nargs="*", help="names of searches, such as tpe+asha")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    table = read_table(arguments.curves, arguments.metric)
    near = sum(curve[-1] >= table.best - NEAR for curve in table.curves)
    print(f"{len(table.curves)} settings of {table.epochs} epochs, best {table.best}, {near} within 0.2 points")
    early = {epoch: _rank_correlation(table, epoch) for epoch in range(WARMUP + 1, table.epochs)}
    print(f"rank correlation with the end: {', '.join(f'{value:.2f} ({epoch})' for epoch, value in early.items())}")
    results: dict[str, Any] = {
        "metric": arguments.metric,
        "settings": len(table.curves),
        "epochs": table.epochs,
        "best": table.best,
        "within_0.2_points": near,
        "rank_correlation_with_the_end_by_epoch": early,
        "seeds": arguments.seeds,
        "searches": {},
    }
    baseline: dict[int, float] = {}
    for name, (sampler, scheduler, parallels) in searches().items():
        if arguments.only and name not in arguments.only:
            continue
        for parallel in parallels:
            runs = [
                replay(table, SamplerChoice(sampler, seed), scheduler.after(WARMUP, table.epochs), parallel, seed)
                for seed in range(arguments.seeds)
            ]
            figures = summary(table, runs)
            baseline.setdefault(parallel, figures["epochs_needed"])  # the first: random in full length
            figures["share_of_random"] = round(figures["epochs_needed"] / baseline[parallel], 2)
            results["searches"].setdefault(name, {})[str(parallel)] = figures
            print(f"{name:20} {parallel:3}  {json.dumps(figures)}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def searches() -> dict[str, tuple[str, SchedulerChoice, tuple[int, ...]]]:
    """Name to sampler, scheduler, and trials at once; full-length random search first."""
    none, asha, every = SchedulerChoice("none"), SchedulerChoice("asha"), (1, 8, 64)
    result: dict[str, tuple[str, SchedulerChoice, tuple[int, ...]]] = {
        "random+none": ("random", none, every),
        "tpe+asha": ("tpe", asha, every),
        "tpe+none": ("tpe", none, every),
        "random+asha": ("random", asha, (8,)),
        "qmc+asha": ("qmc", asha, (8,)),
        "tpe+hyperband": ("tpe", SchedulerChoice("hyperband"), (8,)),
        "tpe+median": ("tpe", SchedulerChoice("median"), (8,)),
        # As it was before: the first rung after the warm-up and a fifth of the rest, all of it times the factor.
        "tpe+asha (2+4)*3^k": ("tpe", SchedulerChoice("asha", {"grace": 6, "warmup": 0}), (8,)),
    }
    for grace in (2, 4, 6, 9):
        for factor in (2, 3, 4):
            choice = SchedulerChoice("asha", {"grace": grace, "factor": factor, "warmup": WARMUP})
            result[f"tpe+asha 2+{grace}*{factor}^k"] = ("tpe", choice, (8,))
    return result


if __name__ == "__main__":
    main()
