"""Paths as they are written into files that others may read."""

import pytest

from u2pl_ray.system.home import under_home


def test_paths_below_home_name_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    paths = ["/home/alice/data", "/home/alice", "/home/alicent/data", "data", "s3://bucket/home/alice"]
    assert [under_home(path) for path in paths] == ["~/data", "~", *paths[2:]]
