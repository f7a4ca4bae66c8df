from pathlib import Path

import pytest

from u2pl_ray.config import overrides
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.wandb import sweep_of
from u2pl_ray.search.space.file import default_metric, load_space, parse_space, with_best_epoch, with_metric
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Metric, Space

SPACES = Path(__file__).parents[2] / "search_spaces"


def parse(parameters: str, rest: str = "") -> Space:
    return parse_space(f"{rest}\nparameters:\n  {parameters}", "space.yaml")


CLASSES = {"quickstart": 6, "camvid": 11, "the paper": 21}


def base_of(name: str) -> Config:
    """A preset, or the schema's defaults, with as many classes as its data has."""
    config = Config() if name == "the paper" else overrides.load(name)
    return overrides.apply(config, {"data.classes": [f"class {index}" for index in range(CLASSES[name])]})


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("file", sorted(SPACES.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_spaces(file: Path, name: str) -> None:
    """Each says on top which question it asks, is valid with every preset, and proposes hardly anything that is not."""
    first = file.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert "?" in first
    base = base_of(name)
    space = load_space(file, base)
    assert with_metric(space, [default_metric(space, base)]).metric == Metric("val/teacher/miou", maximize=True)
    assert sum(bool(space._problem(base, probe)) for probe in space._probes()) <= 3  # of 64
    setting, _ = paper_setting(space, base)
    assert setting.keys() == space.parameters.keys()
    space.configure(base, setting)


def test_the_spaces_of_one_question_are_parts_of_everything() -> None:
    everything = load_space(SPACES / "everything.yaml")
    for file in SPACES.glob("*.yaml"):
        # Some have ranges of their own: small budgets, other methods.
        if file.stem not in ("quickstart", "paper", "method", "unlabeled"):
            for path, parameter in load_space(file).parameters.items():
                assert everything.parameters[path] == parameter, path


def test_names_may_be_dotted_or_nested() -> None:
    dotted = parse("method.alpha.start: {min: 0.1, max: 0.2}")
    nested = parse("method: {parameters: {alpha: {parameters: {start: {min: 0.1, max: 0.2}}}}}")
    assert dotted.parameters == nested.parameters


def test_constants_are_not_searched(base: Config) -> None:
    space = parse("{method.alpha.start: {min: 0.1, max: 0.2}, optim.lr: {value: 0.5}}")
    assert set(space.distributions) == {"method.alpha.start"}
    config = space.configure(base, {"method.alpha.start": 0.15})
    assert (config.optim.lr, config.method.alpha.start) == (0.5, 0.15)


def test_whole_numbers_are_known_from_the_schema() -> None:
    with pytest.raises(UserError, match="takes whole numbers only"):
        parse("method.memory_bank.capacity: {min: 1.0, max: 20.0}")
    with pytest.raises(UserError, match="takes whole numbers only"):
        parse("method.memory_bank.push_cap: {min: 1.0, max: 20.0}")  # optional
    assert parse("optim.lr: {min: 1, max: 2}").parameters["optim.lr"].decode(1) == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("method.alpha.strat: {min: 0.1, max: 0.2}", ["method.alpha.strat: no such setting", "'method.alpha.start'"]),
        ("alpha.start: {min: 0.1, max: 0.2}", ["alpha.start: no such setting", "'method.alpha.start'"]),
        ("method.alpha: {min: 0.1, max: 0.2}", ["method.alpha: is a section", "method.alpha.start"]),
        ("optim.lr.x: {min: 0.1, max: 0.2}", ["optim.lr.x: no such setting"]),
        ("workers: {values: [1, 2]}", ["workers: is the same for all trials"]),
        ("resources.cpus_per_worker: {values: [1, 2]}", ["is the same for all trials"]),
        ("tracking.project: {values: [a, b]}", ["is the same for all trials"]),
        ("method.alpha.start: {min: 0.1, max: 1.5}", ["method.alpha.start: max 1.5", "less than or equal to 1"]),
        ("method.alpha.start: {min: -0.1, max: 0.5}", ["method.alpha.start: min -0.1"]),
        ("method.alpha.kind: {values: [linear, expo]}", ["method.alpha.kind: value 'expo'"]),
        ("method.alpha.kind: {value: expo}", ["method.alpha.kind: value 'expo'"]),
        ("method.alpha.start: 0.3", ["method.alpha.start: expected a mapping", "{value: ...}"]),
        ("method: {parameters: {}, min: 1}", ["method: a nested parameter"]),
        ("method.alpha.start: {value: 0.3}", ["all are constants"]),
        ("{}", ["name at least one setting"]),
        (
            "{optim.lr: {min: 0.1, max: 0.2}, optim: {parameters: {lr: {min: 0.1, max: 0.2}}}}",
            ["optim.lr: given twice"],
        ),
    ],
)
def test_refused_parameters(parameters: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(parameters)
    assert str(caught.value).startswith("space.yaml: ")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("metrc: {name: val/miou, goal: maximize}", ["unknown key 'metrc'", "did you mean 'metric'"]),
        ("metric: {name: val/miou}", ["goal None: write maximize or minimize"]),
        ("metric: {name: val/miou, goal: up}", ["goal 'up'"]),
        ("metric: {name: val/miou, gaol: maximize}", ["unknown key 'gaol'", "did you mean 'goal'"]),
        ("metric: val/miou", ["metric: expected"]),
        ("method: grid", ["method 'grid' is not supported"]),
        ("early_terminate: 3", ["early_terminate: expected a mapping"]),
    ],
)
def test_refused_keys(rest: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse("method.alpha.start: {min: 0.1, max: 0.2}", rest)
    for word in words:
        assert word in str(caught.value)


TEACHERS, STUDENTS = Metric("val/teacher/miou"), Metric("val/miou")


def test_without_a_metric_the_teachers_counts_where_there_is_one() -> None:
    base, supervised = Config(), overrides.apply(Config(), {"method.name": "supervised"})
    plain = parse("method.alpha.start: {min: 0.1, max: 0.3}")
    assert (default_metric(plain, base), default_metric(plain, supervised)) == (TEACHERS, STUDENTS)
    methods = parse("method.name: {values: [supervised, u2pl]}\n  method.alpha.start: {min: 0.1, max: 0.3}")
    assert default_metric(methods, supervised) == TEACHERS
    fixed = parse("method.name: {value: supervised}\n  method.alpha.start: {min: 0.1, max: 0.3}")
    assert default_metric(fixed, base) == STUDENTS


@pytest.mark.parametrize("layout", ["# why\n{}", "---\n# why\n{}", "{{{}}}"])
def test_the_metric_is_written_into_a_space_that_names_none(layout: str) -> None:
    space = parse_space(layout.format("parameters: {method.alpha.start: {min: 0.1, max: 0.3}}"), "s")
    for objectives in ([TEACHERS], [TEACHERS, Metric("perf/step_seconds", maximize=False)]):
        named = with_metric(space, objectives)
        assert list(named.objectives) == list(parse_space(named.text, "stored").objectives) == objectives
        assert named.parameters == space.parameters
        assert ("# why" in named.text) == layout.startswith("#")
        assert with_metric(named, [STUDENTS]) is named
    assert parse_space(space.text, "stored by an earlier version").metric == STUDENTS
    assert with_best_epoch(with_metric(space, [TEACHERS])).metric == Metric("val/teacher/best_miou")


@pytest.mark.parametrize("text", ["- a", "", "a: [", "parameters: 3"])
def test_not_a_space(text: str) -> None:
    with pytest.raises(UserError, match=r"^space.yaml: "):
        parse_space(text, "space.yaml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.yaml: No such file"):
        load_space(tmp_path / "nothing.yaml")


def test_bounds_are_checked_with_the_rest_of_the_configuration(base: Config) -> None:
    space = parse("method.contrastive.low_rank: {min: 1, max: 9}")  # high_rank is 6
    with pytest.raises(UserError, match=r"method.contrastive.low_rank: max 9: .*high_rank"):
        space.check(base)


def test_bounds_may_depend_on_other_parameters(base: Config) -> None:
    ranks = "{method.contrastive.low_rank: {min: 1, max: 9}, method.contrastive.high_rank: {min: 5, max: 20}}"
    parse(ranks).check(base)


def test_a_space_without_any_valid_setting(base: Config) -> None:
    space = parse("{method.contrastive.low_rank: {min: 7, max: 9}}")
    with pytest.raises(UserError, match="none of 64 random settings is valid"):
        space.check(base)


def test_free_form_options(base: Config) -> None:
    space = parse("model.options.encoder_output_stride: {values: [8, 16]}")
    space.check(base)
    config = space.configure(base, {"model.options.encoder_output_stride": 8})
    assert config.model.options == {"encoder_output_stride": 8}


def test_priors_are_read_and_kept_from_wandb() -> None:
    text = (
        "method: {parameters: {alpha: {parameters: {start: {min: 0.1, max: 0.3, prior: 0.2}}}}}\n"
        "  optim.lr: {distribution: log_uniform_values, min: 0.001, max: 0.1, prior: ['1e-3', 1e-2]}"
    )
    space = parse(text)
    assert {path: pytest.approx(ends) for path, ends in space.beliefs.items()} == {
        "method.alpha.start": (0.5, 0.5),
        "optim.lr": (0.0, 0.5),
    }
    assert "prior" in space.text
    sweep = sweep_of(space.text)
    assert "prior" not in str(sweep)
    assert sweep["parameters"]["method"]["parameters"]["alpha"]["parameters"]["start"] == {"min": 0.1, "max": 0.3}
