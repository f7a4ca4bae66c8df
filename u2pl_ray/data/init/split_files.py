"""The split files of a first configuration, which lie beside it."""

import os
from collections.abc import Sequence
from pathlib import Path

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.init.parts import Pair, Parts


def list_folder(out: Path) -> Path:
    """Return the folder of a configuration's split files, beside it."""
    return out.absolute().with_name(f"{out.stem}.lists")


def split_settings(parts: Parts, home: Path, out: Path) -> dict[str, str | None]:
    """Return the settings that name the split files; relative where the data lies below the configuration.

    Args:
        parts: the images of each.
        home: the data root.
        out: the configuration's path.
    """
    folder, rows = list_folder(out), _rows(parts)
    near = home.is_relative_to(folder.parent)
    named = {name: folder / f"{name}.txt" for name in rows}
    paths = {name: os.path.relpath(path, home) if near else str(path) for name, path in named.items()}
    return {name: paths.get(name) for name in ("labeled", "unlabeled", "val", "test")}


def split_lines(parts: Parts, home: Path) -> dict[str, tuple[str, ...]]:
    """Return the lines of each split file: an image, or an image and its mask.

    Args:
        parts: the images of each.
        home: the data root, which paths are relative to.

    Raises:
        UserError: a name that a line can't hold.
    """
    return {name: tuple(_line(row, home) for row in rows) for name, rows in _rows(parts).items()}


def below(path: Path, home: Path) -> str:
    """Return a path as it is below the data root; absolute where it is not.

    Args:
        path: the path.
        home: the data root.
    """
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)


def _line(row: Pair | Path, home: Path) -> str:
    names = [below(path, home) for path in ((row,) if isinstance(row, Path) else row)]
    for name in names:
        # as lists are read: in UTF-8, by lines, parted by tabs, without blanks around names
        bytes_alone = any("\udc80" <= letter <= "\udcff" for letter in name)
        if bytes_alone or name != name.strip() or len(name.splitlines()) > 1 or "\t" in name:
            raise UserError(
                f"{name!r}: lists can't hold a name with a tab, a line break, a blank at its beginning or end, or "
                "letters that are no UTF-8: rename the file"
            )
    return "\t".join(names)


def _rows(parts: Parts) -> dict[str, Sequence[Pair | Path]]:
    rows: dict[str, Sequence[Pair | Path] | None] = {
        "labeled": parts.labeled,
        "unlabeled": parts.unlabeled,
        "val": parts.val,
        "test": parts.test,
    }
    return {name: found for name, found in rows.items() if found}
