import base64
from pathlib import Path

from u2pl_ray.search.trials.trial_images import store_images


def report(epoch: int, **files: bytes) -> dict[str, object]:
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return {"training_iteration": epoch, "val/miou": 0.5, **({"image_data": data} if files else {})}


def test_an_epochs_images_lie_beside_the_records(tmp_path: Path) -> None:
    for epoch in (2, 5, 11):
        stored = store_images(tmp_path, report(epoch, a=b"%d" % epoch))
        assert stored == {"training_iteration": epoch, "val/miou": 0.5, "images": f"images/epoch_{epoch:05d}"}
        assert (tmp_path / str(stored["images"]) / "a").read_bytes() == b"%d" % epoch
    folders = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert folders == ["epoch_00002", "epoch_00005", "epoch_00011"]


def test_an_epoch_that_comes_again_replaces_itself(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        store_images(tmp_path, report(2, a=b"first"))
        store_images(tmp_path, report(3, b=content))
    assert [path.name for path in sorted((tmp_path / "images").iterdir())] == ["epoch_00002", "epoch_00003"]
    assert (tmp_path / "images" / "epoch_00003" / "b").read_bytes() == b"two"


def test_metrics_without_images_stay_as_they_are(tmp_path: Path) -> None:
    assert store_images(tmp_path, report(1)) == report(1)
    assert not (tmp_path / "images").exists()


def test_a_full_disk_costs_the_images_alone(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    assert store_images(tmp_path, report(2, a=b"x")) == report(2)
