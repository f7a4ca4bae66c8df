"""Pristine copies of experiment.json, config.yaml and space.yaml, used to repair a damaged file and to detect edits.

They are in `start/` of the experiment's folder. A file that cannot be read is restored from there. A readable file
that differs was edited: continuing with it would mix trials of two different searches.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.config.yaml_text import read_yaml
from u2pl_ray.search.storage import layout
from u2pl_ray.system.atomic import write_whole

HARMLESS = ("tracking.", "resources.", "data.loader_workers", "data.stage", "train.keep_checkpoints")
"""Settings that change where a trial runs or which of its files are kept, but not its result."""

T = TypeVar("T")


def write(folder: Path, file: str, text: str) -> None:
    """Write one of the three files and its copy.

    Args:
        folder: the experiment's.
        file: name of the file.
        text: its content.
    """
    write_whole(folder / layout.START / file, text)
    write_whole(folder / file, text)


def read(folder: Path, file: str, parse: Callable[[str, str], T]) -> tuple[T, str]:
    """Parse one of the three files, or its copy if the file is missing or damaged.

    Args:
        folder: the experiment's.
        file: name of the file.
        parse: called with the text and the file's name; raises UserError if the text is damaged.

    Returns:
        The parsed content, and a line for the user if it comes from the copy, else an empty string.

    Raises:
        UserError: neither the file nor its copy can be read.
    """
    try:
        return _parsed(folder / file, parse), ""
    except UserError as error:
        problem = error
    try:
        parsed = _parsed(folder / layout.START / file, parse)
    except UserError:
        raise UserError(
            f"{problem}, and so is its copy {layout.START}/{file}; the trials' own files are left"
        ) from None
    return parsed, f"{problem}; its copy {layout.START}/{file} is used"


def restore(folder: Path) -> None:
    """Replace files that are missing or damaged by their copies."""
    for file, parse in ((layout.EXPERIMENT, parse_json), (layout.CONFIG, parse_config), (layout.SPACE, parse_text)):
        _, restored = read(folder, file, parse)
        if restored:
            write_whole(folder / file, (folder / layout.START / file).read_text("utf-8"))


def changes(folder: Path) -> tuple[list[str], list[str]]:
    """List edits since the start, as `file: key old -> new`: those that matter to results, and the others."""
    serious: list[str] = []
    harmless: list[str] = []
    if not (folder / layout.START).is_dir():
        return serious, harmless
    old, new = (
        parse_config((where / layout.CONFIG).read_text("utf-8"), layout.CONFIG)
        for where in (folder / layout.START, folder)
    )
    for path in overrides.paths():
        before, after = overrides.get(old, path), overrides.get(new, path)
        if before != after:
            kind = harmless if path.startswith(HARMLESS) else serious
            kind.append(f"{layout.CONFIG}: {path} {before} -> {after}")
    if (folder / layout.START / layout.SPACE).read_text("utf-8") != (folder / layout.SPACE).read_text("utf-8"):
        serious.append(f"{layout.SPACE}: edited")
    before, after = (
        json.loads((where / layout.EXPERIMENT).read_text("utf-8")) for where in (folder / layout.START, folder)
    )
    for key in ("sampler", "scheduler", "trainer"):
        if before["options"][key] != after["options"][key]:
            serious.append(f"{layout.EXPERIMENT}: {key} {before['options'][key]} -> {after['options'][key]}")
    return serious, harmless


def version_changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List packages whose version changed, as `torch 2.5.0 -> 2.6.0`.

    Args:
        then: versions at the start, by package.
        now: installed versions.
    """
    return [f"{name} {then[name]} -> {now[name]}" for name in now if name in then and then[name] != now[name]]


def parse_json(text: str, name: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the file's content.
        name: of the file in messages.

    Raises:
        UserError: the text is no JSON object.
    """
    try:
        tree = json.loads(text)
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise UserError(f"{name}: damaged (not a JSON object)")
    return tree


def parse_config(text: str, name: str) -> Config:
    """Parse a whole configuration, as `overrides.dump` writes it.

    Args:
        text: the file's content.
        name: of the file in messages.

    Raises:
        UserError: the text is no configuration, or is truncated.
    """
    import yaml

    try:
        tree = read_yaml(text)
    except yaml.YAMLError:
        tree = None
    if not isinstance(tree, dict) or not tree.keys() >= Config.model_fields.keys():
        raise UserError(f"{name}: damaged (not a whole configuration)")
    return overrides.validate(tree)


def parse_text(text: str, name: str) -> str:
    """Return a text that is not empty.

    Args:
        text: the file's content.
        name: of the file in messages.

    Raises:
        UserError: the text is empty.
    """
    if not text.strip("\0 \n"):
        raise UserError(f"{name}: damaged (empty)")
    return text


def _parsed(path: Path, parse: Callable[[str, str], T]) -> T:
    try:
        return parse(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: is gone") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: damaged (cannot be read)") from None
