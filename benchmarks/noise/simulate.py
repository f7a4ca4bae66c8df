"""Which policy ends with a truly good setting, for how many trainings? Simulated.

    python -m benchmarks.noise.simulate --group main baseline null --worlds 200 --minutes 4
    python -m benchmarks.noise.simulate --table

Each cell (policy, case, budget, trainings at once) is repeated on `--worlds` worlds, the same for every policy, 20 at a
time; each 20 are a line of `benchmarks/results/noise_table.jsonl`. What is there already is not simulated again, so a
run that was ended by `--minutes` goes on when it is started again. World numbers start at 100,000: no figure in the
package was chosen by looking at these (`--first 0` for such looking, into another file). The groups `recorded` and
`recorded-baseline` replay real trainings instead, see recorded.py; give them a file of their own, as they change with
what was recorded.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.noise.groups import GROUPS, Cell
from benchmarks.noise.policies import run_policy
from benchmarks.noise.recorded import Recorded
from benchmarks.noise.table import Row, merge, print_table
from benchmarks.noise.world import Simulated

RESULTS = Path(__file__).parents[1] / "results/noise_table.jsonl"
FIRST, CHUNK = 100_000, 20


def simulate(cell: Cell, worlds: range) -> Row:
    """Return one line of results: a list over worlds of each quantity. Units: the luck's standard deviation.

    regret: worth of the best of all settings minus the pick's; gain: the pick's minus that of the paper's setting;
    claimed: whether it was said to be better; trainings: what was spent; advised: spent when the search first said that
    the rest would hardly add anything (None: never).
    """
    row: dict[str, Any] = {**asdict(cell), "first": worlds[0]}
    for name in ("regret", "gain", "claimed", "trainings", "advised"):
        row[name] = []
    for number in worlds:
        world = (Recorded if cell.case.structure == "recorded" else Simulated)(cell.case, number)
        end = run_policy(cell.policy, world, cell.budget, cell.parallel, np.random.default_rng([number, 1]))
        row["regret"].append(round(float(world.worth.max() - world.worth[end.pick]), 4))
        row["gain"].append(round(float(world.worth[end.pick] - world.worth[world.paper]), 4))
        row["claimed"].append(int(end.claimed))
        row["trainings"].append(round(end.trainings, 2))
        row["advised"].append(round(end.advised, 2) if np.isfinite(end.advised) else None)
    return row


def main() -> None:
    """Simulate what is missing of the groups asked for, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", nargs="*", choices=sorted(GROUPS), default=[])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--first", type=int, default=FIRST)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    done = {(key(row), row["first"]) for row in read(arguments.output)}
    for group in arguments.group:
        for first in range(arguments.first, arguments.first + arguments.worlds, CHUNK):
            for cell in GROUPS[group]:
                if (key(asdict(cell)), first) in done:
                    continue
                if time.monotonic() > until:
                    print("not finished: start it again to go on")
                    return
                row = simulate(cell, range(first, first + CHUNK))
                with arguments.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    if arguments.table:
        print_table(merge(read(arguments.output)))


def key(row: Row) -> str:
    """Return what makes a cell the same cell."""
    return json.dumps([row["policy"], row["case"], row["budget"], row["parallel"]], sort_keys=True)


def read(path: Path) -> list[Row]:
    """Return the lines so far."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
