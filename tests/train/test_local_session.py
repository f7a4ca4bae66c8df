"""A training without Ray keeps its newest checkpoints, and leaves what a user keeps beside them."""

from pathlib import Path

from u2pl_ray.train.session import LocalSession

MINE = "epoch_00009_best"  # sorts behind every checkpoint here: the newest, were it taken for one


def store(tmp_path: Path, folder: Path, epoch: int) -> None:
    """Hand over a checkpoint, as a worker does."""
    made = tmp_path / f"made_{epoch}"
    made.mkdir()
    (made / "state.pt").write_text(str(epoch))
    LocalSession(folder).report({}, made, f"epoch_{epoch:05d}")


def test_folders_of_the_users_own_stay_and_are_not_resumed_from(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / MINE).mkdir(parents=True)
    for epoch in (1, 2, 3, 4):
        store(tmp_path, folder, epoch)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch_00003", "epoch_00004", MINE]
    with LocalSession(folder).checkpoint() as newest:
        assert newest == folder / "epoch_00004"
