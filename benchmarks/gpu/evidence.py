"""Trainings of a comparison, several at once on the device, as long as there is time; see `benchmarks.evidence`."""

import subprocess
import sys
from pathlib import Path

from benchmarks.evidence.rows import read_results
from benchmarks.evidence.table import lines
from benchmarks.gpu.report import Context, Report

ROOT = Path(__file__).parents[2]
LAB, MINIATURE = ROOT / "benchmarks/evidence/lab.yaml", Path(__file__).with_name("miniature.yaml")
CLOSING_SECONDS = 10.0


def measure(context: Context, report: Report) -> None:
    """Train what the time allows; the results are lines of `gpu_evidence.jsonl`."""
    rows = context.rows or (MINIATURE if context.miniature else LAB)
    output = context.out / "gpu_evidence.jsonl"
    command = [sys.executable, "-m", "benchmarks.evidence.train", str(rows), "-o", str(output)]
    command += ["--jobs", str(context.jobs), "--device", context.device.type]
    command += ["--minutes", str(max(0.01, (context.seconds_left - CLOSING_SECONDS) / 60))]
    if context.reference is not None:
        command += ["--reference", str(context.reference)]
    subprocess.run([*command, "--set", *context.settings], cwd=ROOT, check=True)
    results = list(read_results(output))
    if not results:
        raise RuntimeError("no training was finished; see above")
    for text in lines(results, "supervised"):
        report.add(text)
