"""How far below the cut a trial must be before early stopping may blame the setting, not one unlucky epoch."""

import math
from collections.abc import Sequence

from scipy.stats import norm

from u2pl_ray.config.errors import UserError
from u2pl_ray.posterior.runs import Run, epoch_variance


def stopping_margin(runs: Sequence[Run], wrong: float = 0.1) -> float:
    """Return the margin of early stopping, in the metric's units; stop a trial that is further than it behind the cut.

    A value is its run's trend plus one epoch's noise, whose standard deviation s is measured around a straight line
    through each run's last six values (their median over runs). A run whose trend is just at the cut is then stopped
    with probability `wrong`: margin = s z(1 - wrong). The cut is a quantile of many values; its own noise is left out.

    Args:
        runs: with their values of every epoch; those with fewer than six tell nothing.
        wrong: the chance, above 0 and at most 0.5, where there is no margin.

    Returns:
        the margin; 0 while no run has six values.
    """
    if not 0 < wrong <= 0.5:
        raise UserError(f"wrong {wrong} is not within 0 .. 0.5: give the chance of stopping for one epoch's noise")
    return math.sqrt(epoch_variance(runs)) * float(norm.ppf(1 - wrong)) if runs else 0.0
