"""What several verbs do: read a configuration, look at the data, complain."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from u2pl_ray.config.errors import UserError

if TYPE_CHECKING:
    from u2pl_ray.config.schema import Config


def load_config(name: str, overrides: list[str] | None) -> "Config":
    """The resolved configuration: preset or file, overrides, classes and split files filled in."""
    from u2pl_ray.config.overrides import load
    from u2pl_ray.data.registry import resolve

    return resolve(load(name, overrides or []))


def parse_options(flag: str, items: list[str] | None) -> dict[str, Any]:
    """`key=value` pairs given with `flag`; values are YAML."""
    import yaml

    from u2pl_ray.config.yaml_text import read_yaml

    options = {}
    for item in items or []:
        key, separator, text = item.partition("=")
        if not separator or not key.isidentifier():
            raise UserError(f"{flag} {item!r}: write it as key=value")
        try:
            options[key] = read_yaml(text)
        except yaml.YAMLError:
            raise UserError(f"{flag} {item!r}: the value is not valid YAML") from None
    return options


def check_data(config: "Config") -> None:
    """Refuse a model or data set that cannot be trained on; print what looks wrong."""
    from u2pl_ray.data.check import check
    from u2pl_ray.train.preflight import preflight

    for warning in (*preflight(config), *check(config, full=False).warnings):
        warn(warning)


def check_labels(config: "Config", method: str) -> None:
    """Refuse a method that trains on labels which the data set does not have."""
    from u2pl_ray.config.methods import METHODS
    from u2pl_ray.config.overrides import apply
    from u2pl_ray.data.check import check

    if method in METHODS and METHODS[method].all_labels:
        check(apply(config, {"method.name": method}), full=False)


def check_split(split: str) -> None:
    """Refuse anything but val and test."""
    if split not in ("val", "test"):
        raise UserError(f"--split {split}: there are val and test")


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line; characters that the terminal's encoding lacks are shown as escapes.

    Args:
        text: what to print.
        file: where; None: stdout.
    """
    file = file or sys.stdout
    encoding = file.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=file)


def warn(text: str) -> None:
    """One line on stderr."""
    say(f"warning: {text}", sys.stderr)


def print_config(config: "Config") -> None:
    """The whole configuration as YAML, which `train` and `search` accept."""
    from u2pl_ray.config.overrides import dump

    print(dump(config), end="")


def default_name(config: str, what: str) -> str:
    """A name for a new experiment: what of, and when."""
    return f"{Path(config).stem}-{what}-{datetime.now():%Y%m%d-%H%M%S}"
