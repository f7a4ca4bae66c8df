"""Is a search that is killed and resumed, again and again, the search that was never killed?

    python -m benchmarks.kill_anywhere --kills 27
    python -m benchmarks.kill_anywhere --trainings 10 --kills 10

Real U2PL trainings, tiny, under TPE and ASHA, started by the command line. One trial at a time: searches are killed
with SIGKILL (the driver with its whole Ray cluster; or the driver alone, on a cluster that lives on) at start-up,
during a proposal, between an epoch's report and the decision on it, while the study is written, in mid-epoch, while a
checkpoint is written, while it is stored, and at random. Each is resumed until it ends, and must equal the one never
killed: trials, settings, every metric bit for bit (`perf/*` excepted), stop decisions, best. Then with three trials at
once, where the order is free: no trial lost or doubled, all the study was told is on record, nothing stays RUNNING.

With `--trainings` the budget covers new settings and replicates on new seeds. Half of the kills come at random moments
of exploring, half of replicating; rounds and the answer with its probability must be equal to the last digit, too.
"""

import argparse
import contextlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.killing import PHASES, POINTS, Search
from benchmarks.processes import adopt_orphans, cluster
from u2pl_ray.search.schedulers.successive_halving import RungPruner

TRIALS, LIMIT = 4, 1800.0
RESULTS = Path(__file__).parent / "results"


def kill_until_it_ends(search: Search, draw: random.Random, most: int) -> int:
    """Kill at every point, in random order, and resume, at most `most` times; then let it end. How often it was.

    With a budget of trainings: while it explores, then while it replicates.
    """
    kills, points = 0, list[str]()
    while kills < most:
        if search.trainings:
            point = PHASES[2 * kills >= most]
        else:
            points = points or draw.sample(POINTS, len(POINTS))
            point = points.pop()
        if search.run_until(point, draw, LIMIT):
            return kills
        kills += 1
        print(f"{search.folder.name}: {kills} kills, {search.tried}", flush=True)
    search.run_until("none", draw, LIMIT)
    return kills


def objections(story: dict[str, Any], trials: int) -> list[str]:
    """What is wrong with a finished search, whatever the order in which its trials ran."""
    wrong = []
    if [trial["id"] for trial in story["trials"]] != [f"{number:04d}" for number in range(trials)]:
        wrong.append(f"trials {[trial['id'] for trial in story['trials']]}")
    settings = [json.dumps(trial["params"]) for trial in story["trials"]]
    if len(set(settings)) != len(settings):
        wrong.append("a setting was tried twice")
    pruner = RungPruner(2, 2)
    for trial in story["trials"]:
        recorded = {row["training_iteration"]: row["val/miou"] for row in trial["epochs"]}
        if recorded != trial["values"] or list(recorded) != list(range(1, len(recorded) + 1)):
            wrong.append(f"{trial['id']}: told {trial['values']}, on record {recorded}")
        last = max(recorded, default=0)
        if trial["state"] not in ("COMPLETED", "STOPPED") or trial["value"] != recorded.get(last):
            wrong.append(f"{trial['id']} is {trial['state']} with value {trial['value']}")
        if trial["state"] == "STOPPED":
            others = [other["values"].get(last) for other in story["trials"] if other is not trial]
            better = [value for value in others if value is not None and value >= recorded[last]]
            if last not in pruner.rungs(int(trial["id"]), 4) or not better:
                wrong.append(f"{trial['id']} was stopped after {last} epochs, where {len(better)} were as good")
    return wrong


def written(runs: list[dict[str, Any]], began: float, file: Path) -> dict[str, Any]:
    """Write what came out so far; what was written."""
    points: Counter[str] = Counter()
    for run in runs:
        points.update(run["points"])
    result = {
        "kills": sum(run["kills"] for run in runs),
        "kills_by_point": dict(points),
        "runs": len(runs),
        "runs_equal": sum(run["equal"] for run in runs),
        "seconds": round(time.time() - began),
        "each": runs,
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    """Run it all, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=27, help="kills at least, one trial at a time")
    parser.add_argument("--concurrent-kills", type=int, default=9, help="kills at most, three trials at once")
    parser.add_argument(
        "--trainings", type=int, default=0, help="a budget of trainings, with replicates; one at a time"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    options = parser.parse_args()
    adopt_orphans()
    draw, began = random.Random(options.seed), time.time()
    folder = Path(tempfile.mkdtemp(prefix="kill_anywhere_"))
    file = RESULTS / ("kill_answer.json" if options.trainings else "kill_anywhere.json")
    expected: dict[str, Any] = {}
    if options.kills:
        whole = Search(folder / "whole", TRIALS, trainings=options.trainings)
        whole.prepare()
        whole.run_until("none", draw, LIMIT)
        expected = whole.story()
        print(f"never killed: {[(trial['state'], len(trial['values'])) for trial in expected['trials']]}", flush=True)

    runs: list[dict[str, Any]] = []
    while sum(run["kills"] for run in runs if run["at_once"] == 1) < options.kills:
        alone = len(runs) % 2 == 1  # the driver alone
        with cluster(folder, 2) if alone else contextlib.nullcontext("") as address:
            search = Search(folder / f"killed{len(runs)}", TRIALS, address=address, trainings=options.trainings)
            search.prepare()
            kills = kill_until_it_ends(search, draw, min(options.kills, 9))
        equal = search.story() == expected
        runs.append({"at_once": 1, "driver_alone": alone, "kills": kills, "points": search.tried, "equal": equal})
        print(runs[-1], flush=True)
        written(runs, began, file)
    if options.concurrent_kills and not options.trainings:
        search = Search(folder / "three", 2 * TRIALS, concurrent=3)
        search.prepare()
        kills = kill_until_it_ends(search, draw, options.concurrent_kills)
        wrong = objections(search.story(), 2 * TRIALS)
        runs.append({"at_once": 3, "driver_alone": False, "kills": kills, "points": search.tried, "equal": not wrong})
        print(runs[-1], wrong, flush=True)
    result = written(runs, began, file)
    print(json.dumps(result, indent=1))
    if result["runs_equal"] == len(runs):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept for a look: {folder}")


if __name__ == "__main__":
    main()
