from u2pl_ray.config.schema import Config
from u2pl_ray.search.space.file import parse_space
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Space


def parse(parameters: str) -> Space:
    return parse_space(f"parameters: {parameters}", "space.yaml")


def test_the_papers_values_where_the_range_has_them(base: Config) -> None:
    space = parse("{method.alpha.start: {min: 0.1, max: 0.5}, method.alpha.kind: {values: [cosine, linear]}}")
    assert paper_setting(space, base) == ({"method.alpha.start": 0.2, "method.alpha.kind": "linear"}, [])


def test_clipped_and_said(base: Config) -> None:
    space = parse("{method.memory_bank.capacity: {min: 512, max: 8192}}")
    setting, notes = paper_setting(space, base)
    assert setting == {"method.memory_bank.capacity": 8192}
    assert notes == [
        "method.memory_bank.capacity: the paper's 30000 is outside 512 .. 8192; the first trial takes 8192"
    ]


def test_without_a_near_choice_the_bases_value_or_the_first(base: Config) -> None:
    encoders, kinds = "[resnet18, tu-mobilenetv3_small_050]", "[cosine, constant]"
    space = parse(f"{{model.encoder: {{values: {encoders}}}, method.alpha.kind: {{values: {kinds}}}}}")
    setting, notes = paper_setting(space, base)
    assert setting == {"model.encoder": "tu-mobilenetv3_small_050", "method.alpha.kind": "cosine"}
    assert len(notes) == 2


def test_left_out_if_not_valid_together(base: Config) -> None:
    space = parse("{method.contrastive.low_rank: {min: 7, max: 9}}")
    setting, notes = paper_setting(space, base)
    assert setting == {}
    assert "left out" in notes[-1]


def test_nothing_to_choose(base: Config) -> None:
    assert paper_setting(parse("{seed: {values: [5]}}"), base) == ({}, [])
