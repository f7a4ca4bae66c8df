"""One part of the GPU day, in this process: `python -m benchmarks.gpu.part steps --out DIR`; see `__main__`."""

import argparse
import importlib
import time
import traceback
from pathlib import Path

import torch

from benchmarks.gpu.report import Context, Report, Skipped


def main() -> None:
    """Run the part; what goes wrong in it is in its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--miniature", action="store_true")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--evidence", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    miniature = options.miniature
    if miniature:
        torch.set_num_threads(1)
    context = Context(
        device=torch.device("cpu") if miniature or not torch.cuda.is_available() else torch.device("cuda", 0),
        miniature=miniature,
        until=time.monotonic() + options.seconds,
        out=options.out,
        reference=options.reference,
        rows=options.evidence,
        settings=tuple(options.set),
        jobs=options.jobs,
    )
    report = Report(options.out / f"gpu_{options.part}.json", options.part, context)
    try:
        if not miniature and context.device.type == "cpu":
            raise Skipped("there is no CUDA device here; --miniature runs everything small on the CPU")
        importlib.import_module(f"benchmarks.gpu.{options.part}").measure(context, report)
        report.end("done")
    except Skipped as reason:
        report.end("skipped", str(reason))
    except Exception as error:
        traceback.print_exc()
        report.end("failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main()
