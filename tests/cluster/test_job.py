"""`ray job submit` to a cluster that wants a token, by the commands of docs/cluster.md: run, stopped, gone on with."""

import re
from pathlib import Path

import pytest

from tests.cluster.documents import commands
from tests.cluster.hosts import ROOT, Host, Network, wait_for
from tests.cluster.test_joined import README, SMALL, assert_no_secrets
from tests.cluster.tiny import EPOCHS, epochs_on_record, records, write_files
from u2pl_ray.search.study.trial_record import State

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DOCUMENT = ROOT / "docs" / "cluster.md"


def test_a_job_is_stopped_and_goes_on(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    write_files(shared)
    experiment = shared / "searches" / "mine"
    with Network(tmp_path / "hosts") as network:
        head = network.add("n1")
        here = {"192.168.1.10": head.address, "/shared": str(shared)}
        head.run(["bash", "-euc", commands(README, "**Once**", {"/shared": str(shared)})])
        token = (shared / "ray.token").read_text().strip()
        setup = commands(README, "**In every shell**", here)
        start = commands(DOCUMENT, "The head is started", {"192.168.1.10": head.address}).rstrip()
        head.run(
            ["bash", "-euc", f"{setup}\n{start} --num-cpus=2"], 120, True, **SMALL, U2PL_RAY_CACHE=str(tmp_path / "c")
        )
        laptop = commands(DOCUMENT, "token's file", {"~/ray.token": str(shared / "ray.token")})
        search = {"paper": "space.yaml", "--trials 50": "--trials 1 --baseline none --scheduler none",
                  "/shared": str(shared), "cd my-search": f"cd {shared / 'job'}"}  # fmt: skip
        submit = commands(DOCUMENT, "Submit the search", search)
        (shared / "job").mkdir()
        for file in ("my.yaml", "space.yaml"):
            (shared / file).rename(shared / "job" / file)

        def ask(command: str, check: bool = True) -> str:
            done = head.run(["bash", "-uc", f"{laptop}\n{command}"], 90, check)
            return done.stdout + done.stderr

        refused(head, submit)
        assert not experiment.exists()
        assert "submitted successfully" in ask(submit)
        wait_for("two epochs", lambda: sum(epochs_on_record(experiment).values()) >= 2, 120)
        assert_no_secrets(tmp_path, token, [head])
        before = epochs_on_record(experiment)["0000"]
        said = ask(commands(DOCUMENT, "Stop it", {}))
        assert "stopped" in said.lower()
        wait_for("it stopped", lambda: "was stopped" in ask("ray job status mine", check=False), 90)
        assert "u2pl-ray resume" in ask("ray job logs mine")  # it heard the notice, and had the time to answer it
        assert before <= epochs_on_record(experiment)["0000"] < EPOCHS

        again = submit.replace("--submission-id mine", "--submission-id again")
        assert again != submit
        ask(again)
        wait_for("it ended", lambda: "succeeded" in ask("ray job status again", check=False), 150)
        assert "0000 continues after epoch" in ask("ray job logs again")
    (record,) = records(experiment)
    assert (record.state, sorted(record.values)) == (State.COMPLETED, list(range(1, EPOCHS + 1)))


def refused(host: Host, submit: str) -> None:
    """Submit without the token, and with another one: refused by Ray, whose last line says what is missing."""
    for more in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        done = host.run(["bash", "-uc", submit], 90, False, RAY_ADDRESS="http://127.0.0.1:8265", **more)
        assert done.returncode != 0
        errors = re.findall(r"^ray\.exceptions\.AuthenticationError: (.*)$", done.stdout + done.stderr, re.MULTILINE)
        assert len(errors) == 1
        assert errors[0].endswith(("Missing authentication token", "Invalid authentication token"))
