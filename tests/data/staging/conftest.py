from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from staged_set import upload, write
from voc_folder import Folder

from tests.search.s3 import s3_server
from u2pl_ray.config.data import DataConfig
from u2pl_ray.data.staging import copies, local


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("bucket") as uri:
        yield uri


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's folder of copies."""
    monkeypatch.setenv(copies.VARIABLE, str(tmp_path / "copies"))
    return tmp_path / "copies"


@pytest.fixture(scope="module")
def source_set(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, str]:
    """A data set in a folder, and the same on the store."""
    folder = write(tmp_path_factory.mktemp("source") / "set")
    upload(folder.root, f"{bucket}/sets/set")
    return folder, f"{bucket}/sets/set"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A data set in a folder of this test's own."""
    return write(tmp_path / "set")


@pytest.fixture
def origin(source_set: tuple[Folder, str]) -> Folder:
    """The data set of `stored`, as it is on this machine; tests leave it as it is."""
    return source_set[0]


@pytest.fixture
def stored(source_set: tuple[Folder, str]) -> DataConfig:
    """The data set on the store; tests leave it as it is."""
    return source_set[0].config(root=source_set[1]).data


@pytest.fixture
def nfs(folder: Folder, staged: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """The folder's parent is on NFS, as the system says; the copies are on a disk."""

    def mounted(point: Path) -> None:
        monkeypatch.setattr(local, "file_system", lambda path: "nfs4" if path.is_relative_to(point) else "ext4")

    return mounted
