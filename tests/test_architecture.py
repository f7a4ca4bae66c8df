"""The order of packages, and of the rooms in `search/`: a file imports only from what stands before its own.

docs/architecture.md says what each is for. Reads the imports of every file, those within functions included.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "u2pl_ray"

FLOORS: tuple[set[str], ...] = (
    {"system", "rng"},
    {"config"},
    {"method", "data", "models", "tracking", "posterior"},
    {"train"},
    {"search"},
    {"analysis", "doctor"},
    {"cli"},
    {"__main__"},
)
"""Packages, from the ground up; those on one floor do not import each other."""

ROOMS: tuple[set[str], ...] = (
    {"space", "storage", "samplers", "cluster"},
    {"study"},
    {"schedulers", "listeners"},
    {"trials"},
    {"driver"},
    {"execution"},
    {"experiment"},
)
"""The same within `search/`."""

HOUSE = "u2pl_ray"


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and dotted name of every import of this package's modules."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == HOUSE)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: a relative import"
            if node.module and node.module.split(".")[0] == HOUSE:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def level(order: tuple[set[str], ...], name: str) -> int:
    found = [number for number, names in enumerate(order) if name in names]
    assert found, f"{name} has no place in the order of this test: give it one, and a line in docs/architecture.md"
    return found[0]


def out_of_order(parts: tuple[str, ...], order: tuple[set[str], ...], prefix: str) -> Iterator[str]:
    """Yield every import from one unit of `order` into one that does not stand below it."""
    depth = prefix.count(".") + 1
    for file in modules():
        own = file.relative_to(PACKAGE.parent).with_suffix("").parts
        if own[:depth] != parts or len(own) <= depth or own[depth] == "__init__":
            continue
        for line, name in imports(file):
            target = name.split(".")
            if ".".join(target[:depth]) != prefix or len(target) <= depth or target[depth] == own[depth]:
                continue
            if level(order, target[depth]) >= level(order, own[depth]):
                yield f"{file.relative_to(PACKAGE.parent)}:{line} imports {name}"


def test_packages_import_downwards_only() -> None:
    assert list(out_of_order((HOUSE,), FLOORS, HOUSE)) == []


def test_rooms_of_search_import_downwards_only() -> None:
    assert list(out_of_order((HOUSE, "search"), ROOMS, f"{HOUSE}.search")) == []


def test_every_package_and_room_has_its_place() -> None:
    places = {name for names in FLOORS for name in names}
    units = {
        path.stem for path in PACKAGE.iterdir() if (path.is_dir() or path.suffix == ".py") and "__" not in path.stem
    }
    assert units | {"__main__"} == places
    rooms = {path.name for path in (PACKAGE / "search").iterdir() if path.is_dir() and "__" not in path.name}
    assert rooms == {name for names in ROOMS for name in names}


def test_modules_of_search_import_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    names = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in modules()}
    for name, file in names.items():
        if name.startswith(f"{HOUSE}.search."):
            graph[name] = set()
            for _, target in imports(file):
                found = target if target in names else target.rpartition(".")[0]
                if found in names and found != name and found.startswith(f"{HOUSE}.search."):
                    graph[name].add(found)
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", ["ray", "optuna", "wandb"])
def test_the_method_and_the_config_know_no_service(library: str) -> None:
    """`method/` is pure torch, and the worker's loop runs without Ray."""
    for package in ("config", "method", "models", "data"):
        for file in sorted((PACKAGE / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [name for name in named if name.split(".")[0] == library], f"{file}:{node.lineno}"  # type: ignore[attr-defined]
