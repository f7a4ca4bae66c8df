"""What both kinds of places have in common: one driver at a time holds an experiment, by a lease beside its files."""

import shlex

from u2pl_ray.config.errors import LostError
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import Mark


class TakenOverError(LostError):
    """Another driver runs the experiment now: what this one still wrote would damage the other's files."""


class Leased:
    """The lease of an experiment, see `Place`.

    Args:
        mark: where the lease is kept.
        experiment: name for messages.
        location: the experiment's folder or URI, for messages.
    """

    def __init__(self, mark: Mark, experiment: str, location: str) -> None:
        self.location = location
        self._mark, self._experiment = mark, experiment
        self._lease: Lease | None = None

    def running(self) -> bool:
        """See `Place`."""
        return self._lease_of().held()

    def interrupt(self) -> int:
        """See `Place`."""
        return self._lease_of().interrupt()

    def silent(self) -> float:
        """See `Place`."""
        return 0.0 if self._lease is None else self._lease.silent()

    def check_held(self) -> None:
        """See `Place`."""
        if self._lease is not None and not self._lease.keeps():
            raise TakenOverError(
                f"{self.location}: {self._lease.successor}: this driver stops and writes no more; "
                f"see u2pl-ray status {shlex.quote(self.location)}"
            )

    def _lease_of(self) -> Lease:
        return Lease(self._mark, self._experiment)
