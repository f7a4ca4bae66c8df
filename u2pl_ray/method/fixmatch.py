"""FixMatch (Sohn et al., NeurIPS 2020), as it is used for segmentation: one strong view, a threshold of confidence."""

from torch import Tensor

from u2pl_ray.method.losses import cross_entropy
from u2pl_ray.method.pseudo_label import PseudoLabel
from u2pl_ray.method.trust import Division


class FixMatch(PseudoLabel):
    """Pseudo-labels of the weak view where the teacher is confident, learned on a strong view: mixed and distorted.

    The published code has no teacher: its student labels the weak view itself; `method.teacher_momentum=0` is that.
    """

    strong_view = True
    judged_on = "weak"

    def unsupervised_loss(
        self, logits: Tensor, targets: Tensor, everywhere: Division, class_weights: Tensor | None
    ) -> Tensor:
        """Compute L_u: the sum over confident pixels, divided by all that have a pseudo-label."""
        return cross_entropy(logits, targets, everywhere.possible, self.collectives.world_size, class_weights)
