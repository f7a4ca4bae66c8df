"""Upper bounds: what unlabeled images would bring if the pseudo-labels' faults were known.

Two kinds, of any method with pseudo-labels, on data whose unlabeled images have labels:

- `right`: wrong pseudo-labels are left out, and of the right ones those that the method calls unreliable.
- `corrected`: wrong pseudo-labels are replaced by the true labels. No teacher labels better.

With `classes`, only pixels that are of one of these classes, or are taken for one, are looked up: how much of what is
missing do these classes hold?

Where `right` gains little, what is missing is in the pixels that the teacher gets wrong, and self-training has no way
to learn them; where it gains much, a better selection is worth looking for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, Config
from u2pl_ray.method.pseudo_label import PseudoLabel
from u2pl_ray.method.types import Batch, Outputs
from u2pl_ray.method.views import View
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import Session


class InformedWorker(Worker):
    """A training whose pseudo-labels are looked up in the true labels before they are used.

    Args:
        config: of a row; see `Worker`.
        session: see `Worker`.
        device: see `Worker`.
        kind: one of `rows.KINDS`.
        classes: names of those that are looked up; empty: all.

    Raises:
        UserError: a method without pseudo-labels, or a class that the data has not.
    """

    def __init__(
        self, config: Config, session: Session, device: torch.device, kind: str, classes: Sequence[str] = ()
    ) -> None:
        super().__init__(config, session, device)
        objective = self.objective
        if not isinstance(objective, PseudoLabel):
            raise UserError(f"method.name={config.method.name} has no pseudo-labels to be {kind}")
        if unknown := [name for name in classes if name not in self.classes]:
            raise UserError(f"{unknown[0]} is no class of {', '.join(self.classes)}")
        known = [self.classes.index(name) for name in classes]
        weak_view = objective.weak_view

        def informed_view(weak: Outputs, batch: Batch) -> View:
            view = weak_view(weak, batch)
            view.pseudo_labels = informed(view.pseudo_labels, view.truth, kind, known)
            if view.entropies.numel():
                view.entropies = view.entropies.masked_fill(view.pseudo_labels == IGNORE, torch.nan)
            return view

        objective.weak_view = informed_view  # type: ignore[method-assign]


def informed(pseudo_labels: Tensor, truth: Tensor, kind: str, classes: Sequence[int] = ()) -> Tensor:
    """Return the pseudo-labels with what is known of them: [B,h,w] uint8.

    Args:
        pseudo_labels: [B,h,w] uint8, 255 = none.
        truth: [B,h,w] uint8 or int64; where it is 255 there is no pseudo-label any more.
        kind: one of `rows.KINDS`.
        classes: only pixels that are of one of these, or are taken for one, are looked up; empty: all.
    """
    truth = truth.to(pseudo_labels.dtype)
    wrong = (pseudo_labels != IGNORE) & (pseudo_labels != truth)
    if classes:
        of_these = torch.tensor(classes, dtype=truth.dtype, device=truth.device)
        wrong &= torch.isin(truth, of_these) | torch.isin(pseudo_labels, of_these)
    return torch.where(wrong, truth if kind == "corrected" else IGNORE, pseudo_labels)
