"""The verb that explains settings."""

from typing import Annotated

import typer


def settings(
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="A setting or section, such as method.alpha. Default: all.")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
    presets: Annotated[
        bool, typer.Option("--presets", help="List the shipped presets, and the published figures they aim at.")
    ] = False,
) -> None:
    """Explain every setting of a configuration: what it is for, its choices and range, its default."""
    from u2pl_ray.config import reference
    from u2pl_ray.config.preset import read_presets

    if presets:
        for name, preset in read_presets().items():
            print(f"{name}    {preset.aims}".rstrip())
            for line in preset.differs if path == name else ():
                print(f"    differs: {line}")
        return
    if markdown:
        print(reference.markdown(), end="")
        return
    if about := reference.section_text(path):
        print(f"{path}: {about}\n")
    for setting in reference.reference(path):
        print(f"{setting.path} = {setting.default}    ({setting.values})")
        if setting.text:
            print(f"    {setting.text}")
