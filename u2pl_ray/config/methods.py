"""The methods that `method.name` chooses from, and what the rest of the project must know of each.

A new method is one file with its objective and one line here. Nothing else asks for a method's name.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from u2pl_ray.config.errors import nearest


@dataclass(frozen=True)
class Traits:
    """What a method needs, as far as configuration, data, networks and checkpoints are concerned."""

    objective: str
    """Its objective, `module:class`, imported when a training starts: see `method.objective.Supervised`."""
    semi_supervised: bool = True
    """It learns from images without labels once the warm-up is over: pseudo-labels of a teacher, thresholds, mixing."""
    contrasts: bool = False
    """It has U2PL's contrastive term, and so the representation head, unless the configuration says otherwise."""
    quantile: bool = True
    """The entropy quantile of alpha_t says, too, which pseudo-labels are reliable."""
    confidence: float = 0.0
    """Least probability of a reliable pseudo-label that it was published with; 0: any."""
    all_labels: bool = False
    """It trains on the labels of the unlabeled images: an upper bound, not a method."""


METHODS: dict[str, Traits] = {
    "supervised": Traits("u2pl_ray.method.objective:Supervised", semi_supervised=False),
    "oracle": Traits("u2pl_ray.method.objective:Supervised", semi_supervised=False, all_labels=True),
    "pseudo_label": Traits("u2pl_ray.method.pseudo_label:PseudoLabel"),
    "u2pl": Traits("u2pl_ray.method.pseudo_label:PseudoLabel", contrasts=True),
    "fixmatch": Traits("u2pl_ray.method.fixmatch:FixMatch", quantile=False, confidence=0.95),
    "unimatch": Traits("u2pl_ray.method.unimatch:UniMatch", quantile=False, confidence=0.95),
}


def known_method(name: str) -> str:
    """Return `name` if it is a method's.

    Raises:
        ValueError: it is none; names them all.
    """
    if name not in METHODS:
        raise ValueError(f"not one of {', '.join(METHODS)}{nearest(name, METHODS)}")
    return name


def load_objective(name: str) -> Any:
    """Import the objective of the method called `name`."""
    module, _, attribute = METHODS[name].objective.partition(":")
    return getattr(import_module(module), attribute)
