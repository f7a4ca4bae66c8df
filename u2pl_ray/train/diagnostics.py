"""An epoch's losses and diagnostics: added up on the device step by step, read once at the end."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from u2pl_ray.config import metrics as names
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.statistics import RELIABLE, RIGHT, UNKNOWN, UNRELIABLE, WRONG
from u2pl_ray.method.types import Losses, Stats
from u2pl_ray.train.session import Metrics

_TERMS = ("total", "supervised", "unsupervised", "contrastive")


class Diagnostics:
    """Accumulates what the objective says of each step.

    Args:
        classes: their names, in label order.
        device: where the steps' tensors are.
    """

    def __init__(self, classes: Sequence[str], device: torch.device) -> None:
        self.classes = classes
        self._losses = torch.zeros(len(_TERMS), dtype=torch.float64, device=device)
        self._steps = 0
        self._local: dict[str, Tensor] = {}
        self._shared: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, losses: Losses, stats: Stats) -> None:
        """One step. Nothing here waits for the device."""
        self._losses += torch.stack([getattr(losses, term).detach() for term in _TERMS])
        self._steps += 1
        for total, part in ((self._local, stats.local), (self._shared, stats.shared)):
            for name, value in part.items():
                # Clone: a step may hand out a view of memory that it uses again.
                total[name] = total[name] + value if name in total else value.clone()

    def read(self, collectives: Collectives) -> Metrics:
        """The epoch's metrics, the same on every worker. Waits for the device."""
        order = sorted(self._local)  # the same on all workers, who ran the same steps
        gathered = collectives.gather(self._losses.unsqueeze(0), *(self._local[name].unsqueeze(0) for name in order))
        terms, *local_sums = (value.sum(0).cpu() for value in gathered)
        mean_losses = terms / collectives.world_size / max(1, self._steps)  # means over workers are the global losses
        result: Metrics = {names.loss(term): float(value) for term, value in zip(_TERMS, mean_losses, strict=True)}
        local = dict(zip(order, local_sums, strict=True))
        shared = {name: value.cpu() for name, value in self._shared.items()}
        if "pixels" in local:
            result |= self._thresholds(shared) | self._pixels(local["pixels"], local["entropy"])
        if "bank/fill" in shared:
            result |= self._contrastive(local, shared)
        return result

    def _thresholds(self, shared: dict[str, Tensor]) -> Metrics:
        steps = float(shared["steps"])
        result: Metrics = {"diag/alpha": float(shared["alpha"]) / steps, "diag/gamma": float(shared["gamma"]) / steps}
        if "class/gamma" in shared:  # means over the steps in which the class had pixels
            gammas = shared["class/gamma"] / shared["class/steps"].where(shared["class/steps"] > 0, torch.nan)
            result |= self._per_class("gamma", gammas)
        return result

    def _pixels(self, pixels: Tensor, entropy: Tensor) -> Metrics:
        """From the counts [C, 2 reliable, 3 right/wrong/unknown, bins] and the entropies' sum."""
        total = float(pixels.sum())
        result: Metrics = {
            "diag/entropy/mean": float(entropy) / max(1.0, total),
            "diag/entropy/hist": pixels.sum((0, 1, 2)).tolist(),
            "diag/entropy/max": math.log(len(self.classes)),
            "diag/reliable_fraction": _ratio(pixels[:, RELIABLE].sum(), pixels.sum()),
        }
        for index, name in enumerate(self.classes):
            if pixels[index].sum() > 0:
                fraction = _ratio(pixels[index, RELIABLE].sum(), pixels[index].sum())
                result[names.per_class("reliable_fraction", name)] = fraction
        known = pixels[:, :, :UNKNOWN]
        if known.sum() > 0:
            by_verdict = known.sum((0, 1))
            result["diag/entropy/hist_right"] = by_verdict[RIGHT].tolist()
            result["diag/entropy/hist_wrong"] = by_verdict[WRONG].tolist()
            for kind, row in (("reliable", RELIABLE), ("unreliable", UNRELIABLE)):
                if known[:, row].sum() > 0:
                    right = _ratio(known[:, row, RIGHT].sum(), known[:, row].sum())
                    result[f"diag/pseudo_label/accuracy_{kind}"] = right
            verdicts = known[:, RELIABLE].sum(-1)
            shares = (verdicts[:, RIGHT] / verdicts.sum(-1)).where(verdicts.sum(-1) > 0, torch.nan)
            result |= self._per_class("pseudo_label/accuracy_reliable", shares)
        return result

    def _contrastive(self, local: dict[str, Tensor], shared: dict[str, Tensor]) -> Metrics:
        """The memory bank per class (means over the epoch's steps), and how many negative keys were false."""
        steps = float(shared["steps"])
        result: Metrics = {}
        for group in ("bank/fill", "bank/pushed", "bank/key_age"):
            result |= self._per_class(group, shared[group] / steps)
        for group, name in (("anchor/none", "anchors/missing"), ("negative/none", "negatives/missing")):
            result |= self._per_class(name, shared[group] / steps)
        known, false = local["negatives/known"], local["negatives/false"]
        # Keys of labeled pixels are never false. Without a label of unlabeled pixels the rate would say nothing.
        if known.sum() > 0 and "pixels" in local and local["pixels"][:, :, :UNKNOWN].sum() > 0:
            result["diag/negatives/false_rate"] = _ratio(false.sum(), known.sum())
            rates = torch.where(known > 0, false / known, torch.nan)
            result |= self._per_class("negatives/false_rate", rates)
        return result

    def _per_class(self, group: str, values: Tensor) -> Metrics:
        pairs = zip(self.classes, values.tolist(), strict=True)
        return {names.per_class(group, name): value for name, value in pairs if not math.isnan(value)}


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part) / max(1.0, float(whole))
