"""Which policy ends with a truly good setting, for how many trainings? Simulated.

    python -m benchmarks.noise.simulate --group main --reps 200
    python -m benchmarks.noise.simulate --table

Each cell (policy, case, budget, trainings at once) is repeated on `--reps` worlds, the same for every policy, and
appended to `benchmarks/results/noise_sim.jsonl`; cells that are there already are not simulated again.
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
from benchmarks.noise.table import print_table
from benchmarks.noise.world import World

RESULTS = Path(__file__).parents[1] / "results/noise_sim.jsonl"


def simulate(cell: Cell, reps: int) -> dict[str, Any]:
    """Return the means over `reps` worlds.

    regret: worth of the best of all settings minus the pick's; gain: the pick's minus the paper's; claims: share of
    searches that claim; false: share whose claimed setting is not better than the paper's; below: share of picks worse
    than the paper's; nothing: share that say "nothing to find". Units: the luck's standard deviation.
    """
    rows = []
    for rep in range(reps):
        world = World(cell.case, rep)
        end = run_policy(cell.policy, world, cell.budget, cell.parallel, np.random.default_rng([rep, 1]))
        gain = float(world.worth[end.pick] - world.worth[world.paper])
        better = gain > 1e-12
        rows.append(
            (
                float(world.worth.max() - world.worth[end.pick]),
                gain,
                float(end.claimed),
                float(end.claimed and not better),
                float(gain < -1e-12),
                float(end.verdict == "nothing to find"),
                end.trainings,
            )
        )
    means = np.array(rows).mean(0)
    error = np.array(rows)[:, 0].std() / np.sqrt(reps)
    names = ("regret", "gain", "claims", "false", "below", "nothing", "trainings")
    found = dict(zip(names, means.round(4).tolist(), strict=True))
    return {**asdict(cell), "reps": reps, **found, "regret_error": round(float(error), 4)}


def main() -> None:
    """Simulate what is missing of the groups asked for, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", nargs="*", choices=sorted(GROUPS), default=[])
    parser.add_argument("--reps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    for group in arguments.group:
        for cell in GROUPS[group]:
            done = {key(row) for row in read(arguments.output) if row["reps"] >= arguments.reps}
            if key(asdict(cell)) in done:
                continue
            began = time.monotonic()
            row = simulate(cell, arguments.reps)
            with arguments.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), f"{time.monotonic() - began:.0f} s", flush=True)
    if arguments.table:
        print_table(read(arguments.output))


def key(row: dict[str, Any]) -> str:
    """Return what makes a cell the same cell."""
    return json.dumps([row["policy"], row["case"], row["budget"], row["parallel"]], sort_keys=True)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows so far."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
