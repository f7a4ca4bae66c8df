"""The verb that explains settings."""

from typing import Annotated

import typer


def settings(
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="A setting or section, such as method.alpha. Default: all.")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
) -> None:
    """Explain every setting of a configuration: what it is for, its choices and range, its default."""
    from u2pl_ray.config import reference

    if markdown:
        print(reference.markdown(), end="")
        return
    if about := reference.section_text(path):
        print(f"{path}: {about}\n")
    for setting in reference.reference(path):
        print(f"{setting.path} = {setting.default}    ({setting.values})")
        if setting.text:
            print(f"    {setting.text}")
