"""Studies in a database: by URL, shared by the drivers of a team. The password stays where libpq looks for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.study.journal import Journal

_DRIVERS = {"postgresql": "postgresql+psycopg"}


def check_url(url: str) -> str:
    """The URL as given, if a study can be kept there.

    Raises:
        UserError: not a database URL, or one that holds a password.
    """
    _parse(url)
    return url


def open_storage(location: Path | str) -> BaseStorage:
    """A journal file, or the database that a URL names."""
    return open_database(location) if isinstance(location, str) else JournalStorage(Journal(location))


def open_database(url: str) -> BaseStorage:
    """The storage behind a URL such as postgresql://user@host/database.

    Raises:
        UserError: it cannot be reached, or its client library is not installed.
    """
    try:
        return RDBStorage(
            _parse(url).render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True},  # a connection that was cut is replaced
        )
    except (ImportError, NoSuchModuleError):
        raise UserError("--study-url: its client library is missing: pip install 'u2pl_ray[postgresql]'") from None
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UserError(f"--study-url: the database cannot be used: {cause}") from None


@contextmanager
def exclusively(storage: BaseStorage, study: str) -> Iterator[None]:
    """Within: no other driver of the study hands out trials. A driver that dies lets go, as its connection ends.

    On storages other than PostgreSQL there is one driver at a time, see `Lease`.
    """
    if not shared(storage):
        yield
        return
    with _inner(storage).engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:study, 0))"), {"study": study})
        yield


def shared(storage: BaseStorage) -> bool:
    """Whether several drivers can work on a study in this storage at once."""
    inner = _inner(storage)
    return isinstance(inner, RDBStorage) and inner.engine.dialect.name == "postgresql"


def _inner(storage: BaseStorage) -> Any:
    return getattr(storage, "_backend", storage)  # behind Optuna's cache


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError("--study-url: write it like postgresql://user@host/database") from None
    if parsed.password is not None or "password" in parsed.query:
        raise UserError("--study-url: leave the password out: put it into PGPASSWORD or ~/.pgpass, it is never stored")
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
