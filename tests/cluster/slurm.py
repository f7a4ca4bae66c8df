"""A Slurm of our own: a controller and two nodes on hosts in network namespaces."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.cluster.hosts import Network, wait_for

NODES = ("n2", "n3")
_CONF = """
ClusterName=test
SlurmctldHost=n1(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
NodeName=n2 NodeAddr=10.77.0.2 CPUs=4 RealMemory=8000
NodeName=n3 NodeAddr=10.77.0.3 CPUs=4 RealMemory=8000
PartitionName=spot Nodes=n[2-3] PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 Default=YES MaxTime=INFINITE State=UP
PartitionName=high Nodes=n[2-3] PriorityTier=10 PreemptMode=OFF State=UP
"""


def missing() -> str:
    """Return what this machine lacks; an empty string if nothing."""
    absent = [tool for tool in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(tool) is None]
    return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)" if absent else ""


class Slurm:
    """A Slurm whose nodes are idle; partitions `spot` (the default, is preempted) and `high`.

    Args:
        network: with names n1, n2, n3; the hosts are added here.
        folder: for its files.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        self.folder, self._settings = folder, {"SLURM_CONF": str(folder / "slurm.conf")}
        for part in ("state", "spool.n2", "spool.n3"):
            (folder / part).mkdir(parents=True)
        (folder / "slurm.conf").write_text(_CONF.format(folder=folder))
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        self.controller = network.add("n1")
        self.nodes = {name: network.add(name) for name in NODES}

    def __enter__(self) -> "Slurm":
        head, files = self.controller, self.folder
        options = {"key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid", "seed-file": "seed"}
        paths = [f"--{option}={files / name}" for option, name in options.items()]
        head.start(["munged", "--foreground", "--force", f"--socket={files}/munge.socket", *paths], "munged.out")
        head.start(["slurmctld", "-D", "-c"], "slurmctld.out", **self._settings)
        for node in self.nodes.values():
            node.start(["slurmd", "-D"], "slurmd.out", **self._settings)
        wait_for("Slurm's nodes idle", lambda: self.ask("sinfo", "-h", "-p", "high", "-o", "%D %t") == "2 idle", 60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in (*self.nodes.values(), self.controller):
            with suppress(ProcessLookupError):
                host.kill()

    def ask(self, *command: str | Path, **environment: str) -> str:
        """Run one of Slurm's commands on the controller; return what it prints (nothing if it fails)."""
        done = self.controller.run(command, 30, check=False, **self._settings, **environment)
        return done.stdout.strip() if done.returncode == 0 else ""

    def submit(self, *arguments: str | Path, **environment: str) -> str:
        """Submit a job; return its id."""
        said = self.controller.run(["sbatch", "--parsable", *arguments], 30, True, **self._settings, **environment)
        return said.stdout.strip()

    def state(self, job: str) -> str:
        """Return a job's state, such as RUNNING, and how often it was restarted."""
        shown = dict(part.split("=", 1) for part in self.ask("scontrol", "show", "job", job).split() if "=" in part)
        return f"{shown.get('JobState', '')} {shown.get('Restarts', '')} {shown.get('ExitCode', '')}"
