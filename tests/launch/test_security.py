"""Launch files hold no secret, and open nothing to a public network."""

import re
from collections.abc import Iterator

import pytest

from tests.launch.manifests import LAUNCH

SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}"  # an access key of AWS
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@$]+:[^/\s@$]+@"  # a URL with a password
    r"|(?i:(?:KEY|TOKEN|SECRET|PASSWORD)\w*,? *value *: *['\"]?[A-Za-z0-9+/]{16,})"  # in a pod's environment
    r"|(?i:(?:token|secret|password|api_?key|access_key(?:_id)?)['\"]?\s*[:=]\s*['\"]?(?!\.\.\.|\$)[A-Za-z0-9+/]{16,})"
)
PUBLIC = re.compile(
    r"(?i)hostNetwork\s*:\s*true|hostPort|type\s*:\s*LoadBalancer|serviceType\s*:\s*(?:LoadBalancer|NodePort)|enableIngress"
    r"|RAY_AUTH_MODE\s*[=:]\s*disabled|mode\s*:\s*disabled|0\.0\.0\.0/0|--dashboard-host[= ]0\.0\.0\.0"
    r"|--ray-client-server-port(?!=\$\(\(HEAD_PORT)"  # but for Slurm's, which moves the port that Ray opens anyway
)


def found(pattern: re.Pattern[str]) -> Iterator[str]:
    for file in sorted(LAUNCH.rglob("*")):
        if file.is_file():
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if pattern.search(line):
                    yield f"{file.relative_to(LAUNCH)}:{number}: {line.strip()}"


def test_no_secret_is_written_down() -> None:
    assert list(found(SECRET)) == []


def test_nothing_listens_publicly() -> None:
    assert list(found(PUBLIC)) == []


@pytest.mark.parametrize(
    "line",
    [
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "- {name: WANDB_API_KEY, value: 0123456789abcdef0123456789abcdef01234567}",
        "postgresql://me:hunter2@host/db",
        "export RAY_AUTH_TOKEN=c0ffee00c0ffee00c0ffee00",
        "aws_secret_access_key: 'wJalrXUtnFEMIK7MDENG'",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_would_be_found(line: str) -> None:
    assert SECRET.search(line)


@pytest.mark.parametrize("line", ["hostNetwork: true", "serviceType: NodePort", "export RAY_AUTH_MODE=disabled"])
def test_a_public_port_would_be_found(line: str) -> None:
    assert PUBLIC.search(line)
