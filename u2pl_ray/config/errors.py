"""What a user can get wrong, and what can go away under a program."""

import difflib
from collections.abc import Iterable


class LostError(OSError):
    """What the program ran on does not answer any more: one line, and exit code 75 (start it again)."""


class UserError(Exception):
    """A mistake in what the user gave us: one line that names the key or file, what is wrong, what to do.

    The command line prints the message alone and exits with code 2; it never shows a stack trace.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def nearest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known word nearest to `word`, or an empty string if none is near."""
    candidates = list(known)
    matches = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    if not matches:  # a right leaf under a wrong parent is the commonest slip in a dotted path
        leaf = word.rsplit(".", 1)[-1]
        matches = [name for name in candidates if name.rsplit(".", 1)[-1] == leaf][:1]
    return f"; did you mean {matches[0]!r}?" if matches else ""
