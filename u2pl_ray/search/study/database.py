"""Studies in a database, shared by the drivers of a team. The URL holds no password; libpq finds it elsewhere."""

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
from u2pl_ray.search.study.outage import database_said

_DRIVERS = {"postgresql": "postgresql+psycopg"}


def check_url(url: str) -> str:
    """Check a database URL; return it unchanged.

    Raises:
        UserError: not a database URL, or one that holds a password.
    """
    _parse(url)
    return url


def open_storage(location: Path | str) -> BaseStorage:
    """Open a journal file, or the database that a URL names."""
    return open_database(location) if isinstance(location, str) else JournalStorage(Journal(location))


def open_database(url: str) -> BaseStorage:
    """Connect to the database at a URL such as postgresql://user@host/database.

    Raises:
        UserError: it cannot be reached, or its client library is not installed.
    """
    try:
        return RDBStorage(
            _parse(url).render_as_string(hide_password=False),
            # A connection that was cut is replaced.
            engine_kwargs={"pool_pre_ping": True, "connect_args": _limits(_parse(url))},
        )
    except (ImportError, NoSuchModuleError):
        raise UserError("--study-url: its client library is missing: pip install 'u2pl_ray[postgresql]'") from None
    except SQLAlchemyError as error:
        raise UserError(f"--study-url: the database cannot be used: {database_said(error)}") from None


@contextmanager
def exclusively(storage: BaseStorage, study: str) -> Iterator[None]:
    """Keep other drivers of the study from starting trials while the context is entered.

    The lock ends with the connection, so a driver that dies releases it. Only PostgreSQL has it: studies in other
    storages have one driver at a time, see `Lease`.

    Args:
        storage: where the study is kept.
        study: its name.
    """
    if not shared(storage):
        yield
        return
    with _inner(storage).engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:study, 0))"), {"study": study})
        yield


def shared(storage: BaseStorage) -> bool:
    """Tell whether several drivers can work on a study in this storage at once."""
    inner = _inner(storage)
    return isinstance(inner, RDBStorage) and inner.engine.dialect.name == "postgresql"


def _inner(storage: BaseStorage) -> Any:
    return getattr(storage, "_backend", storage)  # behind Optuna's cache


def _limits(url: URL) -> dict[str, Any]:
    """Return arguments of a connection that keep it from waiting for ever: to be made, for a lock, for an answer."""
    if not url.drivername.startswith("postgresql"):
        return {}
    alive = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
    return {"connect_timeout": 30, "options": "-c lock_timeout=60s", **alive}


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError("--study-url: write it like postgresql://user@host/database") from None
    if parsed.password is not None or {"password", "sslpassword"} & parsed.query.keys():
        raise UserError("--study-url: leave the password out: put it into PGPASSWORD or ~/.pgpass, it is never stored")
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
