"""DeepLabV3+ ResNet-101 at 512 x 512, 4 + 4 images: milliseconds, images a second and memory of a step, and its parts.

`float32` is torch's default: convolutions may use TF32.
"""

import gc
from typing import Any

from benchmarks.gpu.breakdown import breakdown, method_share
from benchmarks.gpu.clock import forget_peak, peak_gib, step_milliseconds
from benchmarks.gpu.reference_step import ReferenceStep
from benchmarks.gpu.report import Context, Report
from benchmarks.gpu.training import Numerics, Problem, Training
from benchmarks.reference_losses import load_reference

FULL = Problem("DeepLabV3Plus", "resnet101", 512, 4, 21, 256, 30_000, warmup=5, steps=20)
MINIATURE = Problem("DeepLabV3Plus", "tu-resnet10t", 32, 2, 6, 16, 300, warmup=1, steps=1)
NUMERICS = {
    "float32": Numerics(),
    "bfloat16": Numerics(bfloat16=True),
    "bfloat16, channels_last": Numerics(bfloat16=True, channels_last=True),
    "bfloat16, channels_last, compiled": Numerics(bfloat16=True, channels_last=True, compiled=True),
}
COMPILE_SECONDS = 60  # needed at least
SLOW_ON_CPU = "bfloat16"  # in miniature one kind of bfloat16 is enough: a CPU without its instructions takes seconds


def measure(context: Context, report: Report) -> None:
    """Time ours and the published step in each kind of numerics; compilation, which may fail, comes last."""
    problem = MINIATURE if context.miniature else FULL
    losses = None if context.reference is None else load_reference(context.reference, context.device)
    failures = []
    for name, numerics in NUMERICS.items():
        if context.miniature and name == SLOW_ON_CPU:
            continue
        try:
            if numerics.compiled and context.seconds_left < COMPILE_SECONDS and not context.miniature:
                report.add(f"ours, {name}", result="no time left to compile")
                continue
            _ours(context, report, problem, numerics, name)
            if losses is not None and not numerics.compiled and not numerics.channels_last:
                for rules in ("corrected",) if numerics.bfloat16 else ("corrected", "published"):
                    _reference(context, report, problem, numerics, losses, rules, name)
        except Exception as error:  # of one kind of numerics: the others are still to come
            failures.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            report.add(f"failed: {failures[-1]}")
    if losses is None:
        report.add("published step", result="skipped: no --reference")
    if failures:
        raise RuntimeError("; ".join(failures))


def time_ours(context: Context, report: Report, problem: Problem, numerics: Numerics, name: str) -> Training:
    """Time our step; the training goes on to be looked into."""
    forget_peak(context.device)
    backend = "aot_eager" if context.miniature else "inductor"  # the CPU's compiler takes minutes
    training = Training(problem, numerics, context.device, backend)
    ms = step_milliseconds(training.step, context.device, problem.warmup, problem.steps)
    report.add(name, **_figures(context, problem, ms))
    return training


def _ours(context: Context, report: Report, problem: Problem, numerics: Numerics, name: str) -> None:
    training = time_ours(context, report, problem, numerics, f"ours, {name}")
    if not numerics.compiled and not (context.miniature and numerics.bfloat16):  # see SLOW_ON_CPU
        parts = breakdown(training, 1, problem.steps // 2 or 1)
        shares = {part: round(ms, 3) for part, ms in sorted(parts.items(), key=lambda item: -item[1])}
        report.add(f"ours, {name}: losses, masks and bank", share_of_step=method_share(parts), milliseconds=shares)
    del training
    gc.collect()


def _reference(
    context: Context, report: Report, problem: Problem, numerics: Numerics, losses: Any, rules: str, name: str
) -> None:
    forget_peak(context.device)
    training = Training(problem, numerics, context.device)
    del training.objective  # with its bank: the published one is on the host
    step = ReferenceStep(training, losses, rules)
    ms = step_milliseconds(step, context.device, 1, 1 if context.miniature else 5)
    report.add(f"published step, {rules} rules, {name}", **_figures(context, problem, ms))
    gc.collect()


def _figures(context: Context, problem: Problem, ms: float) -> dict[str, Any]:
    figures = {"milliseconds": ms, "images_per_second": 2e3 * problem.images / ms}
    peak = peak_gib(context.device)
    return figures if peak is None else {**figures, "peak_gib": peak}
