"""What the posterior costs: the time of one fit of 100 and of 1,000 runs, on one thread.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.posterior_cost

The runs are as in a search: curves of 20 epochs, half of them stopped at the first rung, seven tenths of them settings
of five parameters, the rest replicates of seven leaders on common seeds. Times are the process's own (CPU) time, the
smallest of several.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from u2pl_ray.posterior import Run, fit

AIMS = {100: 0.05, 1000: 1.0}
EPOCHS, LEADERS = 20, 7


def study(count: int, seed: int = 0) -> tuple[list[Run], dict[str, list[float]]]:
    """Return `count` runs and the settings' places.

    Args:
        count: number of runs.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    settings = int(0.7 * count)
    points = {str(i): rng.random(5).tolist() for i in range(settings)}
    runs = []
    for number in range(count):
        explored = number < settings
        name = str(number if explored else 6 * (number % LEADERS))
        last = EPOCHS if number % 6 == 0 or not explored else EPOCHS // 2 if number % 6 < 3 else EPOCHS // 4
        curve = 3 * points[name][0] + np.cumsum(rng.normal(size=EPOCHS)) / np.sqrt(EPOCHS)
        on = 0 if explored else 1_000_000 + 1000 * (number // LEADERS)
        runs.append(Run(name, on, {(epoch + 1) / EPOCHS: float(curve[epoch]) for epoch in range(last)}))
    return runs, points


def measure(count: int, smooth: bool, repeats: int) -> float:
    """Return the smallest CPU time of `repeats` fits, in seconds."""
    runs, points = study(count)
    found = []
    for _ in range(repeats):
        began = time.process_time()
        fit(runs, "0", points if smooth else None)
        found.append(time.process_time() - began)
    return min(found)


def main() -> None:
    """Print each size's time beside its aim; write them as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for count, aim in AIMS.items():
        for smooth in (True, False):
            seconds = measure(count, smooth, arguments.repeats)
            rows.append({"runs": count, "smooth": smooth, "seconds": round(seconds, 4), "aim": aim})
            kind = "smooth" if smooth else "flat"
            print(f"{count:5} runs, {kind:6}: {1000 * seconds:6.1f} ms (aim {1000 * aim:.0f})", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
