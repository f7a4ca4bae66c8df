"""Errors that say nothing of a study, but of what it is kept in: a database, folder or store that fails at present."""

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from u2pl_ray.system.stores import failing, unanswered, why


def outage(error: BaseException) -> str:
    """Return in one line what fails at present, and may work again later; an empty string for any other error."""
    if isinstance(error, StorageInternalError | SQLAlchemyError):
        return f"the study's database fails ({database_said(error)})"
    if told := failing(error):
        return f"{error.filename}: {told}" if isinstance(error, OSError) and error.filename else told
    return why(error) if isinstance(error, OSError) and unanswered(error) else ""


def lost(error: BaseException) -> str:
    """Return in one line why a study or its files could not be read or written: an `outage`, or any error of files.

    Empty for an error that is none of the storage's: a fault of ours, which a stack trace explains.
    """
    return outage(error) or (why(error) if isinstance(error, OSError) else "")


def database_said(error: BaseException) -> str:
    """Return the database's own words, without the statement and the links that SQLAlchemy adds."""
    cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error  # Optuna wraps it
    return str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
