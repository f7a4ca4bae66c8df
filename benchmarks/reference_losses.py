"""The public reference implementation's losses: as published, or with its rules corrected to the paper's."""

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.loss_problems import (
    ALPHA,
    ANCHOR_THRESHOLD,
    ANCHORS,
    CPU,
    NEGATIVES,
    TEMPERATURE,
    Logits,
    Problem,
    Size,
)
from u2pl_ray.config.schema import IGNORE


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
