"""Our losses against the public reference implementation's, in interleaved rounds within one process, on CPU.

    git clone https://github.com/Haochen-Wang409/U2PL
    python benchmarks/loss_vs_reference.py U2PL

Compared, forward + backward, at the VOC size (21 classes, 256-d, 4 + 4 images, 129 x 129 map, full queues of 30,000
keys, 50,000 for the background; all classes in the batch, or 8 of them) and at a small size (11 classes, 64-d, 4 + 4
images, 40 x 40, queues of 2,000):

* Contrastive loss. The reference with its rules corrected to the paper's, which ours always follows, and as published
  (given correct one-hot labels: it then pushes hardly any keys). Corrected, the reference pushes every key there is.
  Ours does the same (`all keys`, the same work), or at most 1024 per class and step (`push_cap`, our default).
* Unsupervised loss and the masks of the contrastive loss: upsampling, entropies, thresholds, small maps.

The reference is loaded as it is; `.cuda()` is made the identity and its all-gather that of one process. Each round
runs it once and each variant of ours once; a ratio is reference / ours within a round, of wall time and of CPU time
(which other programs on the machine disturb less). `--allocator workers` (the default) sets the allocator as for our
CPU workers, for both sides. Memory is the growth of the peak resident size during one step, each in a process of its
own with the default allocator.
"""

import argparse
import ast
import ctypes
import inspect
import json
import multiprocessing
import os
import platform
import statistics
import sys
import textwrap
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.config.method import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.contrastive import ContrastiveLoss
from u2pl_ray.method.losses import pseudo_label_loss
from u2pl_ray.method.maps import downsample
from u2pl_ray.method.reliability import gamma, ignore, partition, upsampled_entropy
from u2pl_ray.method.types import Clock
from u2pl_ray.train.launch import WORKER_ENVIRONMENT

CPU = torch.device("cpu")
ANCHORS, NEGATIVES, TEMPERATURE, ANCHOR_THRESHOLD = 256, 50, 0.5, 0.3  # the reference's
ALPHA = 0.2


@dataclass(frozen=True)
class Size:
    """A problem: classes, feature length, images of each kind, side of the small and the large map, queues."""

    classes: int
    present: int
    dim: int
    images: int
    side: int
    large: int
    capacity: int
    background_capacity: int
    low_rank: int
    high_rank: int


SIZES = {
    "voc": Size(21, 21, 256, 4, 129, 513, 30_000, 50_000, 3, 20),
    "voc, 8 classes": Size(21, 8, 256, 4, 129, 513, 30_000, 50_000, 3, 20),
    "small": Size(11, 11, 64, 4, 40, 160, 2_000, 2_000, 2, 11),
}


@dataclass
class Problem:
    """Inputs of one step, the same for both sides."""

    student: Tensor
    teacher: Tensor
    prob: Tensor
    label: Tensor
    reliable: Tensor
    unreliable: Tensor

    def to(self, device: torch.device) -> "Problem":
        """The same problem on a device."""
        student, *others = (getattr(self, field.name).to(device) for field in fields(self))
        return Problem(student.detach().requires_grad_(), *others)


def make_problem(size: Size, seed: int = 0) -> Problem:
    """Blocky label maps with a little 255, and a teacher that is mostly right about them."""
    random = torch.Generator().manual_seed(seed)
    n, shape = 2 * size.images, (2 * size.images, size.side, size.side)
    blocks = torch.randint(size.present, (n, 1, 12, 12), generator=random)
    label = F.interpolate(blocks.float(), size.side, mode="nearest").long()[:, 0]
    logits = torch.randn(n, size.classes, size.side, size.side, generator=random)
    sure = 4 * torch.rand(shape, generator=random)
    logits.scatter_add_(1, label.unsqueeze(1), sure.unsqueeze(1))
    prob = logits.softmax(1)
    label[size.images :] = prob[size.images :].argmax(1)
    label[torch.rand(shape, generator=random) < 0.03] = IGNORE
    entropies = -(prob * prob.clamp_min(1e-10).log()).sum(1)
    valid = label != IGNORE
    threshold = entropies[size.images :][valid[size.images :]].quantile(1 - ALPHA)
    reliable, unreliable = valid & (entropies < threshold), valid & (entropies > threshold)
    reliable[: size.images] = unreliable[: size.images] = valid[: size.images]
    features = (torch.randn(n, size.dim, size.side, size.side, generator=random) for _ in range(2))
    return Problem(next(features).requires_grad_(), next(features), prob, label.to(torch.uint8), reliable, unreliable)


def load_reference(path: Path, device: torch.device = CPU) -> types.ModuleType:
    """The reference's losses, made to run in one process; with the CPU for device, without a GPU."""
    sys.path.insert(0, str(path))
    for name in ("skimage", "skimage.measure"):  # imported there, not used by the losses
        sys.modules.setdefault(name, types.ModuleType(name))
    measure: Any = sys.modules["skimage.measure"]
    measure.label = measure.regionprops = None
    identity: Any = lambda self, *args, **kwargs: self  # noqa: E731
    if device.type == "cpu":
        torch.Tensor.cuda = identity  # type: ignore[method-assign]
    import u2pl.utils.loss_helper as losses  # type: ignore[import-not-found]

    utils: Any = sys.modules["u2pl.utils.utils"]
    utils.gather_together = lambda data: [data]
    return losses


class _Corrections(ast.NodeTransformer):
    """The paper's rules in the reference's contrastive loss (faults 2 and 3 of its bank and indices)."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "high_valid_pixel":
            # Keys need no label of their own: any unreliable pixel, of whatever (pseudo-)label.
            node.value = ast.parse("high_mask.expand(-1, num_segments, -1, -1)", mode="eval").body
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) == "seg_proto_list.append":
            for name in ast.walk(node):  # the prototype averages the anchors' candidates
                if isinstance(name, ast.Name) and name.id == "low_valid_pixel_seg":
                    name.id = "rep_mask_low_entropy"
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if ast.unparse(node) in ("seg_feat_low_entropy_list[i]", "seg_proto[i]"):
            node.slice = ast.parse("valid_classes[i]", mode="eval").body
        return self.generic_visit(node)


def corrected(losses: types.ModuleType) -> Callable[..., Any]:
    """The reference's contrastive loss with the paper's rules."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(losses.compute_contra_memobank_loss)))
    tree = ast.fix_missing_locations(_Corrections().visit(tree))
    scope = dict(vars(losses))
    exec(compile(tree, "<corrected>", "exec"), scope)
    return scope["compute_contra_memobank_loss"]


class Reference:
    """The reference's contrastive loss on a problem, with full queues."""

    def __init__(self, losses: types.ModuleType, rules: str, size: Size, problem: Problem) -> None:
        self.function = losses.compute_contra_memobank_loss if rules == "published" else corrected(losses)
        self.problem, self.images = problem, size.images
        self.config = {
            "current_class_threshold": ANCHOR_THRESHOLD,
            "current_class_negative_threshold": 1,
            "low_rank": size.low_rank,
            "high_rank": size.high_rank,
            "temperature": TEMPERATURE,
            "num_queries": ANCHORS,
            "num_negatives": NEGATIVES,
        }
        self.sizes = [size.background_capacity] + [size.capacity] * (size.classes - 1)
        self.queues = [[torch.randn(capacity, size.dim)] for capacity in self.sizes]
        self.pointers = [torch.zeros(1, dtype=torch.long) for _ in self.sizes]
        classes = torch.arange(size.classes, dtype=torch.uint8, device=problem.label.device).view(1, -1, 1, 1)
        self.one_hot = (problem.label.unsqueeze(1) == classes).long()
        self.reliable = problem.reliable.unsqueeze(1).float()
        self.unreliable = problem.unreliable.unsqueeze(1).float()

    def __call__(self) -> Tensor:
        """The loss of one step."""
        problem, n = self.problem, self.images
        self.keys, loss = self.function(
            problem.student,
            self.one_hot[:n],
            self.one_hot[n:],
            problem.prob[:n],
            problem.prob[n:],
            self.reliable,
            self.unreliable,
            self.config,
            self.queues,
            self.pointers,
            self.sizes,
            problem.teacher,
        )
        return loss


class Ours:
    """Our contrastive loss on a problem, with full queues."""

    def __init__(self, size: Size, problem: Problem, push_cap: int | None, key_dtype: str) -> None:
        config = ContrastiveConfig(
            temperature=TEMPERATURE,
            anchors=ANCHORS,
            negatives=NEGATIVES,
            low_rank=size.low_rank,
            high_rank=size.high_rank,
            anchor_threshold=ANCHOR_THRESHOLD,
        )
        bank = MemoryBankConfig.model_validate(
            {
                "capacity": size.capacity,
                "background_capacity": size.background_capacity,
                "push_cap": push_cap,
                "key_dtype": key_dtype,
            }
        )
        device = problem.prob.device
        self.loss = ContrastiveLoss(config, bank, size.classes, size.dim, 0, Collectives(device), device)
        full = self.loss.bank
        full.keys.copy_(F.normalize(torch.randn(full.keys.shape), dim=1))
        full.fill.copy_(full.capacity)
        self.problem, self.images, self.step = problem, size.images, 0

    def __call__(self) -> Tensor:
        """The loss of one step."""
        problem = self.problem
        maps = self.loss.local_maps(problem.prob, problem.label, self.images)
        loss, self.stats = self.loss(
            problem.student,
            problem.teacher,
            self.images,
            maps,
            problem.reliable,
            problem.unreliable,
            Clock(0, 1, self.step),
        )
        self.step += 1
        return loss


class Logits:
    """Small logits of student and teacher for the unlabeled images, labels and pseudo-labels on the large map."""

    def __init__(self, size: Size, problem: Problem) -> None:
        n, large = size.images, (size.large, size.large)
        draws = torch.Generator().manual_seed(1)
        self.teacher = problem.prob[n:].log()
        noise = torch.randn(self.teacher.shape, generator=draws).to(self.teacher.device)
        self.student = (self.teacher + noise).requires_grad_()
        labels = F.interpolate(problem.label.float().unsqueeze(1), large, mode="nearest").squeeze(1)
        self.labels, self.pseudo_labels = labels.to(torch.uint8).split(n)
        self.small = self.teacher.shape[-2:]


class ReferenceUnsupervised:
    """The reference's unsupervised loss, and the masks its training loop makes, with the same upsampling as ours."""

    def __init__(self, losses: types.ModuleType, size: Size, logits: Logits) -> None:
        self.losses, self.classes, self.logits = losses, size.classes, logits
        self.one_hot = sys.modules["u2pl.utils.utils"].label_onehot
        self.labels, self.pseudo_labels = logits.labels.long(), logits.pseudo_labels.long()

    def __call__(self) -> Tensor:
        """The loss of one step."""
        logits, pseudo_labels = self.logits, self.pseudo_labels
        large, small = pseudo_labels.shape[-2:], logits.small
        student, teacher = (
            F.interpolate(each, large, mode="bilinear", align_corners=False)
            for each in (logits.student, logits.teacher)
        )
        percent = 100 * (1 - ALPHA)
        loss = self.losses.compute_unsupervised_loss(student, pseudo_labels.clone(), percent, teacher)
        with torch.no_grad():
            prob = teacher.softmax(1)
            entropies = -(prob * torch.log(prob + 1e-10)).sum(1)
            valid = pseudo_labels != IGNORE
            for share, compare in ((100 - percent, torch.le), (percent, torch.ge)):
                threshold = np.percentile(entropies[valid].cpu().numpy().flatten(), share)
                mask = torch.cat([(self.labels != IGNORE).float(), compare(entropies, threshold).float() * valid])
                F.interpolate(mask.unsqueeze(1), small, mode="nearest")
            for labels in (self.labels, pseudo_labels):
                F.interpolate(self.one_hot(labels, self.classes), small, mode="nearest")
        return loss


class OurUnsupervised:
    """Our pseudo-label loss and the maps that the contrastive loss takes, as in `method.pseudo_label`."""

    def __init__(self, logits: Logits) -> None:
        self.logits = logits

    def __call__(self) -> Tensor:
        """The loss of one step."""
        logits, pseudo_labels = self.logits, self.logits.pseudo_labels
        with torch.no_grad():
            entropies = upsampled_entropy(logits.teacher, pseudo_labels.shape[-2:])
            entropies.masked_fill_(pseudo_labels == IGNORE, torch.nan)
            reliable, unreliable = partition(entropies, gamma(entropies, ALPHA), ALPHA)
            targets = ignore(pseudo_labels, ~reliable)
            labels = torch.cat([downsample(each, logits.small) for each in (logits.labels, pseudo_labels)])
            valid = labels[: len(pseudo_labels)] != IGNORE
            for mask in (reliable, unreliable):
                torch.cat([valid, downsample(mask, logits.small)])
        return pseudo_label_loss(logits.student, targets, reliable.sum(), (~entropies.isnan()).sum(), 1)


def check_same_loss(reference: ReferenceUnsupervised, ours: OurUnsupervised) -> None:
    """Raise unless both unsupervised losses are equal, but for lambda_u: the reference counts ignored pixels too."""
    counted = (ours.logits.pseudo_labels != IGNORE).float().mean()
    torch.testing.assert_close(counted * reference(), ours(), rtol=1e-3, atol=1e-4)


Step = Callable[[], Tensor]
VARIANTS: dict[str, tuple[int | None, str]] = {
    "all keys": (None, "float32"),
    "all keys, bfloat16": (None, "bfloat16"),
    "push_cap 1024": (1024, "float32"),
    "push_cap 1024, bfloat16": (1024, "bfloat16"),
}


def timed(step: Step, inputs: Tensor) -> dict[str, float]:
    """Milliseconds of a forward and of a backward pass, of both on the wall clock and of CPU."""
    inputs.grad = None
    cpu, start = time.process_time(), time.perf_counter()
    loss = step()
    middle = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    parts = {"forward": middle - start, "backward": end - middle, "wall": end - start}
    return {name: 1e3 * seconds for name, seconds in (parts | {"cpu": time.process_time() - cpu}).items()}


def compare(reference: Step, variants: dict[str, Step], inputs: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Interleaved rounds (the first two are not counted), in alternating order: one row per variant."""
    steps = {"reference": reference} | variants
    times: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for round_ in range(rounds + 2):
        for name in list(steps)[:: 1 if round_ % 2 else -1]:
            result = timed(steps[name], inputs)
            if round_ >= 2:
                times[name].append(result)

    def medians(name: str) -> dict[str, float]:
        return {part: statistics.median(time_[part] for time_ in times[name]) for part in times[name][0]}

    rows = []
    for name in variants:
        row: dict[str, Any] = {"variant": name, "reference_ms": medians("reference"), "ours_ms": medians(name)}
        for clock in ("wall", "cpu"):
            ratios = [r[clock] / o[clock] for r, o in zip(times["reference"], times[name], strict=True)]
            row[f"{clock}_ratio"] = {"median": statistics.median(ratios), "range": [min(ratios), max(ratios)]}
        rows.append(row)
    return rows


def report(what: str, size: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print rows of the table."""
    for row in rows:
        theirs, ours, wall, cpu = (row[key] for key in ("reference_ms", "ours_ms", "wall_ratio", "cpu_ratio"))
        times = " | ".join(f"{side['forward']:5.0f} + {side['backward']:5.0f}" for side in (theirs, ours))
        ratio = f"{wall['median']:5.1f} [{wall['range'][0]:.1f}, {wall['range'][1]:.1f}]"
        print(f"{size:15} | {what:24} | {row['variant']:24} | {times} | {ratio:20} | {cpu['median']:5.1f}", flush=True)
    return [{"size": size, "loss": what} | row for row in rows]


def peak_growth(side: str, path: Path, size: Size, threads: int, results: Any) -> None:
    """Put MB by which the peak resident size grows over what is resident before, in one forward + backward."""
    torch.set_num_threads(threads)
    losses = load_reference(path)

    def step(problem_size: Size) -> tuple[Step, Problem]:
        problem = make_problem(problem_size)
        if side in VARIANTS:
            return Ours(problem_size, problem, *VARIANTS[side]), problem
        return Reference(losses, side, problem_size, problem), problem

    step(SIZES["small"])[0]().backward()  # load what is loaded once
    run, _ = step(size)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    run().backward()
    results.put((_status("VmHWM") - before) / 1e3)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def memory(path: Path, size: str, threads: int) -> dict[str, float]:
    """`peak_growth` of both sides, with corrected rules, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    for variable in WORKER_ENVIRONMENT:
        os.environ.pop(variable, None)
    growth = {}
    for side in ("corrected", *VARIANTS):
        results = context.Queue()
        process = context.Process(target=peak_growth, args=(side, path, SIZES[size], threads, results))
        process.start()
        growth[side] = results.get(timeout=1800)
        process.join()
        share = growth[side] / growth["corrected"]
        print(f"{size:15} | peak memory growth, {side:24} | {growth[side]:7.0f} MB | {share:.2f}", flush=True)
    return growth


def main() -> None:
    """Run all comparisons, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, help="checkout of the reference implementation")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--allocator", choices=["workers", "default"], default="workers")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.allocator == "workers" and not WORKER_ENVIRONMENT.items() <= os.environ.items():
        # The allocator reads these when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | WORKER_ENVIRONMENT)
    path = options.reference.resolve()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    losses = load_reference(path)
    rows: list[dict[str, Any]] = []
    growth = {}
    print("size | loss | ours | reference ms, forward + backward | ours ms | ratio, median [range] | ratio of CPU time")
    for name in options.sizes:
        size = SIZES[name]
        problem = make_problem(size)
        for rules in ("corrected", "published"):
            reference = Reference(losses, rules, size, problem)
            ours: dict[str, Step] = {key: Ours(size, problem, *variant) for key, variant in VARIANTS.items()}
            found = compare(reference, ours, problem.student, options.rounds)
            rows += report(f"contrastive, {rules}", name, found)
        logits = Logits(size, problem)
        step, our_step = ReferenceUnsupervised(losses, size, logits), OurUnsupervised(logits)
        check_same_loss(step, our_step)
        found = compare(step, {"": our_step}, logits.student, options.rounds)
        rows += report("unsupervised and masks", name, found)
    for name in options.sizes:
        growth[name] = memory(path, name, options.threads)
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "threads": options.threads,
        "rounds": options.rounds,
        "allocator": options.allocator,
        "anchors": ANCHORS,
        "negatives": NEGATIVES,
        "rows": rows,
        "peak_memory_growth_mb": growth,
    }
    output = options.output or Path(__file__).parent / "results" / f"loss_vs_reference_{options.allocator}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(output)


if __name__ == "__main__":
    main()
