"""Measure a planned search, and print what it will take."""

import sys
from typing import TYPE_CHECKING

from u2pl_ray.cli.common import say, warn
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.plan import Plan


def check_price(price: float | None, dry_run: bool) -> None:
    """Refuse a price that is none, or that nobody is told.

    Args:
        price: as given.
        dry_run: whether there is an estimate.
    """
    if price is None:
        return
    if not 0 < price < float("inf"):
        raise UserError(f"--price-per-gpu-hour {price:g}: give a number above 0")
    if not dry_run:
        raise UserError("--price-per-gpu-hour: goes with --dry-run, which says what the search will cost")


def print_estimate(plan: "Plan", price: float | None) -> None:
    """Measure some steps of the first trial's setting, and of the largest one, and print what they say of the search.

    Args:
        plan: of the search.
        price: of a GPU for an hour, in any currency.

    Raises:
        UserError: a price, and no GPU.
    """
    from u2pl_ray.search.cluster.measuring import measure
    from u2pl_ray.search.experiment.estimate import estimate
    from u2pl_ray.search.experiment.estimate_text import (
        largest_line,
        remedies,
        search_lines,
        shortage,
        training_lines,
    )
    from u2pl_ray.search.experiment.largest import largest
    from u2pl_ray.search.listeners.formatting import few
    from u2pl_ray.search.listeners.formatting import settings as listed
    from u2pl_ray.train.measurement import NotMeasured

    if price is not None and not plan.fit.gpu:
        raise UserError("--price-per-gpu-hour: this search uses no GPU (resources.device=cuda where there is one)")

    def tell(line: str) -> None:
        say(line, sys.stderr)

    config = plan.space.configure(plan.config, dict(plan.paper))
    try:
        first = measure(config, plan.fit.gpu, plan.fit.concurrent, tell)
    except NotMeasured as error:
        warn(f"not measured: {error}{f'; {remedies(config)}' if error.memory else ''}")
        return
    lines = training_lines(config, first)
    setting, passed = largest(plan.space, dict(plan.paper), plan.config)
    changed = {path: value for path, value in setting.items() if value != plan.paper.get(path)}
    most, short = config, shortage(config, first, plan.fit.concurrent)
    if changed:
        most = plan.space.configure(plan.config, setting)
        try:
            peak = measure(most, plan.fit.gpu, plan.fit.concurrent, tell)
            lines.append(largest_line(first, peak, [listed({path: value}) for path, value in changed.items()]))
            short = shortage(most, peak, plan.fit.concurrent)
        except NotMeasured as error:
            warn(f"with {listed(changed)}: not measured: {error}{f'; {remedies(most)}' if error.memory else ''}")
    lines += search_lines(plan, estimate(plan, first), price)
    if passed:
        lines.append(("", f"memory and time with other choices of {few(passed)} were not measured"))
    for name, text in lines:
        say(f"{name:<12} {text}")
    if short:
        warn(short)
