"""Data sets on a real S3 server: read through copies, refused in one line."""

import json
import os
import urllib.request
from pathlib import Path
from typing import BinaryIO

import pytest
from slow_source import Slow
from staged_set import FILES, silent, upload
from voc_folder import Folder, refused

from u2pl_ray.config.data import DataConfig
from u2pl_ray.config.errors import LostError, UserError
from u2pl_ray.config.overrides import validate
from u2pl_ray.config.schema import Config
from u2pl_ray.data.registry import resolve
from u2pl_ray.data.staging.copies import node_copy
from u2pl_ray.data.staging.sources import File
from u2pl_ray.data.voc import official, open_split, root_of


def test_what_is_wrong_with_the_store_is_one_line(folder: Folder, bucket: str, staged: Path) -> None:
    for root, words in (
        ("s3://no-such-bucket/set", "there is no such bucket"),
        (f"{bucket}/nothing", "there is nothing at this place"),
        ("s3://key:secret@bucket/set", "holds credentials"),
    ):
        with refused("data.root=s3://", words):
            resolve(folder.config(root=root))
    with pytest.raises(UserError, match=r"data.stage=never: data.root=s3://a/b can be read from a copy alone"):
        validate({"data": {"root": "s3://a/b", "stage": "never"}})


def test_what_is_missing_is_named_as_it_is_on_the_store(folder: Folder, stored: DataConfig, staged: Path) -> None:
    with refused(f"data.labeled: split file {stored.root}/none.txt is missing"):
        resolve(folder.config(root=stored.root, labeled="none.txt"))
    with refused(f"{stored.root}/SegmentationClassAug is missing"):
        resolve(folder.config(root=stored.root, labels="SegmentationClassAug"))
    folder.split("more.txt", ["l0", "l99"])
    upload(folder.root, stored.root, "more.txt")
    with refused(f"split file {stored.root}/more.txt lists 'l99'"):
        resolve(folder.config(root=stored.root, labeled="more.txt"))
    config = resolve(folder.config(root=stored.root, test="none.txt"))
    assert len(open_split(config.data, "val")) == 2


def test_wrong_credentials_are_one_line(folder: Folder, stored: DataConfig, staged: Path) -> None:
    def ask(times: str) -> None:
        """Let the server ask for credentials, which nobody has, after so many requests."""
        url, plain = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, times.encode(), plain, method="POST")).close()

    class Expiring(Slow):
        def open(self, file: File) -> BinaryIO:
            ask("0")
            return super().open(file)

    try:
        with refused(f"data.root={stored.root}: ", "cannot be read (the store refuses these credentials (AWS Error "):
            node_copy(Expiring(stored), staged, silent)
        with refused(f"data.root={stored.root}: the store refuses these credentials (AWS Error "):
            node_copy(Slow(stored), staged, silent)
    finally:
        ask("inf")
    node_copy(Slow(stored), staged, silent)


@pytest.mark.slow  # pyarrow asks three times
def test_a_store_that_does_not_answer_is_an_outage(
    folder: Folder, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    from u2pl_ray.search.execution.failures import classify, interruption

    with pytest.raises(LostError, match=r"the store does not answer \(AWS Error NETWORK_CONNECTION\)") as lost:
        resolve(folder.config(root=f"{bucket}/set"))
    assert classify(lost.value).reason == "error"
    why = interruption(lost.value)  # so a trial waits, and is started again
    assert why is not None
    assert why.what == "cannot reach the storage"


def test_the_configuration_keeps_the_source(origin: Folder, stored: DataConfig, staged: Path) -> None:
    config = origin.config(root=f"{stored.root}/")
    resolved = resolve(config)
    assert resolved.data.root == stored.root
    assert resolved.data.classes == ("background", "cat", "dog")
    assert resolve(resolved) == resolved
    assert str(root_of(resolved.data)).startswith(str(staged))
    assert len(list(staged.glob("*/"))) == 1  # the classes that are filled in make no other copy


def test_doctor_compares_what_nodes_see_and_copies_nothing(origin: Folder, stored: DataConfig, staged: Path) -> None:
    from u2pl_ray.doctor.node import data

    seen = data(origin.config(root=stored.root))
    assert seen == data(origin.config(root=stored.root))
    assert seen["data.root"].startswith(f"{FILES} files, 0.00 GB, ")
    assert data(origin.config(root=stored.root, test=None)) != seen
    assert "there is no such bucket" in data(origin.config(root="s3://no-such-bucket/set"))["data.root"]
    assert not staged.exists()


def test_a_training_from_s3_is_that_from_the_folder(origin: Folder, stored: DataConfig, staged: Path) -> None:
    import torch

    from u2pl_ray.train.loop import Worker
    from u2pl_ray.train.session import LocalSession

    def epochs(root: str) -> list[str]:
        tree = origin.config(root=root).model_dump()
        tree["model"] |= {"encoder": "tu-resnet10t", "representation_dim": 8, "encoder_weights": None}
        tree["train"] |= {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "unlabeled_batch_size": 2}
        tree["method"] |= {"warmup_epochs": 0}
        tree["tracking"] |= {"images": 0}
        reports: list[str] = []

        def keep(metrics: dict[str, object]) -> None:
            rest = {name: value for name, value in metrics.items() if not name.startswith("perf/")}
            reports.append(json.dumps(rest, sort_keys=True))

        config: Config = resolve(validate(tree))
        Worker(config, LocalSession(on_report=keep), torch.device("cpu")).run()
        return reports

    there, here = epochs(stored.root), epochs(str(origin.root))
    assert there == here
    assert "train/loss/contrastive" in here[0]


def test_a_val_list_that_training_does_not_open_needs_no_masks(folder: Folder, bucket: str, staged: Path) -> None:
    for name in ("v0", "v1"):
        folder.label(name).unlink()
    uri = f"{bucket}/unmasked/set"
    upload(folder.root, uri)
    with refused(f"split file {uri}/ImageSets/Segmentation/val.txt lists 'v0' (and 1 more), but its label"):
        resolve(folder.config(root=uri))
    data = resolve(folder.config(root=uri, selection="holdout")).data
    here = folder.config(selection="holdout").data
    for split in ("labeled", "unlabeled", "val"):
        there = [(item.id, item.image.relative_to(root_of(data)), bool(item.label)) for item in open_split(data, split)]
        assert there == [(item.id, item.image.relative_to(folder.root), True) for item in open_split(here, split)]
    with refused(f"split file {uri}/ImageSets/Segmentation/val.txt lists 'v0' (and 1 more), but its label"):
        open_split(official(data), "val")
