"""Time to the first line of verbs that only look, of two checkouts in turn.

    python benchmarks/startup.py --against ../before

makes a finished experiment of one tiny training, then runs `status`, `best`, and `train` with a misspelt setting, first
with one checkout, then with the other, in pairs; prints the medians and the median ratio (this one / the other).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
TRAIN = (
    "train quickstart --name done workers=1 train.epochs=1 method.warmup_epochs=0 train.steps_per_epoch=2 "
    "tracking.wandb=disabled"
)
COMMANDS = {
    "status": "status done --once",
    "best": "best done",
    "misspelt setting": "train quickstart train.epoch=3",
}


def run(checkout: Path, command: str, storage: str) -> float:
    """Run a command line with a checkout's package; return the seconds until its first line of output."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "U2PL_RAY_STORAGE": storage}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "u2pl_ray", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=storage,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    process.stdout.read()
    process.wait()
    if not line:
        raise SystemExit(f"{command}: printed nothing")
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="another checkout of this repository")
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as storage:
        run(HERE, TRAIN, storage)
        print(f"{'first line of':<20} {'this':>8} {'other':>8} {'ratio':>6}")
        for name, command in COMMANDS.items():
            run(HERE, command, storage), run(options.against.absolute(), command, storage)  # warm the disk cache
            pairs = [
                (run(HERE, command, storage), run(options.against.absolute(), command, storage))
                for _ in range(options.pairs)
            ]
            mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"{name:<20} {mine:>6.2f} s {theirs:>6.2f} s {ratio:>6.2f}")


if __name__ == "__main__":
    main()
