"""A table of real trainings: settings of a space with real effects, each on many seeds.

    python -m benchmarks.noise.record rows --settings 8 --seeds 4 -o benchmarks/noise/pilot.yaml
    python -m benchmarks.evidence.train benchmarks/noise/pilot.yaml -o benchmarks/results/noise_pilot.jsonl --jobs 2
    python -m benchmarks.noise.record test benchmarks/results/noise_pilot.jsonl
    python -m benchmarks.noise.record rows --settings 32 --seeds 8 --paper-seeds 32 -o benchmarks/noise/table.yaml

`rows` writes which trainings to run, for `benchmarks.evidence.train`, which goes on where it was interrupted. `test`
says whether settings differ by more than their seeds do: the table is worth recording if the pilot's snr is at least 1.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from benchmarks.evidence.rows import read_results
from benchmarks.noise.world import Array
from u2pl_ray.posterior import start_point

PAPER = "paper"
SHORT = [
    *("method.warmup_epochs=2", "train.epochs=10", "train.steps_per_epoch=10"),
    *("train.batch_size=4", "train.unlabeled_batch_size=4"),
]
"""Of one training: hundreds are to fit into some hours of two cores."""
RANGES: dict[str, tuple[str, float, float]] = {
    "method.unsupervised_weight": ("log", 0.1, 2.0),
    "optim.lr": ("log", 0.01, 0.1),
    "optim.head_multiplier": ("log", 1.0, 4.0),
    "method.contrastive.temperature": ("log", 0.05, 2.0),
    "method.alpha.start": ("linear", 0.05, 0.6),
    "method.memory_bank.capacity": ("log integer", 512, 30000),
}
"""Parameter: scale, lowest and highest value. The first three have effects that a pilot must find."""


def setting(unit: Array) -> list[str]:
    """Return the overrides of a point in the unit cube, in the order of `RANGES`."""
    found = []
    for (path, (scale, low, high)), place in zip(RANGES.items(), unit, strict=True):
        value = low + place * (high - low) if scale == "linear" else low * (high / low) ** place
        found.append(f"{path}={round(value) if 'integer' in scale else f'{value:.5g}'}")
    return found


def rows(settings: int, seeds: int) -> dict[str, Any]:
    """Return a comparison of the paper's setting and `settings` Sobol points, for `benchmarks.evidence.rows`."""
    drawn = {f"{i:02d}": setting(start_point([0] * len(RANGES), i, seed=0)) for i in range(settings)}
    return {"base": "quickstart", "settings": SHORT, "seeds": list(range(seeds)), "rows": {PAPER: [], **drawn}}


def test(results: list[dict[str, Any]]) -> dict[str, float]:
    """Return the F test of "all settings are alike" on the teacher's last value, the paper's setting left out.

    Returns:
        seed_sd, setting_sd (metric units, by moments), snr, F, p, and paired_sd: the sd of one seed's luck after the
        seed's mean over all settings is taken out.
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for result in results:
        if result["row"] != PAPER:
            values[result["row"]][result["seed"]] = result["val/teacher"][-1]
    seeds = sorted(set.intersection(*(set(row) for row in values.values())))
    table = np.array([[row[seed] for seed in seeds] for row in values.values()])
    count, width = table.shape
    within = float(table.var(axis=1, ddof=1).mean())
    between = width * float(table.mean(axis=1).var(ddof=1))
    paired = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    effect = max(between - within, 0.0) / width
    return {
        "seed_sd": math.sqrt(within),
        "setting_sd": math.sqrt(effect),
        "snr": math.sqrt(effect / within),
        "F": between / within,
        "p": float(stats.f.sf(between / within, count - 1, count * (width - 1))),
        "paired_sd": math.sqrt(float((paired**2).sum()) / ((count - 1) * (width - 1))),
    }


def main() -> None:
    """Write the rows, or test what was recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("rows")
    write.add_argument("--settings", type=int, default=8)
    write.add_argument("--seeds", type=int, default=4)
    write.add_argument("--paper-seeds", type=int, default=0, help="the paper's setting's, in a second file")
    write.add_argument("-o", "--output", type=Path, required=True)
    verbs.add_parser("test").add_argument("results", type=Path)
    options = parser.parse_args()
    if options.verb == "test":
        found = test(list(read_results(options.results)))
        print(json.dumps({name: round(value, 4) for name, value in found.items()}))
        print(
            "the settings differ: record the table" if found["snr"] >= 1 and found["p"] < 0.05 else "no table: snr < 1"
        )
        return
    tree = rows(options.settings, options.seeds)
    options.output.write_text(yaml.safe_dump(tree, sort_keys=False, width=110), "utf-8")
    if options.paper_seeds > options.seeds:
        more = {**tree, "seeds": list(range(options.seeds, options.paper_seeds)), "rows": {PAPER: []}}
        options.output.with_stem(options.output.stem + "_paper").write_text(
            yaml.safe_dump(more, sort_keys=False), "utf-8"
        )


if __name__ == "__main__":
    main()
