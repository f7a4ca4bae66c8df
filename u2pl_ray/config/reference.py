"""Every setting explained, from the schema itself: what it is for, its choices or range, its default."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.schema import Config

_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}


@dataclass(frozen=True)
class Setting:
    """A setting.

    Attributes:
        path: dotted, as on the command line.
        values: what it takes, in words.
        default: as YAML.
        text: what it is for.
    """

    path: str
    values: str
    default: str
    text: str


def reference(path: str = "") -> list[Setting]:
    """Return the settings at and below a dotted path, in the schema's order; all of them without one.

    Raises:
        UserError: there is no such setting or section.
    """
    every = list(_settings(Config, Config(), ""))
    found = [it for it in every if not path or it.path == path or it.path.startswith(f"{path}.")]
    if not found:
        sections = {it.path.rsplit(".", depth)[0] for it in every for depth in (1, 2) if it.path.count(".") >= depth}
        raise UserError(f"{path}: no such setting{nearest(path, [*(it.path for it in every), *sorted(sections)])}")
    return found


def section_text(path: str) -> str:
    """Return what a section is about; empty if `path` is none."""
    node: Any = Config
    for part in path.split("."):
        node = node.model_fields[part].annotation if part in getattr(node, "model_fields", {}) else None
    text = getattr(node, "__doc__", "") if isinstance(node, type) and issubclass(node, BaseModel) else ""
    return " ".join((text or "").split())


def markdown() -> str:
    """Return the whole reference as a page of documentation."""
    lines = [
        "# Settings",
        "",
        "Written by `u2pl-ray settings --markdown` from `u2pl_ray/config/schema.py`; `u2pl-ray settings PATH` prints",
        "a part of it. A dotted path is a setting's name everywhere: `a.b=c` on the command line, `a: {b: c}` or",
        "`a.b: c` in a config file, a parameter's name in a search space. `u2pl-ray train CONFIG --dump-config`",
        "prints the values that a training would have.",
        "",
    ]
    section = None
    for setting in reference():
        above = setting.path.rpartition(".")[0]
        if above != section:
            section = above
            head = f"## `{above}`" if above else "## The training"
            lines += ["", head, "", section_text(above) if above else "What does not belong to a part.", ""]
            lines += ["| setting | values | default | |", "|---|---|---|---|"]
        cells = (f"`{setting.path}`", setting.values, f"`{setting.default}`", setting.text)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _settings(model: type[BaseModel], defaults: BaseModel, prefix: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            yield from _settings(type(value), value, f"{prefix}{name}.")
            continue
        words = _words(field.annotation, field.metadata)
        yield Setting(prefix + name, words, _yaml(value), " ".join((field.description or "").split()))


def _words(kind: Any, limits: Any = ()) -> str:
    """Return what a type takes: `linear, cosine or null`, `number > 0`, `3 x number`."""
    bounds = [f"{sign} {value}" for limit in limits for name, sign in _BOUNDS.items()
              if (value := getattr(limit, name, None)) is not None]  # fmt: skip
    inner = [f"{sign} {value}" for limit in limits for part in getattr(limit, "metadata", ())
             for name, sign in _BOUNDS.items() if (value := getattr(part, name, None)) is not None]  # fmt: skip
    tail = f" {', '.join([*bounds, *inner])}" if bounds or inner else ""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, arguments)) + tail
    if origin in (Union, types.UnionType):
        return " or ".join(_words(argument) for argument in arguments) + tail
    if origin is tuple:
        if Ellipsis in arguments:
            return f"list of {_words(arguments[0])}{tail}"
        return f"{len(arguments)} x {_words(arguments[0])}{tail}"
    if origin is list:
        return f"list of {_words(arguments[0])}{tail}"
    if origin is dict:
        return f"mapping{tail}"
    if hasattr(kind, "__metadata__"):  # Annotated
        return _words(arguments[0], kind.__metadata__) + tail
    return _KINDS.get(kind, getattr(kind, "__name__", str(kind))) + tail


def _yaml(value: Any) -> str:
    """Return a default as one would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return str(value) if value != "" else '""'
