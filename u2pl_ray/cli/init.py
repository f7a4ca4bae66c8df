"""`u2pl-ray init`: a first configuration for a folder of images."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from u2pl_ray.cli.common import say
from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.data.init.names import Code

_List = Annotated[Path | None, typer.Option(metavar="FILE", help="Split file: ids, paths, or `image mask` pairs.")]


def init(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of images, or of a whole data set.")],
    masks: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of masks. Default: found.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Configuration to write; lists go beside it.")] = Path(
        "mine.yaml"
    ),
    classes: Annotated[str | None, typer.Option(metavar="a,b,c", help="Class names in label order.")] = None,
    ignore: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Mask value (255) or colour (0,0,0) that is no class.")
    ] = None,
    labeled: _List = None,
    unlabeled: _List = None,
    val: _List = None,
    test: _List = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw of val and test images.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that an earlier init wrote.")] = False,
) -> None:
    """Look at a folder of images, some with masks, and write a configuration that trains on them.

    Images without a mask are the unlabeled ones. Nothing is written into the images' folder.
    """
    from u2pl_ray.data.init.first_config import first_config, write

    given = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "test": test}
    lists = {part: path for part, path in given.items() if path is not None}
    names = [name.strip() for name in classes.split(",") if name.strip()] if classes else []
    first = first_config(images, masks, out, lists, names, _code(ignore), seed)
    written = write(first, out, force)
    for line in first.said:
        say(line)
    say(f"written: {written[0]}, and {len(written) - 1} lists in {written[1].parent}")
    say(f"next: u2pl-ray data check {quote(str(out))}")


def _code(text: str | None) -> "Code | None":
    """Return a mask's value or colour that was given as text."""
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    raise UserError(f"--ignore {text}: give a value such as 255, or a colour such as 0,0,0")
