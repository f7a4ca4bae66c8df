"""What is known of settings' true worth from noisy trainings: posterior, answer, replicates, proposals.

Needs numpy and scipy alone. The order of reading: runs, level, prior, fit; then answer, allocation, proposals.
"""

from u2pl_ray.posterior.allocation import Purpose, Replicate, next_replicates, seed_for
from u2pl_ray.posterior.answer import (
    Answer,
    Prospect,
    Verdict,
    answer,
    expected_gain,
    interval,
    leading,
    probability_better,
    threshold,
)
from u2pl_ray.posterior.belief import Believed
from u2pl_ray.posterior.fit import Posterior, fit
from u2pl_ray.posterior.importance import Importance, Importances, importances
from u2pl_ray.posterior.margin import stopping_margin
from u2pl_ray.posterior.proposals import encode, expected_improvement, propose, start_point
from u2pl_ray.posterior.runs import Run, progress

__all__ = [
    "Answer",
    "Believed",
    "Importance",
    "Importances",
    "Posterior",
    "Prospect",
    "Purpose",
    "Replicate",
    "Run",
    "Verdict",
    "answer",
    "encode",
    "expected_gain",
    "expected_improvement",
    "fit",
    "importances",
    "interval",
    "leading",
    "next_replicates",
    "probability_better",
    "progress",
    "propose",
    "seed_for",
    "start_point",
    "stopping_margin",
    "threshold",
]
