"""Golden vectors on the device, and every loss and map there against the CPU's: the tests that say so, counted."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu.report import Context, Report

FILES = ("tests/method/test_device.py", "tests/method/test_no_sync.py")
ROOT = Path(__file__).parents[2]


def measure(context: Context, report: Report) -> None:
    """Run the tests that take a device: on CUDA those marked `gpu`, in miniature the same ones on the CPU."""
    results = context.out / "agreement.xml"
    choice = ["-m", "gpu"] if context.device.type == "cuda" else ["-k", "test_device and cpu"]
    command = [sys.executable, "-m", "pytest", *FILES, *choice, "-p", "no:cacheprovider", f"--junitxml={results}"]
    ended = subprocess.run(command, cwd=ROOT, timeout=max(1.0, context.seconds_left))
    suite = ElementTree.parse(results).getroot()[0]
    results.unlink()
    failed = [case for case in suite if case.find("failure") is not None or case.find("error") is not None]
    count = {name: int(suite.get(name, 0)) for name in ("tests", "skipped")}
    report.add("golden vectors and agreement with the CPU", **count, failed=len(failed))
    for case in failed:
        report.add(f"failed: {case.get('name')}")
    if ended.returncode:
        raise RuntimeError(f"{len(failed)} of {count['tests']} tests failed")
