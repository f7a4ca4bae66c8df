"""Look at folders that others own, or that a file server holds: what it refuses is one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from u2pl_ray.config.errors import UserError


@contextmanager
def looking(folder: Path | str) -> Iterator[None]:
    """Return a context that turns an OSError of looking into or below a folder into a `UserError`.

    `Path.exists` and its like raise where a folder may not be entered (EACCES), or a file server fails (ESTALE, EIO).

    Args:
        folder: for the message, where the error names none.
    """
    try:
        yield
    except OSError as error:
        what = f"{error.filename or folder}: cannot be read ({error.strerror or error})"
        raise UserError(f"{what}; choose another --storage-path, or set U2PL_RAY_STORAGE") from None


def there(path: Path) -> bool:
    """Return whether a file or folder exists.

    Raises:
        UserError: it cannot be told.
    """
    with looking(path):
        return path.exists()
