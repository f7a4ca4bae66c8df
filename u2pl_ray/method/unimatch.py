"""UniMatch (Yang et al., CVPR 2023): FixMatch with two strong views, and a weak view whose features are perturbed."""

from dataclasses import replace

from u2pl_ray.method.fixmatch import FixMatch
from u2pl_ray.method.types import Batch, Network
from u2pl_ray.method.views import View


class UniMatch(FixMatch):
    """Two strong views, each with mixing and distortion of its own, and one perturbed view; weights as published."""

    perturbs = True

    def views(self, teacher: Network, weak: View, batch: Batch, step: int) -> list[View]:
        """Make the three views; the perturbed one is not mixed."""
        strong = [self.mixed_view(teacher, weak, batch, step, suffix) for suffix in ("", "/1")]
        return [*(replace(view, weight=0.25) for view in strong), replace(weak, weight=0.5, perturbed=True)]
