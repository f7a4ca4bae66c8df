import math
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.space.distributions import Parameter, parse_parameter


def parse(text: str, whole: bool = False) -> Any:
    return parse_parameter("a.b", yaml.safe_load(text), whole, "space.yaml: a.b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{min: 1, max: 5}", IntDistribution(1, 5)),
        ("{min: 0.5, max: 5}", FloatDistribution(0.5, 5.0)),
        ("{distribution: uniform, min: 1e-3, max: 1.0}", FloatDistribution(0.001, 1.0)),  # text for PyYAML
        ("{distribution: int_uniform, min: 1e3, max: '2000'}", IntDistribution(1000, 2000)),
        ("{distribution: int_uniform, min: 1, max: 5}", IntDistribution(1, 5)),
        ("{distribution: uniform, min: 1, max: 5}", FloatDistribution(1.0, 5.0)),
        ("{distribution: q_uniform, min: 0.05, max: 0.62, q: 0.1}", FloatDistribution(0.1, 0.6, step=0.1)),
        ("{distribution: log_uniform, min: -2, max: 1}", FloatDistribution(math.exp(-2), math.e, log=True)),
        ("{distribution: log_uniform_values, min: 0.1, max: 10}", FloatDistribution(0.1, 10.0, log=True)),
        ("{distribution: inv_log_uniform, min: -1, max: 2}", FloatDistribution(math.exp(-2), math.e, log=True)),
        ("{distribution: inv_log_uniform_values, min: 0.1, max: 10}", FloatDistribution(0.1, 10.0, log=True)),
        ("{values: [a, b]}", CategoricalDistribution(["a", "b"])),
        ("{distribution: categorical, values: [1, null]}", CategoricalDistribution([1, None])),
        ("{values: [[1, 2], [3, 4]]}", CategoricalDistribution(["[1, 2]", "[3, 4]"])),
    ],
)
def test_distributions(text: str, expected: object) -> None:
    assert parse(text).distribution == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{distribution: q_uniform, min: 100, max: 950, q: 100}", IntDistribution(100, 900, step=100)),
        ("{distribution: q_uniform, min: 100, max: 950}", IntDistribution(100, 950)),
        ("{distribution: q_log_uniform_values, min: 150, max: 5000, q: 100}", IntDistribution(200, 5000, log=True)),
        ("{distribution: q_log_uniform_values, min: 150, max: 5000, q: 1}", IntDistribution(150, 5000, log=True)),
        ("{distribution: q_log_uniform, min: 0, max: 3, q: 1}", IntDistribution(1, 20, log=True)),
    ],
)
def test_distributions_of_whole_numbers(text: str, expected: object) -> None:
    assert parse(text, whole=True).distribution == expected


@pytest.mark.parametrize("text", ["{value: 3}", "{distribution: constant, value: 3}"])
def test_constant(text: str) -> None:
    assert parse(text) == (3,)


@pytest.mark.parametrize(
    ("text", "whole", "words"),
    [
        ("{min: 0.0, max: 1.0, prior: 2}", False, ["prior 2 is outside 0 .. 1"]),
        ("{min: 0.0, max: 1.0, prior: [0.5, 0.2]}", False, ["prior [0.5, 0.2]", "inverted"]),
        ("{min: 0.0, max: 1.0, prior: [0.5]}", False, ["prior [0.5]", "a number, or two"]),
        ("{min: 0.0, max: 1.0, prior: high}", False, ["prior 'high'", "a number, or two"]),
        ("{min: 0.0, max: 1.0, prior: .nan}", False, ["prior nan is outside"]),
        ("{values: [linear, cosine], prior: cosin}", False, ["prior 'cosin'", "linear | cosine"]),
        ("{value: 3, prior: 3}", False, ["a constant has no prior"]),
        ("{distribution: unifrom, min: 0, max: 1}", False, ["no distribution 'unifrom'", "did you mean 'uniform'"]),
        ("{distribution: normal, mu: 0, sigma: 1}", False, ["normal", "with bounds"]),
        ("{min: 2.0, max: 1.0}", False, ["inverted", "min 2.0", "max 1.0"]),
        ("{min: 1}", False, ["needs max"]),
        ("{distribution: uniform}", False, ["needs min and max"]),
        ("{}", False, ["give values, value, or min and max"]),
        ("{values: []}", False, ["at least one"]),
        ("{values: 3}", False, ["must be a list"]),
        ("{values: [1, 1]}", False, ["1 twice"]),
        ("{min: 0, max: 1, q: 2}", False, ["q does not belong to int_uniform"]),
        ("{values: [1], probabilities: [1]}", False, ["probabilities does not belong"]),
        ("{distribution: uniform, min: 0, mx: 1}", False, ["mx does not belong", "did you mean 'max'"]),
        ("{distribution: log_uniform_values, min: 0, max: 1}", False, ["min 0 must be above 0"]),
        ("{distribution: log_uniform, min: 100, max: 100000}", False, ["exponents", "log_uniform_values"]),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0}", False, ["q 0 must be above 0"]),
        ("{distribution: q_uniform, min: 0.2, max: 0.8, q: 1}", False, ["no multiple of q 1"]),
        ("{distribution: uniform, min: a, max: 1.0}", False, ["min 'a' is not a number"]),
        ("{distribution: uniform, min: .nan, max: 1.0}", False, ["not a number"]),
        ("{distribution: uniform, min: true, max: 2}", False, ["min True is not a number"]),
        ("{distribution: int_uniform, min: 1.5, max: 2}", False, ["1.5 is not a whole number"]),
        ("{min: 1.0, max: 20.0}", True, ["whole numbers only", "int_uniform", "q_uniform"]),
        ("{distribution: log_uniform_values, min: 1, max: 20}", True, ["q_log_uniform_values with q: 1"]),
        ("{distribution: q_uniform, min: 1, max: 20, q: 0.5}", True, ["q 0.5 must be a whole number"]),
    ],
)
def test_refused_in_one_line(text: str, whole: bool, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, whole)
    message = str(caught.value)
    assert message.startswith("space.yaml: a.b: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_log_quantised_values_are_multiples_within_the_bounds() -> None:
    parameter = parse("{distribution: q_log_uniform_values, min: 0.03, max: 0.92, q: 0.05}")
    assert [parameter.snap(value) for value in (0.05, 0.06, 0.1249, 0.9)] == [0.05, 0.05, 0.1, 0.9]
    whole = parse("{distribution: q_log_uniform_values, min: 150, max: 4990, q: 100}", whole=True)
    assert [whole.snap(value) for value in (200, 249, 251, 4900)] == [200, 200, 300, 4900]
    assert isinstance(whole.snap(249), int)


@pytest.mark.parametrize(
    ("text", "value", "stored"),
    [
        ("{values: [[1, 2], [3, 4]]}", [3, 4], "[3, 4]"),
        ("{values: [true, 1]}", True, True),
        ("{values: [null, 5]}", None, None),
        ("{min: 0.0, max: 1.0}", 0.5, 0.5),
        ("{min: 1, max: 9}", 4, 4),
    ],
)
def test_values_survive_the_study(text: str, value: object, stored: object) -> None:
    parameter = parse(text)
    assert parameter.encode(value) == stored
    assert parameter.decode(stored) == value


@pytest.mark.parametrize(
    ("text", "value"), [("{values: [a]}", "b"), ("{min: 0.0, max: 1.0}", 1.5), ("{min: 1, max: 2}", "x")]
)
def test_foreign_values_are_not_encoded(text: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"is not|outside"):
        parse(text).encode(value)


@pytest.mark.parametrize(
    ("text", "whole", "value", "clipped"),
    [
        ("{min: 0.1, max: 1.0}", False, 5, 1.0),
        ("{min: 0.1, max: 1.0}", False, 0.5, 0.5),
        ("{min: 1, max: 9}", True, 30000, 9),
        ("{distribution: q_uniform, min: 0.0, max: 1.0, q: 0.25}", False, 0.3, 0.25),
        ("{distribution: q_log_uniform_values, min: 100, max: 900, q: 100}", True, 250, 250),
        ("{values: [1, 10, 100]}", True, 30, 10),
        ("{values: [linear, cosine]}", False, "cosine", "cosine"),
    ],
)
def test_clip(text: str, whole: bool, value: object, clipped: object) -> None:
    assert parse(text, whole).clip(value) == clipped


def test_clip_refuses_what_has_no_neighbour() -> None:
    with pytest.raises(ValueError, match="not among"):
        parse("{values: [linear, cosine]}").clip("constant")


@pytest.mark.parametrize(
    ("text", "extent"),
    [
        ("{min: 0.1, max: 1.0}", "0.1 .. 1"),
        ("{distribution: log_uniform_values, min: 0.1, max: 1.0}", "0.1 .. 1 (log)"),
        ("{distribution: q_uniform, min: 0.0, max: 1.0, q: 0.25}", "0 .. 1 (step 0.25)"),
        ("{values: [1, null]}", "1 | null"),
    ],
)
def test_extent(text: str, extent: str) -> None:
    parameter = parse(text)
    assert isinstance(parameter, Parameter)
    assert parameter.extent() == extent


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{min: 0.0, max: 2.0, prior: 0.5}", (0.25, 0.25)),
        ("{min: 0.0, max: 2.0, prior: [0.5, 1]}", (0.25, 0.5)),
        ("{distribution: log_uniform_values, min: 0.01, max: 1.0, prior: 1e-1}", (0.5, 0.5)),
        ("{distribution: log_uniform, min: 0, max: 2, prior: 2.718281828459045}", (0.5, 0.5)),  # the value, no exponent
        ("{min: 0, max: 10, prior: [0, 10]}", (0.0, 1.0)),
        ("{values: [a, b, c, d], prior: c}", (0.5, 0.75)),
        ("{values: [a, b, c, d]}", None),
        ("{min: 3, max: 3, prior: 3}", None),  # nothing to choose
    ],
)
def test_priors_in_the_unit_cube(text: str, expected: Any) -> None:
    found = parse(text).believed()
    assert found == (None if expected is None else pytest.approx(expected))
