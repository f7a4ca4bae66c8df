"""DINOv2 ViT-B with DPT, random weights: a step's time, images a second, memory."""

from benchmarks.gpu.report import Context, Report
from benchmarks.gpu.steps import NUMERICS, time_ours
from benchmarks.gpu.training import Problem

FULL = Problem("DPT", "tu-vit_base_patch14_dinov2", 512, 4, 21, 256, 30_000, warmup=4, steps=12)
MINIATURE = Problem("DPT", "tu-vit_small_patch14_dinov2", 32, 2, 6, 16, 300, warmup=1, steps=1)


def measure(context: Context, report: Report) -> None:
    """Time our step in float32 and, but for the miniature, bfloat16."""
    problem = MINIATURE if context.miniature else FULL
    for name in ("float32",) if context.miniature else ("float32", "bfloat16"):
        time_ours(context, report, problem, NUMERICS[name], f"ours, {name}")
