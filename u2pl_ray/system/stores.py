"""Object stores behind a URI: s3://, and every other scheme that pyarrow (and so Ray Train) takes; and what says that a
store, or a folder, fails at present.
"""

import errno
import os
import re
from typing import Any
from urllib.parse import urlsplit

NO_BUCKET = "there is no such bucket; create it, or give another one"
OUTAGES = tuple(
    f"AWS Error {kind}"
    for kind in ("NETWORK_CONNECTION", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "INTERNAL_FAILURE", "REQUEST_TIMEOUT",
                 "THROTTLING")
)  # fmt: skip
"""Messages of pyarrow for a store that does not answer at present."""
_FAILING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),  # full; over the user's quota; read-only, as after an error
    *(errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENOTCONN),  # a disk, or a file server that went away
}
_REASONS = (
    (r"NO_SUCH_BUCKET", NO_BUCKET),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE|INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT|EXPIRED|AUTHENTICATION",
        "the store refuses these credentials ({}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    (
        r"NETWORK_CONNECTION|REQUEST_TIMEOUT",
        "the store does not answer ({}); look at the network, AWS_REGION and AWS_ENDPOINT_URL",
    ),
)
"""What pyarrow's errors of S3 mean to a user."""


def is_uri(location: object) -> bool:
    """Return whether a place is given as a URI, not as a folder's path."""
    return "://" in str(location)


def open_store(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system for a URI, and the path in it, without a slash at its end.

    Args:
        uri: such as s3://bucket/prefix; credentials, region and endpoint come from the environment, as the store's own
            tools take them.

    Raises:
        ValueError: one line that begins with the URI: it is none of a store, or holds credentials (they would be stored
            and printed with it) or options.
    """
    from pyarrow import fs

    parts = urlsplit(uri)
    on_s3 = parts.scheme == "s3"
    if parts.password or (on_s3 and parts.username):
        raise ValueError(
            f"{parts.scheme}://...: holds credentials, which would be printed and stored; give them in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or as a profile"
        )
    if parts.query:
        raise ValueError(
            f"{uri}: options are not part of it; give them in the environment (AWS_REGION, AWS_ENDPOINT_URL), which "
            "Ray's processes on every node need too"
        )
    try:
        # One request an object instead of the three of an upload in parts.
        filesystem, root = fs.FileSystem.from_uri(f"{uri}?allow_delayed_open=true" if on_s3 else uri)
    except (ValueError, OSError) as error:
        raise ValueError(f"{uri}: {_first_line(error)}") from None
    return filesystem, root.rstrip("/")


def unanswered(error: BaseException) -> bool:
    """Return whether an error of a store says that it does not answer at present, which may pass."""
    return any(sign in str(error) for sign in OUTAGES)


def failing(error: BaseException) -> str:
    """Return what an error says of a file system that is full or out of reach; an empty string for other errors.

    pyarrow, and torch where it passes on the error of a loader process, may keep the number in the text alone.
    """
    if not isinstance(error, OSError):
        return ""
    told = re.search(r"\[errno (\d+)\]", str(error), re.IGNORECASE)
    number = int(told[1]) if error.errno is None and told else error.errno
    return os.strerror(number) if number in _FAILING else ""


def refused(error: BaseException) -> bool:
    """Return whether an error of a store says that it does not let us in, or that there is no such bucket."""
    return any(re.search(rf"AWS Error \w*({pattern})", str(error)) for pattern, _ in _REASONS[:2])


def why(error: BaseException) -> str:
    """Return what an error of a store means, in one line."""
    line = _first_line(error)
    kind = re.search(r"AWS Error (\w+)", line)
    for pattern, meaning in _REASONS:
        if kind and re.search(pattern, kind[1]):
            return meaning.format(kind[0])
    return line


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].removesuffix(".")
