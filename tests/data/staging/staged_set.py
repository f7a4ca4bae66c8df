"""A data set to copy, in a folder and on a store, and what a copy of it holds."""

from pathlib import Path

from voc_folder import Folder

from u2pl_ray.data.staging.copies import COMPLETE

SPLITS = {
    "labeled.txt": "ll",
    "unlabeled.txt": "uuu",
    "ImageSets/Segmentation/val.txt": "vv",
    "ImageSets/Segmentation/test.txt": "tt",
}
NOT_READ = ("JPEGImages/other.png", "SegmentationObject/l0.png", "runs/checkpoint.pt")
FILES = 9 * 2 + 5
"""Images, labels, lists and classes.json of the data set."""


def silent(line: str) -> None:
    pass


def write(root: Path) -> Folder:
    """Write a data set, with things in it that no configuration reads."""
    made = Folder.new(root)
    for file, letters in SPLITS.items():
        ids = [f"{letter}{index}" for index, letter in enumerate(letters)]
        made.split(file, ids)
        for number, name in enumerate(ids):
            made.write(name, 40, 50, seed=100 * ord(name[0]) + number)
    for name in NOT_READ:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"not asked for")
    return made


def upload(root: Path, uri: str, *names: str) -> None:
    from pyarrow import fs

    store, path = fs.FileSystem.from_uri(f"{uri}?allow_delayed_open=true")
    for name in names or [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]:
        with store.open_output_stream(f"{path}/{name}") as stream:
            stream.write((root / name).read_bytes())


def content(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and file.name != COMPLETE and str(file.relative_to(root)) not in NOT_READ
    }


def arrived(staged: Path) -> list[Path]:
    return [file for file in staged.glob("*/**/*") if file.is_file() and not file.name.startswith(".")]
