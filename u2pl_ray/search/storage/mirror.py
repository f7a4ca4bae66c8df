"""An experiment on an object store such as S3: edited in a local copy, and uploaded before the driver acts on it.

The files that decide (study, epochs, settings) are small and are uploaded as whole objects, each change before the
driver acts on it: a proposal before it runs, an epoch before the decision on it. So a kill at any moment leaves a
state in the store that can be resumed from any machine: every run begins with a fresh copy, and every look at it
fetches what changed since the last one. Ray Train uploads the checkpoints itself. W&B's files and reports are uploaded
within `_LAG` seconds, and at the end.
"""

import atexit
import fnmatch
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.search.storage import layout
from u2pl_ray.search.storage.lease_marks import ObjectMark
from u2pl_ray.search.storage.leased import Leased
from u2pl_ray.search.storage.object_store import Objects, child, parent
from u2pl_ray.system.periodic import every
from u2pl_ray.system.scratch import scratch
from u2pl_ray.system.stores import why

logger = logging.getLogger(__name__)

_LAG = 30.0
_PATIENCE = (0.0, 1.0, 4.0, 15.0, 30.0)
_SETTLE = 1.0
_SETTLED = 5_000_000_000
"""Nanoseconds; more than a store's clocks differ."""


class Mirror(Leased):
    """A `Place` below a URI.

    Args:
        uri: the experiment's.

    Raises:
        UserError: see `Objects`.
    """

    def __init__(self, uri: str) -> None:
        self.storage, name = parent(uri)
        self._objects = Objects(uri)
        super().__init__(ObjectMark(self._objects), name, uri)
        held = ExitStack()
        self.folder = held.enter_context(scratch()) / name
        atexit.register(held.close)
        self._stored: dict[str, tuple[int, int] | None] = {}
        self._fetched: dict[str, tuple[int, int]] = {}
        self._running = False
        self._lock = threading.Lock()

    def exists(self) -> bool:
        """See `Place`."""
        try:
            there = self._objects.exists(layout.EXPERIMENT)
        except OSError as error:
            raise UserError(f"{self.location}: {why(error)}") from None
        if not there:
            self._objects.check_bucket()
        return there

    def fetch(self) -> None:
        """See `Place`."""
        self._update(lambda name: not _matches(name, layout.FOR_PEOPLE))

    def complete(self) -> None:
        """See `Place`."""
        if not self._running:  # else the copy is ahead of the store
            self._update(lambda name: _matches(name, layout.FOR_PEOPLE))

    def _update(self, wanted: Callable[[str], bool]) -> None:
        """Fetch the objects that changed since they were fetched, by their size and time, or whose copies did.

        The time may be in seconds, in the last of which an object may change once more. So it tells a version only
        where another object was written seconds later.

        Args:
            wanted: tells of which names.

        Raises:
            UserError: the store does not answer, or refuses.
        """
        try:
            there = {
                name: version
                for name, version in self._objects.versions().items()
                if not _matches(name, layout.NOT_UPLOADED)
            }
            settled = max((time for _, time in there.values()), default=0) - _SETTLED
            names = [name for name in there if wanted(name) and self._differs(name, there[name])]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(self._get, names))
            self._fetched |= {name: there[name] for name in names if there[name][1] < settled}
        except OSError as error:
            raise UserError(f"{self.location}: {why(error)}") from None

    def _differs(self, name: str, version: tuple[int, int]) -> bool:
        copy = _stamp(self.folder / name)
        if copy is None or copy != self._stored.get(name):
            return True
        if _matches(name, layout.FOR_PEOPLE):  # which are written once, or only grow
            return copy[0] != version[0]
        return self._fetched.get(name) != version

    def commit(self) -> None:
        """See `Place`.

        Raises:
            OSError: the store did not take it for about a minute, or another driver has taken over.
        """
        self.check_held()
        for name in self._changed(*layout.DECIDING):
            self._put(name)

    def publish(self) -> None:
        """See `Place`.

        Raises:
            LostError: the store did not take it for about a minute, or another driver has taken over.
        """
        try:
            self._follow()
            self.commit()
        except OSError as error:
            raise LostError(f"{self.location}: {why(error)}; what was made at the end was not stored") from None

    def below(self, name: str) -> str:
        """See `Place`."""
        return child(self.location, name)

    def holds(self, name: str) -> bool:
        """See `Place`."""
        return self._objects.exists(name)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """See `Place`. The lease itself: what is below the URI is an experiment only with its experiment.json."""
        with self._lease_of() as self._lease:
            try:
                yield
            finally:
                self._lease = None

    @contextmanager
    def session(self) -> Iterator[None]:
        """See `Place`."""
        if self._running:
            yield
            return

        def follow() -> None:
            try:
                self._follow()
            except OSError as error:
                logger.warning("%s: W&B's files are stored later (%s)", self.location, error)

        with ExitStack() as held:
            if self._lease is None:
                held.enter_context(self.starting())
            self.fetch()
            self.complete()
            self._running = True
            try:
                with every(_LAG, follow, "mirror"):
                    yield
            finally:
                self._running = False
                if self._lease is not None and not self._lease.lost:
                    self.publish()

    def _follow(self) -> None:
        """Upload files that resume does not need (W&B runs, reports)."""
        for name in self._changed("**/*"):
            if not _matches(name, (*layout.DECIDING, *layout.NOT_UPLOADED)):
                self._put(name)

    def _changed(self, *patterns: str) -> Iterator[str]:
        """Yield the files of these patterns that changed since they were uploaded, in the order of the patterns."""
        for pattern in patterns:
            for path in sorted(self.folder.glob(pattern)):
                name = path.relative_to(self.folder).as_posix()
                if path.is_file() and self._stored.get(name) != _stamp(path):
                    yield name

    def _put(self, name: str) -> None:
        with self._lock:
            try:
                stamp, content = _stamp(self.folder / name), (self.folder / name).read_bytes()
            except FileNotFoundError:  # one of W&B's temporary files
                return
            for attempt, wait in enumerate(_PATIENCE, 1):
                time.sleep(wait)
                try:
                    self._objects.write(name, content)
                    break
                except OSError as error:
                    if attempt == len(_PATIENCE):
                        raise
                    logger.warning("%s: %s was not taken, trying again (%s)", self.location, name, error)
            self._stored[name] = stamp

    def _get(self, name: str) -> None:
        content = self._objects.read(name)
        if content is not None:  # else deleted since it was listed
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self._stored[name] = _stamp(target)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return size and modification time of a file, which change with every version; None if it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
