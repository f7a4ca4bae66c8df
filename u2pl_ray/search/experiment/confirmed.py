"""The trainings of a search's confirmation, an experiment of its own, that count for the search's answer."""

import logging
from collections.abc import Callable
from typing import Protocol

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.alike import trainings_like
from u2pl_ray.search.experiment.options import Options
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage.place import Place, locate
from u2pl_ray.search.study.borrowed import BorrowedTraining
from u2pl_ray.search.study.study import TrialStudy

logger = logging.getLogger(__name__)


class Opened(Protocol):
    """What is needed of an `Experiment`, which has a `Confirmation` itself."""

    name: str
    place: Place
    config: Config
    space: Space
    options: Options

    def study(self) -> TrialStudy:
        """Open its study."""


class Confirmation:
    """The confirmation of a search, which there need not be. It is fetched once: the search's object lives a command.

    Args:
        name: its name.
        search: the experiment that it confirms.
        read: reads an experiment from its place, whose files were fetched.
    """

    def __init__(self, name: str, search: Opened, read: Callable[[Place], Opened]) -> None:
        self._name, self._search, self._read = name, search, read
        self._place: Place | None = None
        self._opened: Opened | None = None
        self._left_out = False

    def trainings(self) -> list[BorrowedTraining]:
        """Return its trainings; none, and a warning once, if its files are damaged.

        Raises:
            UserError: the storage does not answer. To go on without them would give another answer.
        """
        place = self._fetched()
        if place is None or self._left_out:
            return []
        search = self._search
        try:
            self._opened = self._opened or self._read(place)
            if self._opened.options.confirms != search.name:
                return []
            records = self._opened.study().all_records()
        except (UserError, ValueError, KeyError) as error:  # its description may lack a key
            self._left_out = True
            logger.warning("%s does not count for the answer of %s: %s", self._name, search.name, error)
            return []
        theirs, ours = (self._opened.space, self._opened.config), (search.space, search.config)
        return trainings_like(records, theirs, ours, confirms=True)

    def _fetched(self) -> Place | None:
        """Return its place with its files here; None if there is none."""
        if self._place is None:
            try:
                place = locate(self._name, self._search.place.storage)
            except UserError:  # too long a name, which no experiment can have
                return None
            if not place.exists():
                return None
            place.fetch()
            self._place = place
        return self._place
