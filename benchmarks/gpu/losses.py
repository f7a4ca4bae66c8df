"""Our losses against the published ones, forward + backward, by the device's clock, in rounds that take turns."""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.gpu.clock import forget_peak, peak_gib, step_milliseconds
from benchmarks.gpu.report import Context, Report, Skipped
from benchmarks.loss_problems import SIZES, Logits, Size, make_problem
from benchmarks.our_losses import VARIANTS, Ours, OurUnsupervised, check_same_loss
from benchmarks.reference_losses import Reference, ReferenceUnsupervised, load_reference

MINIATURE = Size(6, 6, 16, 2, 16, 64, 200, 300, 2, 6)
ROUNDS = 5


def measure(context: Context, report: Report) -> None:
    """Compare the contrastive loss at both sizes and under both rules, and the unsupervised loss with its masks."""
    if context.reference is None:
        raise Skipped("no --reference")
    losses = load_reference(context.reference, context.device)
    sizes = {"miniature": MINIATURE} if context.miniature else SIZES
    for name, size in sizes.items():
        problem = make_problem(size).to(context.device)
        for rules in ("corrected", "published"):
            reference: Callable[[], Tensor] = Reference(losses, rules, size, problem)
            ours: dict[str, Callable[[], Tensor]] = {
                variant: Ours(size, problem, *settings) for variant, settings in VARIANTS.items()
            }
            _compare(context, report, f"contrastive, {rules} rules, {name}", reference, ours, problem.student)
        logits = Logits(size, problem)
        theirs, own = ReferenceUnsupervised(losses, size, logits), OurUnsupervised(logits)
        check_same_loss(theirs, own)
        _compare(context, report, f"unsupervised and masks, {name}", theirs, {"": own}, logits.student)


def _compare(
    context: Context,
    report: Report,
    what: str,
    reference: Callable[[], Tensor],
    ours: dict[str, Callable[[], Tensor]],
    inputs: Tensor,
) -> None:
    times: dict[str, list[float]] = {}
    peaks: dict[str, float | None] = {}
    for _ in range(2 if context.miniature else ROUNDS):
        for name, loss in {"reference": reference, **ours}.items():

            def step(loss: Callable[[], Tensor] = loss) -> None:
                inputs.grad = None
                loss().backward()

            before = torch.cuda.memory_allocated(context.device) if context.device.type == "cuda" else 0
            forget_peak(context.device)
            times.setdefault(name, []).append(step_milliseconds(step, context.device, 1, 1))
            peak = peak_gib(context.device)
            peaks[name] = None if peak is None else peak - before / 2**30
    theirs = times.pop("reference")
    for name, own in times.items():
        ratios = [one / other for one, other in zip(theirs, own, strict=True)]
        memory = {} if peaks[name] is None else {"peak_gib": peaks[name], "reference_peak_gib": peaks["reference"]}
        report.add(
            f"{what}{', ' if name else ''}{name}",
            ratio=statistics.median(ratios),
            ratio_range=[round(min(ratios), 2), round(max(ratios), 2)],
            ours_ms=statistics.median(own),
            reference_ms=statistics.median(theirs),
            **memory,
        )
