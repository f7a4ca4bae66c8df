from collections.abc import Callable
from pathlib import Path

import pytest
from voc_folder import Folder

CAMVID = Path(__file__).parents[2].parent / "shared" / "data" / "camvid_240"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder.new(tmp_path / "set")
    splits = {
        "labeled.txt": [f"l{i}" for i in range(3)],
        "unlabeled.txt": [f"u{i}" for i in range(7)],
        "ImageSets/Segmentation/val.txt": [f"v{i}" for i in range(5)],
        "ImageSets/Segmentation/test.txt": [f"t{i}" for i in range(2)],
    }
    seed = 0
    for file, ids in splits.items():
        made.split(file, ids)
        for name in ids:
            seed += 1
            made.write(name, *((40, 50) if seed % 3 else (37, 29)), seed=seed)
    return made


@pytest.fixture
def camvid() -> Path:
    if not CAMVID.is_dir():
        pytest.skip("CamVid is not here: put camvid_240 into ../shared/data beside the repository")
    return CAMVID


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """The generated set is written below tmp_path; returns the folder of the generated sets."""
    monkeypatch.setenv("U2PL_RAY_CACHE", str(tmp_path / "cache"))
    return lambda: tmp_path / "cache" / "synthetic"
