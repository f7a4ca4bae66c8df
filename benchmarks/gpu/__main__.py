"""The GPU day: one command, at most eight minutes on one GPU, for all that a CPU cannot tell.

    make gpu                                  # or, without the project's environment:
    python -m benchmarks.gpu --out DIR --reference U2PL --evidence FILE.yaml --set data.root=DATA
    python -m benchmarks.gpu --miniature      # every part, small, on the CPU, in about a minute

On a machine that has PyTorch and timm but not this package's other needs (`wheels.sh` says which, and collects them):

    python -m pip install -q --no-index --no-deps --target /tmp/site wheels/*.whl
    PYTHONPATH=/tmp/site:. python -m benchmarks.gpu --out DIR --reference U2PL

Parts, each in a process of its own with a time limit, so that none can end another:

* `sync_free`: whole optimizer steps while CUDA raises at every synchronisation.
* `agreement`: golden vectors on the device, and every loss and map there against the CPU's.
* `steps`: images a second, memory, and where the time of a step goes, in several numerics, beside the published step.
* `losses`: our losses against the published ones, by the device's clock.
* `dpt`: a step of DINOv2 ViT-B with DPT.
* `evidence`: trainings of a comparison, several at once on the device, as long as there is time left.

`--reference` is a checkout of https://github.com/Haochen-Wang409/U2PL, without which the comparisons with it are
skipped. Neither Ray nor Optuna nor wandb is needed. Exit code 1 if a part failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import line

LIMITS = {"sync_free": 60.0, "agreement": 100.0, "steps": 230.0, "losses": 90.0, "dpt": 60.0, "evidence": 480.0}
"""Seconds that each part may take, in the order in which they run."""


def run(part: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run a part in a process of its own; what it found, even if it had to be killed."""
    file = options.out / f"gpu_{part}.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.part", part, "--out", str(options.out)]
    command += ["--seconds", str(seconds), "--jobs", str(options.jobs), "--set", *options.set]
    command += ["--miniature"] * options.miniature
    for name in ("reference", "evidence"):
        if value := getattr(options, name):
            command += [f"--{name}", str(value)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        process.wait(timeout=seconds + 5)  # a part looks at the time itself first
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not file.exists():
        return {"part": part, "status": "failed", "why": f"ended with code {process.returncode}", "rows": []}
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def main() -> None:
    """Run the parts, print a table of what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results; benchmarks/results, or none for the miniature")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--miniature", action="store_true", help="small sizes, on the CPU")
    parser.add_argument("--reference", type=Path, help="checkout of the published implementation")
    parser.add_argument("--evidence", type=Path, help="comparison to train; benchmarks/evidence/lab.yaml")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="of its trainings at once")
    parser.add_argument("--set", nargs="*", default=[], metavar="A.B=C", help="further settings of its trainings")
    options = parser.parse_args()
    if options.out is None:
        options.out = Path(tempfile.mkdtemp()) if options.miniature else Path(__file__).parents[1] / "results"
    options.out = options.out.resolve()
    until = time.monotonic() + 60 * options.minutes
    results: list[dict[str, Any]] = []
    for part in (name for name in LIMITS if name in options.only):
        left = until - time.monotonic()
        print(f"== {part} ({left:.0f} s left)", flush=True)
        if left < 10:
            results.append({"part": part, "status": "skipped", "why": "no time left", "rows": []})
        else:
            results.append(run(part, options, min(left, LIMITS[part])))
    print("\n== table")
    for result in results:
        for row in result["rows"]:
            print(line(result["part"], row))
        print(f"{result['part']:<10} {result['status']} {result['why']} ({result.get('seconds', 0)} s)")
    sys.exit(1 if any(result["status"] in ("failed", "cut short") for result in results) else 0)


if __name__ == "__main__":
    main()
