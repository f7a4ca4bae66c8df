"""Measure a planned search, and print what it will take."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from u2pl_ray.cli.common import say, warn
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.search.experiment.plan import Plan


def check_estimate(price: float | None, dry_run: bool, no_measure: bool) -> None:
    """Refuse a price that is none, or that nobody is told, and a measurement that is left out where there is none.

    Args:
        price: as given.
        dry_run: whether the search is planned alone.
        no_measure: whether it is planned without a measurement.

    Raises:
        UserError: naming the option.
    """
    if no_measure and not dry_run:
        raise UserError("--no-measure: goes with --dry-run; a search that is started measures nothing")
    if price is not None and no_measure:
        raise UserError("--price-per-gpu-hour: the cost comes from the measurement; leave out --no-measure")
    if price is None:
        return
    if not 0 < price < float("inf"):
        raise UserError(f"--price-per-gpu-hour {price:g}: give a number above 0")
    if not dry_run:
        raise UserError("--price-per-gpu-hour: goes with --dry-run, which says what the search will cost")


def announce() -> None:
    """Say what a dry run does, before it looks at the data and starts Ray, which already takes a while."""
    _tell("dry run: looks at data and network, starts Ray, then measures some steps; usually one to four minutes")
    _tell("         (--no-measure: the plan alone; Ctrl-C ends it, nothing is written)")


def _tell(line: str) -> None:
    say(line, sys.stderr)


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

    config = plan.space.configure(plan.config, dict(plan.paper))
    setting, passed = largest(plan.space, dict(plan.paper), plan.config)
    changed = {path: value for path, value in setting.items() if value != plan.paper.get(path)}
    of = 2 if changed else 1
    try:
        first = measure(config, plan.fit.gpu, plan.fit.concurrent, _stage(1, of, "the first trial's setting"))
    except NotMeasured as error:
        warn(f"not measured: {error}{f'; {remedies(config)}' if error.memory else ''}")
        return
    lines = training_lines(config, first)
    most, short = config, shortage(config, first, plan.fit.concurrent)
    if changed:
        most = plan.space.configure(plan.config, setting)
        try:
            peak = measure(most, plan.fit.gpu, plan.fit.concurrent, _stage(2, of, f"with {listed(changed)}"))
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


def _stage(number: int, of: int, what: str) -> Callable[[str], None]:
    """Return what tells how far a measurement is: which of them, what of, what it does, since how long.

    Args:
        number: of the measurement, from 1.
        of: how many there are.
        what: is measured.
    """
    began = time.monotonic()

    def tell(line: str) -> None:
        _tell(f"measuring {number} of {of}, {what}: {line} ({time.monotonic() - began:.0f} s so far)")

    return tell
