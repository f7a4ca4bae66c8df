"""The commands in a document, to run them as they stand there."""

import re
from collections.abc import Mapping
from pathlib import Path

_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(document: Path, before: str, here: Mapping[str, str]) -> str:
    """Return the first block of shell commands that follows a line of text.

    Args:
        document: a Markdown file.
        before: text that stands before the block.
        here: values to put in place of the document's examples, each of which must occur in the document.
    """
    text = document.read_text()
    for example, value in here.items():
        assert example in text, f"{document}: no {example}"
        text = text.replace(example, value)
    assert before in text, f"{document}: no {before!r}"
    found = _BLOCK.search(text, text.index(before))
    assert found is not None, f"{document}: no commands after {before!r}"
    return found[1]
