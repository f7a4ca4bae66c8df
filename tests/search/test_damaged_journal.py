"""A damaged journal is one line that names the way out, for every verb; `resume` is that way."""

from pathlib import Path

import pytest

from tests.search.small_search import searched, story
from tests.train.conftest import tiny
from u2pl_ray.cli import main
from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.search.experiment.experiment import Experiment

pytestmark = pytest.mark.usefixtures("two_cpus")


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, output and error output of a command."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0), *capsys.readouterr()


def damage(journal: Path, line: bytes) -> None:
    """Put this in the place of a line in the middle."""
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[len(lines) // 2] = line + b"\n"
    journal.write_bytes(b"".join(lines))


@pytest.mark.parametrize("line", [b"{", b"3", b"{}", None])
def test_it_is_named(tmp_path: Path, base: Config, line: bytes | None) -> None:
    made = searched(tmp_path, base)
    journal = made.folder / "study.journal"
    if line is None:
        journal.write_bytes(b"")
    else:
        damage(journal, line)
    with pytest.raises(UserError, match=rf"study\.journal: damaged; u2pl-ray resume {made.argument} restores it$"):
        Experiment.open("a", tmp_path).study()


def test_every_verb_says_so_and_resume_restores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = searched(tmp_path, tiny())
    whole = story(made.study().records())
    damage(made.folder / "study.journal", b"{")
    for verb in ("status", "best", "report", "compare", "export", "confirm"):
        code, _, errors = called(capsys, verb, "a", "--storage-path", str(tmp_path))
        assert (code, errors.strip().count("\n")) == (2, 0), verb
        assert f"{made.folder}/study.journal: damaged; u2pl-ray resume a --storage-path {tmp_path} restores" in errors
    code, table, _ = called(capsys, "list", "--storage-path", str(tmp_path))
    assert code == 0
    assert ["a", "damaged"] in [line.split() for line in table.splitlines()]
    assert (
        f"\na: {made.folder}/study.journal: damaged; u2pl-ray resume a --storage-path {tmp_path} restores it" in table
    )
    code, told, errors = called(capsys, "resume", "a", "--storage-path", str(tmp_path))
    assert code == 0, errors
    assert "damaged after" in told
    assert story(Experiment.open("a", tmp_path).study().records()) == whole
