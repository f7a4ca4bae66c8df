"""U2PL's contrastive term L_c as a part that any semi-supervised step may have."""

from typing import Any

import torch
from torch import Tensor

from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method.contrastive import ContrastiveLoss, Maps
from u2pl_ray.method.maps import downsample
from u2pl_ray.method.types import Clock, Outputs, Stats


class ContrastiveTerm:
    """Brings a step's outputs and large maps to what `ContrastiveLoss` takes: small maps of the global batch.

    Args:
        loss: with its memory bank.
    """

    def __init__(self, loss: ContrastiveLoss) -> None:
        self.loss = loss

    def local_maps(self, labeled: Outputs, unlabeled: Outputs, labels: Tensor, pseudo_labels: Tensor) -> list[Tensor]:
        """Compute what every worker must know of this worker's pixels: the labeled images' maps, then the unlabeled's.

        Args:
            labeled: the teacher's outputs for the labeled images.
            unlabeled: the teacher's outputs for the mixed unlabeled images.
            labels: [Bl,h,w].
            pseudo_labels: [Bu,h,w] uint8, mixed like their images.
        """
        prob = torch.cat([labeled.logits, unlabeled.logits]).float().softmax(1)
        maps = self.loss.local_maps(prob, _small((labels, pseudo_labels), prob), len(labels))
        return [map_[: len(labels)] for map_ in maps] + [map_[len(labels) :] for map_ in maps]

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        maps: list[Tensor],
        partitioned: tuple[Tensor, Tensor],
        labels: Tensor,
        truth: Tensor,
        clock: Clock,
    ) -> tuple[Tensor, Stats]:
        """Compute L_c from both representations and the gathered maps; one collective.

        Args:
            student: [Bl + Bu,D,H,W] the student's representation of labeled and mixed unlabeled images.
            teacher: the teacher's, alike.
            maps: of `local_maps`, gathered.
            partitioned: reliable and unreliable pixels of the global batch's unlabeled images, [n,h,w] bool each.
            labels: [Bl,h,w].
            truth: [Bu,h,w] true labels of the mixed images, for diagnostics.
            clock: epoch and step.
        """
        halves = maps[: len(maps) // 2], maps[len(maps) // 2 :]
        everywhere = Maps(*(torch.cat(pair) for pair in zip(*halves, strict=True)))
        valid = halves[0][Maps._fields.index("label")] != IGNORE  # of the labeled images
        reliable, unreliable = (torch.cat([valid, downsample(map_, teacher.shape[-2:])]) for map_ in partitioned)
        true_labels = _small((labels, truth), teacher)
        return self.loss(student, teacher, len(labels), everywhere, reliable, unreliable, clock, true_labels)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory bank's state."""
        return self.loss.bank.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory bank."""
        self.loss.bank.load_state_dict(state)


def _small(maps: tuple[Tensor, Tensor], like: Tensor) -> Tensor:
    """Bring labels of the labeled, then of the unlabeled images to one small map [Bl + Bu, H, W] uint8."""
    return torch.cat([downsample(map_, like.shape[-2:]).to(torch.uint8) for map_ in maps])
