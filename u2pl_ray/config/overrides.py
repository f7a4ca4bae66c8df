"""Reading a configuration: a preset or a YAML file, `a.b=c` overrides, and one-line errors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from u2pl_ray.config.errors import UserError, first_line, nearest
from u2pl_ray.config.preset import read_presets
from u2pl_ray.config.relative import beside
from u2pl_ray.config.schema import Config
from u2pl_ray.config.yaml_text import read_yaml

_CHOICE = "give a YAML file, or one of the presets that `u2pl-ray settings --presets` lists"


def presets() -> list[str]:
    """Names of the shipped presets, sorted."""
    return list(read_presets())


def load(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration called `name_or_path` (a preset, or a YAML file) with `a.b=c` overrides applied.

    Raises:
        UserError: no such preset or file, not YAML, an unknown key, or a value the schema refuses.
    """
    source, text = _read(str(name_or_path))
    try:
        tree = read_yaml(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected a mapping of settings, found {type(tree).__name__}")
    tree = _undotted(tree, source)
    if Path(source).is_file():
        tree = beside(tree, Path(source).expanduser().absolute().parent)
    changed = merge(tree, beside(parse_overrides(overrides), Path.cwd()))
    try:
        return Config.model_validate(changed)
    except ValidationError as error:
        if overrides and _valid(tree):  # it is not the file's fault
            alone = [text for text in overrides if not _valid(merge(tree, parse_overrides([text])))]
            source = f"{source} with {' '.join(alone or overrides)}"  # none alone: they do not go together
        raise UserError(f"{source}: {_first_problem(error)}") from None


def _valid(tree: Mapping[str, Any]) -> bool:
    try:
        Config.model_validate(tree)
    except ValidationError:
        return False
    return True


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["a.b=1", "a.c=[2, 3]"]` as a tree; values are YAML.

    Raises:
        UserError: an override without `=`, or one whose value is not YAML.
    """
    from omegaconf import OmegaConf

    for item in overrides:
        name, separator, _ = item.partition("=")
        if not separator or not name.strip():
            raise UserError(f"override {item!r}: write it as key=value, for example method.alpha.start=0.3")
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)), resolve=False)
    except Exception as error:
        raise UserError(f"overrides {' '.join(overrides)}: {first_line(error)}") from None
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it; mappings are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = merge(below, value)
        else:
            result[key] = value
    return result


def validate(tree: Mapping[str, Any], source: str = "config") -> Config:
    """`tree` as a `Config`.

    Raises:
        UserError: the first thing the schema refuses, named by its dotted path and `source`.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{source}: {_first_problem(error)}") from None


def apply(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with dotted settings replaced, validated anew: `apply(config, {"method.alpha.start": 0.3})`."""
    return validate(merge(config.model_dump(), nest(values)))


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def get(config: Config, path: str) -> Any:
    """The value at a dotted path.

    Raises:
        UserError: the path names no setting.
    """
    node: Any = config
    for part in path.split("."):
        known = (isinstance(node, Mapping) and part in node) or (
            isinstance(node, BaseModel) and part in type(node).model_fields
        )
        if not known:
            raise UserError(f"{path}: no such setting{nearest(path, paths())}")
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    return node


def paths() -> list[str]:
    """Every dotted path that names a single setting, in the schema's order."""
    return list(_leaves(Config, ""))


def dump(config: Config) -> str:
    """The whole configuration as YAML, which `load` reads back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(name: str) -> tuple[str, str]:
    if name in presets():
        return f"preset {name}", read_presets()[name].text
    path = Path(name).expanduser()
    if path.is_dir():
        raise UserError(f"{name}: is a folder; {_CHOICE}")
    try:
        return str(path), path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name}: not a text file; expected YAML") from None
    except OSError as error:
        hint = nearest(name, presets())
        raise UserError(f"{name}: {error.strerror or error}; {_CHOICE}{hint}") from None


def _undotted(tree: Mapping[str, Any], source: str, above: str = "") -> dict[str, Any]:
    """Nest what a file writes as `method.alpha.start: 0.3`, as the command line and search spaces do.

    Raises:
        UserError: a setting is given twice.
    """
    result: dict[str, Any] = {}
    for key, value in tree.items():
        *parents, leaf = str(key).split(".")
        node = result
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                raise UserError(f"{source}: {above}{key}: {parent} is given a value of its own as well")
            node = below
        if isinstance(value, Mapping):
            value = _undotted(value, source, f"{above}{key}.")
            if isinstance(node.get(leaf), dict):
                twice = sorted(value.keys() & node[leaf].keys())
                value = merge(node[leaf], value)
                if twice and not all(isinstance(value[name], dict) for name in twice):
                    raise UserError(f"{source}: {above}{key}.{twice[0]} is given twice")
        elif leaf in node:
            raise UserError(f"{source}: {above}{key} is given twice")
        node[leaf] = value
    return result


def _leaves(model: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _first_problem(error: ValidationError) -> str:
    # Unknown keys first: a misspelt key is the likelier cause of whatever else is wrong.
    problems = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    first = problems[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = paths()
        sections = {prefix.rsplit(".", 1)[0] for prefix in known if "." in prefix}
        return f"{path}: no such setting{nearest(path, [*known, *sorted(sections)])}"
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, BaseModel | Mapping) else f" (given {given!r})"
    # Validators of several settings name them by their whole paths.
    return message if not path or message.startswith((f"{path}.", f"{path}=")) else f"{path}: {message}{shown}"
