"""launch/slurm/search.sbatch under a real Slurm: cancelled, at its time limit, preempted, a node down, submitted twice.

One trial at a time: whatever happens to the job, the search comes to what it came to undisturbed, bit for bit.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import ROOT, Network, wait_for
from tests.cluster.slurm import Slurm, missing
from tests.cluster.tiny import EPOCHS, epochs_on_record, outcome, write_files

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

TRIALS = 3


class Site:
    """A Slurm with the job file, its lines for the site changed as a user would.

    Args:
        slurm: the Slurm.
        shared: folder that all nodes see.
    """

    def __init__(self, slurm: Slurm, shared: Path) -> None:
        self.slurm, self.shared = slurm, shared
        text = (ROOT / "launch" / "slurm" / "search.sbatch").read_text()
        here = {"--cpus-per-task=16": "--cpus-per-task=1",
                "#SBATCH --gpus-per-node=4\n": "", "--time=24:00:00": "--time=20",
                "--object-store-memory=1000000000": "--object-store-memory=80000000"}  # fmt: skip
        for line, changed in here.items():
            assert line in text
            text = text.replace(line, changed)
        (shared / "search.sbatch").write_text(text)
        write_files(shared)

    def submit(self, storage: str, *options: str, **more: str) -> str:
        """Submit the search, with variables; return the job's id."""
        search = ["my.yaml", "--space", "space.yaml", "--trials", str(TRIALS), "--baseline", "none"]
        search += ["--scheduler", "none", "--name", "mine", "--storage-path", storage]
        environment = {"VENV": sys.prefix, "RAY_worker_niceness": "0", "U2PL_RAY_CACHE": str(self.shared / "cache")}
        environment |= more
        options = (f"--chdir={self.shared}", *options)
        return self.slurm.submit(*options, self.shared / "search.sbatch", *search, **environment)

    def log(self, job: str) -> str:
        """Return a job's output."""
        file = self.shared / f"u2pl-{job}.log"
        return file.read_text() if file.exists() else ""

    def done(self, storage: str) -> int:
        """Return how many epochs of all trials are on record."""
        return sum(epochs_on_record(self.shared / storage / "mine").values())

    def wait(self, job: str, state: str, seconds: float = 400) -> None:
        """Wait until a job's state begins with `state`."""
        try:
            wait_for(f"job {job} {state}", lambda: self.slurm.state(job).startswith(state), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error} is {self.slurm.state(job)}: {self.log(job)[-3000:]}") from None

    def wait_epochs(self, job: str, storage: str, more: int) -> None:
        """Wait until the search has so many more epochs on record."""
        want = self.done(storage) + more
        try:
            wait_for(f"{more} epochs", lambda: self.done(storage) >= want or self.failed(job), 300)
            assert not self.failed(job), "it ended before"
        except AssertionError as error:
            raise AssertionError(f"{error} job is {self.slurm.state(job)}: {self.log(job)[-3000:]}") from None

    def failed(self, job: str) -> bool:
        """Tell whether a job has failed."""
        return self.slurm.state(job).startswith("FAILED")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o711)
    with Network(folder / "hosts", ("n1", "n2", "n3")) as network, Slurm(network, folder / "slurm") as slurm:
        shared = folder / "shared"
        shared.mkdir()
        yield Site(slurm, shared)


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> object:
    """Run the search to its end; a second job for the same search meanwhile is refused, and harms nothing."""
    first = site.submit("undisturbed")
    site.wait_epochs(first, "undisturbed", 1)
    second = site.submit("undisturbed")
    site.wait(second, "FAILED 0 2:0")
    assert re.search(r"error: mine: is being run .*; stop that one first, or wait", site.log(second))
    site.wait(first, "COMPLETED 0 0:0")
    return outcome(site.shared / "undisturbed" / "mine")


def test_whatever_happens_to_the_job_the_search_is_the_same(site: Site, undisturbed: object) -> None:
    cancelled = site.submit("disturbed")
    site.wait_epochs(cancelled, "disturbed", 2)
    site.slurm.ask("scancel", cancelled)
    site.wait(cancelled, "CANCELLED 0")
    job = site.submit("disturbed", "--time=2", "--signal=B:USR1@75")  # the notice comes after 45 s
    site.wait(job, "RUNNING 1")
    assert "Slurm ends this job soon: the search is told to stop" in site.log(job)
    site.slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=20")
    site.wait_epochs(job, "disturbed", 2)
    urgent = site.slurm.submit("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
    site.wait(urgent, "COMPLETED")
    site.wait(job, "RUNNING 2")
    site.wait_epochs(job, "disturbed", 2)
    site.slurm.ask("scontrol", "update", "NodeName=n3", "State=DOWN", "Reason=test")
    site.wait(job, "PENDING 3")
    site.slurm.ask("scontrol", "update", "NodeName=n3", "State=RESUME")
    site.wait(job, "COMPLETED 3 0:0")
    assert outcome(site.shared / "disturbed" / "mine") == undisturbed
    assert site.done("disturbed") == TRIALS * EPOCHS
    # Only of a job that Slurm killed before it could remove it may a token be left, which opens nothing any more.
    left = {file.name for file in site.slurm.controller.folder.rglob("*.token")}
    assert left <= {f".u2pl-ray-{cancelled}.token"}


def test_a_finished_search_submitted_again_ends_at_once(site: Site, undisturbed: object) -> None:
    job = site.submit("undisturbed")
    site.wait(job, "COMPLETED 0 0:0")
    assert "mine: is finished" in site.log(job)


def test_where_requeue_is_refused_the_job_submits_itself_again(site: Site) -> None:
    job = site.submit("again", "--no-requeue")
    site.wait_epochs(job, "again", 1)
    site.slurm.ask("scancel", "--batch", "--signal=USR1", job)
    site.wait(job, "FAILED 0 75:0")
    (other,) = site.slurm.ask("squeue", "--noheader", "--format=%i").split()
    assert other != job
    site.wait_epochs(other, "again", 1)
    assert "0000 continues after epoch" in site.log(other)
    site.slurm.ask("scancel", other)
    site.wait(other, "CANCELLED")


def test_nodes_that_know_themselves_as_loopback_and_steps_that_inherit_nothing(site: Site) -> None:
    """As on Debian's nodes, and where a site sets SLURM_EXPORT_ENV=NONE."""
    for name, node in site.slurm.nodes.items():
        hosts = site.shared / f"hosts.{name}"
        hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n10.77.0.1 n1\n")
        node.run(["mount", "--bind", hosts, "/etc/hosts"])
    try:
        job = site.submit("debian", SLURM_EXPORT_ENV="NONE")
        site.wait_epochs(job, "debian", 1)  # of a training on both nodes
        site.slurm.ask("scancel", job)
        site.wait(job, "CANCELLED 0")
    finally:
        for node in site.slurm.nodes.values():
            node.run(["umount", "/etc/hosts"])
