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


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def short_of_memory(error: Exception) -> bool:
    """Tell whether an error, torch's too, says that there is too little memory, of a GPU or of the machine."""
    gpu = type(error).__name__ == "OutOfMemoryError"
    return gpu or isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def nearest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known word nearest to `word`, or an empty string if none is near."""
    candidates = list(known)
    matches = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    if not matches:  # a right leaf under a wrong parent is the commonest slip in a dotted path
        leaf = word.rsplit(".", 1)[-1]
        matches = [name for name in candidates if name.rsplit(".", 1)[-1] == leaf][:1]
    return f"; did you mean {matches[0]!r}?" if matches else ""
