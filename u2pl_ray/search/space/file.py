"""Search space files: YAML in the grammar of a W&B sweep whose parameter names are dotted configuration paths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from u2pl_ray.config import metrics, overrides
from u2pl_ray.config.errors import UserError, nearest
from u2pl_ray.config.methods import METHODS
from u2pl_ray.config.schema import Config
from u2pl_ray.config.yaml_text import read_yaml
from u2pl_ray.search.space.distributions import parse_parameter
from u2pl_ray.search.space.parameter import Parameter, number_of
from u2pl_ray.search.space.shipped import shipped_spaces
from u2pl_ray.search.space.space import Metric, Space, extremes

_KEYS = ("name", "description", "method", "metric", "parameters", "early_terminate")
_METHODS = ("bayes", "random")
FIRST_METRIC = Metric(metrics.VAL_MIOU)
"""What trials are compared by where the stored space of an experiment, of an earlier version, does not say."""
_FIXED = ("workers", "resources", "tracking")


def load_space(path: str | Path, base: Config | None = None) -> Space:
    """Read and check a space file.

    Args:
        path: the file, or the name of a shipped space.
        base: configuration the trials start from; given, each bound is checked by validating the configuration with it.

    Raises:
        UserError: one line that names the file and the parameter.
    """
    known = shipped_spaces()
    file = known[str(path)] if str(path) in known and not Path(path).exists() else Path(path).expanduser()
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; expected a search space in YAML") from None
    except OSError as error:
        raise UserError(
            f"--space {path}: {error.strerror or error}; give a YAML file, or one of {', '.join(known)}"
            f"{nearest(str(path), known)}"
        ) from None
    space = parse_space(text, str(path))
    if base is not None:
        space.check(base)
    return space


def parse_space(text: str, source: str) -> Space:
    """Parse the text of a space file.

    Args:
        text: the file's content.
        source: name of the file in messages.

    Raises:
        UserError: not YAML, an unknown key, parameter or distribution, or a range that cannot be.
    """
    try:
        tree = read_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected a mapping with `parameters:`, as in a W&B sweep")
    for key in tree:
        if key not in _KEYS:
            raise UserError(f"{source}: unknown key {key!r}; there are {', '.join(_KEYS)}{nearest(str(key), _KEYS)}")
    method = tree.get("method")
    if method is not None and method not in _METHODS:
        raise UserError(f"{source}: method {method!r} is not supported: use {' or '.join(_METHODS)}")
    body = tree.get("parameters")
    if not isinstance(body, dict) or not body:
        raise UserError(f"{source}: parameters: name at least one setting to search")
    found: dict[str, Parameter | tuple[Any]] = {}
    _collect(body, "", source, found)
    parameters = {path: item for path, item in found.items() if isinstance(item, Parameter)}
    if not parameters:
        raise UserError(f"{source}: parameters: all are constants; there is nothing to search")
    constants = {path: item[0] for path, item in found.items() if isinstance(item, tuple)}
    early_terminate = tree.get("early_terminate")
    if early_terminate is not None and not isinstance(early_terminate, dict):
        raise UserError(f"{source}: early_terminate: expected a mapping such as {{type: hyperband, min_iter: 3}}")
    first, *further = _objectives(tree.get("metric"), source)
    return Space(source, text, parameters, constants, first, method, early_terminate, tuple(further))


def with_metric(space: Space, objectives: Sequence[Metric]) -> Space:
    """Return the space with the given objectives written into its text, if its file names none; else as it is.

    Args:
        space: as it was read.
        objectives: at least one.
    """
    tree = read_yaml(space.text)
    if tree.get("metric") is not None:
        return space
    named = [{"name": metric.name, "goal": metric.goal} for metric in objectives]
    metric = named if len(named) > 1 else named[0]
    tree["metric"] = metric
    text = yaml.safe_dump({"metric": metric}, sort_keys=False) + space.text  # which keeps comments
    try:
        kept = read_yaml(text) == tree
    except yaml.YAMLError:  # a document in braces, or that begins with dashes
        kept = False
    return parse_space(text if kept else yaml.safe_dump(tree, sort_keys=False), space.source)


def default_metric(space: Space, config: Config) -> Metric:
    """Return what trials are compared by if the space does not say: the teacher's mIoU, where a method learns from it.

    The teacher is what one would deploy, and its last value is the least noisy of those that a training reports.

    Args:
        space: may search or fix the method.
        config: the configuration the trials start from.
    """
    searched = space.parameters.get("method.name")
    fixed = space.constants.get("method.name", config.method.name)
    methods = [fixed] if searched is None else searched.choices or ()
    taught = any(METHODS[name].semi_supervised for name in methods if name in METHODS)
    return Metric(metrics.VAL_TEACHER_MIOU if taught else metrics.VAL_MIOU)


def with_objectives(space: Space, further: Sequence[Metric]) -> Space:
    """Return the space with more objectives.

    Args:
        space: the space, with the objectives of its file.
        further: the objectives to add, in order.

    Raises:
        UserError: one is named twice.
    """
    if not further:
        return space
    tree = read_yaml(space.text)
    tree["metric"] = [{"name": metric.name, "goal": metric.goal} for metric in (*space.objectives, *further)]
    return parse_space(yaml.safe_dump(tree, sort_keys=False), space.source)


def with_best_epoch(space: Space) -> Space:
    """Return the space with trials compared by the best of their epochs instead of the last.

    Raises:
        UserError: it compares by something whose best is not reported.
    """
    if space.metric.name not in metrics.BEST or not space.metric.maximize:
        raise UserError(
            f"--score best: a training reports the best of {' and '.join(metrics.BEST)} alone, and {space.source} "
            f"compares by {space.metric.name} ({space.metric.goal})"
        )
    tree = read_yaml(space.text)
    rest = [{"name": metric.name, "goal": metric.goal} for metric in space.further]
    best = {"name": metrics.BEST[space.metric.name], "goal": "maximize"}
    tree["metric"] = [best, *rest] if rest else best
    return parse_space(yaml.safe_dump(tree, sort_keys=False), space.source)


def _objectives(body: Any, source: str) -> list[Metric]:
    """Parse `metric`: one metric as W&B writes it, or a list of them."""
    if not isinstance(body, list):
        return [_metric(body, source)]
    if not body:
        raise UserError(f"{source}: metric: name at least one")
    found = [_metric(item, source) for item in body]
    for index, metric in enumerate(found):
        if metric.name in [other.name for other in found[:index]]:
            raise UserError(f"{source}: metric: {metric.name} is named twice")
    return found


def _metric(body: Any, source: str) -> Metric:
    if body is None:
        return Metric()
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        raise UserError(f"{source}: metric: expected {{name: {metrics.VAL_TEACHER_MIOU}, goal: maximize}}")
    for key in body:
        if key not in ("name", "goal"):
            raise UserError(f"{source}: metric: unknown key {key!r}{nearest(str(key), ('name', 'goal'))}")
    goal = body.get("goal")  # W&B's default is to minimise, which would search for the worst mIoU
    if goal not in ("maximize", "minimize"):
        raise UserError(f"{source}: metric: goal {goal!r}: write maximize or minimize")
    return Metric(body["name"], goal == "maximize")


def _collect(body: Mapping[Any, Any], prefix: str, source: str, found: dict[str, Parameter | tuple[Any]]) -> None:
    """Parse the mapping below `parameters:`, nested ones included, into `found`."""
    for name, item in body.items():
        path = f"{prefix}{name}"
        where = f"{source}: {path}"
        if not isinstance(item, dict):
            raise UserError(
                f"{where}: expected a mapping such as {{min: 0.1, max: 1.0}}; for a constant {{value: ...}}"
            )
        if "parameters" in item:
            if set(item) != {"parameters"} or not isinstance(item["parameters"], dict):
                raise UserError(f"{where}: a nested parameter holds a mapping `parameters:` and nothing else")
            _collect(item["parameters"], f"{path}.", source, found)
            continue
        field = _field(path, where)
        if path in found:
            raise UserError(f"{where}: given twice")
        parsed = parse_parameter(path, _with_numbers(item, field), _takes_whole_numbers(field), where)
        for label, value in extremes(parsed) if isinstance(parsed, Parameter) else [("value", parsed[0])]:
            try:
                field.validate_python(value)
            except ValidationError as error:
                raise UserError(f"{where}: {label} {value!r}: {error.errors()[0]['msg']}") from None
        found[path] = parsed


def _with_numbers(item: Mapping[str, Any], field: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the mapping with texts that the setting takes for numbers as numbers: `value`, `values` and `prior`."""

    def read(value: Any) -> Any:
        try:
            return number_of(value) if isinstance(field.validate_python(value), int | float) else value
        except ValidationError:
            return value

    result = dict(item)
    for key in ("value", "prior"):
        if key in result and not isinstance(result[key], list):
            result[key] = read(result[key])
    if isinstance(result.get("values"), list):
        result["values"] = [read(value) for value in result["values"]]
    return result


def _field(path: str, where: str) -> TypeAdapter[Any]:
    """Return the validator of the setting at `path`."""
    node: type[BaseModel] = Config
    parts = path.split(".")
    for index, part in enumerate(parts):
        field = node.model_fields.get(part)
        if field is None:
            raise UserError(f"{where}: no such setting{nearest(path, overrides.paths())}")
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            node = kind
            continue
        if parts[0] in _FIXED:
            raise UserError(f"{where}: is the same for all trials of a search: set it in the configuration instead")
        if index == len(parts) - 1:
            return TypeAdapter(_annotated(kind, field.metadata))
        if field.default == {}:  # free-form options: their values are checked by the code that uses them
            return TypeAdapter(Any)
        break
    known = [known for known in overrides.paths() if known.startswith(f"{path}.")]
    if known:
        raise UserError(f"{where}: is a section, not a setting; it has {', '.join(known)}")
    raise UserError(f"{where}: no such setting{nearest(path, overrides.paths())}")


def _annotated(kind: Any, metadata: list[Any]) -> Any:
    from typing import Annotated

    return Annotated[(kind, *metadata)] if metadata else kind


def _takes_whole_numbers(field: TypeAdapter[Any]) -> bool:
    """Tell whether the setting is an integer: accepts whole numbers and refuses fractions."""

    def fractional_problem(value: float) -> bool:
        try:
            field.validate_python(value)
        except ValidationError as error:
            return any(problem["type"] in ("int_from_float", "int_type") for problem in error.errors())
        return False

    return fractional_problem(10.5)
