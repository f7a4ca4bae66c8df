"""Every command in docs/cluster*.md and launch/*/README.md is run by a test, or is listed here as untried, and why."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("docs/cluster*.md"), *ROOT.glob("launch/*/README.md")])
_PROGRAMS = r"(?:u2pl-ray|ray|kubectl|sky|podman|make|sbatch|scontrol|pip|ssh|export|cd|\(umask)\s"

_CLOUD, _KUBERNETES, _SKY = "no cloud was at hand", "no Kubernetes was at hand", "SkyPilot needs a cloud"
_LOCAL, _JOINED = "tests/cli/test_end_to_end.py", "tests/cluster/test_joined.py"
_JOB, _SLURM = "tests/cluster/test_job.py", "tests/cluster/test_slurm.py"

TRIED = {
    r"u2pl-ray doctor my.yaml --cluster": _JOINED,
    r"u2pl-ray doctor my.yaml": "tests/cli/test_machine.py",
    r"u2pl-ray search my.yaml --space paper --trials 50 --dry-run": _LOCAL,
    r"u2pl-ray search my.yaml --space paper --trials 50 --name mine": _LOCAL,
    r"u2pl-ray search .* --name (N|mine) --resume-if-exists": _JOINED,
    r"u2pl-ray resume mine": _LOCAL,
    r"u2pl-ray status u2pl-search --storage-path s3://my-bucket/searches": "tests/cluster/test_skypilot.py",
    r"u2pl-ray status( .*)?": "tests/cli/test_s3.py",
    r"\(umask 077; python .*": _JOINED,
    r"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/shared/ray.token": _JOINED,
    r"export RAY_ADDRESS=192.168.1.10:6379 U2PL_RAY_STORAGE=/shared/searches": _JOINED,
    r"export( RAY_health_check_\w+=\d+)+": _JOINED,
    r"ray start --head .*--include-dashboard=false .*": _JOINED,
    r"ray start --address=.*": _JOINED,
    r"ray start --head .*--dashboard-host=127.0.0.1 .*": _JOB,
    r"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/ray.token RAY_ADDRESS=http://127.0.0.1:8265": _JOB,
    r"cd my-search": _JOB,
    r"ray job (submit|stop|logs|status)( .*)?": _JOB,
    r"sbatch launch/slurm/search.sbatch .*": _SLURM,
    r"scontrol requeue": _SLURM,
    r"make quickstart": ".ci/run",
    r"make test-cluster": "Makefile",
    r"pip install (-e )?\"\.\[cluster\]\"": "tests/launch/test_containerfile.py",
    r"ray (up|down|exec)( .*)?": "tests/cluster/test_ray_up.py",
    r"u2pl-ray list --storage-path /shared/searches": "tests/cli/test_s3.py",
    r"export RAY_JOB_STOP_WAIT_TIME_S=60": _JOB,
    r"export RAY_AUTH_TOKEN=\$\(openssl rand -hex 32\)": "tests/cluster/test_skypilot.py",
}
"""What a test runs (with names and numbers of its own), by pattern, and where."""

UNTRIED = {
    r"ray (attach|dashboard|rsync-up)( .*)?": _CLOUD,
    r"ray get-auth-token --generate.*": _CLOUD,
    r"ray stop": "it would end whatever other Ray runs on the machine that tests",
    r"ray status": "shows what `u2pl-ray doctor --cluster` says too",
    r"ray start( --help)?": "the name of a command, not one to run",
    r"ssh -N -L .*": "the head of the test is on the same machine",
    r"podman .*": "no container runtime was at hand; its steps run in tests/launch/test_containerfile.py",
    r"kubectl .*": _KUBERNETES,
    r"sky .*": _SKY,
    r"pip install \"skypilot\[aws\]\"": _SKY,
}
"""What no test runs, and why."""


def commands(document: Path) -> Iterator[str]:
    """Yield the commands of a document: in blocks, and in the text where it names one with its arguments."""
    text = document.read_text("utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced for line in block.splitlines()]
    lines += re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    lines += re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in dict.fromkeys(" ".join(line.split()) for line in lines):
        if re.match(_PROGRAMS, line):
            yield re.sub(r"\s+# .*| && .*", "", line)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_is_tried_or_said_to_be_untried(document: Path) -> None:
    found = list(commands(document))
    unknown = [line for line in found if not any(re.fullmatch(known, line) for known in (*TRIED, *UNTRIED))]
    assert unknown == []
    untried = [line for line in found if not any(re.fullmatch(known, line) for known in TRIED)]
    if any(re.match("ray up|kubectl|sky|podman", line) for line in untried) and document.parent.name == "docs":
        assert "**Untried" in document.read_text("utf-8")


def test_the_tables_name_what_is_there() -> None:
    everything = [line for document in DOCUMENTS for line in commands(document)]
    for pattern in (*TRIED, *UNTRIED):
        assert any(re.fullmatch(pattern, line) for line in everything), f"no document has {pattern}"
    for place in TRIED.values():
        assert (ROOT / place).exists(), place
    assert len(everything) > 50


def test_a_new_command_would_be_found(tmp_path: Path) -> None:
    document = tmp_path / "new.md"
    document.write_text("Say `ray frobnicate --all`, or\n\n    kubectl dance\n\n```bash\nu2pl-ray sing\n```\n")
    assert list(commands(document)) == ["u2pl-ray sing", "kubectl dance", "ray frobnicate --all"]
