"""What a user of S3 gets wrong, on a real server: bucket, credentials, address. One line each, and exit code 2."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.search.s3 import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("bucket") as uri:
        yield uri


@pytest.fixture
def search(config: Path) -> list[str]:
    """The command that starts a search there."""
    return ["search", str(config), "--space", "contrastive", "--trials", "1", "--name", "a", "--resume-if-exists"]


def refusal(run: Run, *command: str) -> str:
    """Run a command that must be refused; return the line."""
    code, out, err = run(*command)
    assert code == 2, out
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err


def test_no_such_bucket(run: Run, bucket: str, search: list[str]) -> None:
    nowhere = "s3://no-such-bucket/searches"
    for command in (
        ["list", nowhere],
        ["status", "a", "--storage-path", nowhere],
        [*search, "--storage-path", nowhere],
    ):
        assert f"{nowhere}" in (line := refusal(run, *command))
        assert "there is no such bucket" in line
    code, out, _ = run("doctor", "--storage-path", nowhere)
    assert code == 1
    assert f"!!  --storage-path {nowhere}: there is no such bucket" in out
    assert run("list", bucket)[:2] == (
        0,
        f"no experiments in {bucket}; start with u2pl-ray search quickstart --space quickstart\n",
    )


def test_wrong_credentials(run: Run, bucket: str, search: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def ask(times: str) -> None:
        """Let the server ask for credentials, which nobody has, after so many requests."""
        plain = {"Content-Type": "text/plain"}
        url = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(url, times.encode(), plain, method="POST")).close()

    ask("0")
    try:
        for command in (
            ["list", bucket],
            ["status", "a", "--storage-path", bucket],
            [*search, "--storage-path", bucket],
        ):
            line = refusal(run, *command)
            assert "the store refuses these credentials (AWS Error " in line
            assert "AWS_ACCESS_KEY_ID" in line
            assert "nothing" not in line  # the secret
    finally:
        ask("inf")


@pytest.mark.slow  # pyarrow asks three times
def test_no_server(run: Run, bucket: str, search: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for command in (["list", bucket], ["status", "a", "--storage-path", bucket], [*search, "--storage-path", bucket]):
        assert "the store does not answer (AWS Error NETWORK_CONNECTION); look at" in refusal(run, *command)
