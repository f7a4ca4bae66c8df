"""Several hosts on one machine: network namespaces with addresses of their own on a bridge.

A host has its own processes, /tmp/ray, /dev/shm, HOME and name; it shares all other files with the rest. This needs
root, or as much of it as `unshare --user --map-root-user` gives where the kernel allows that.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
_NET = "10.77.0"
_ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--uts", "--fork",
          "--kill-child=SIGKILL", "--mount-proc")  # fmt: skip
_INIT = """
set -e
hostname "$1"; ip link set lo up
mkdir -p /tmp/ray; mount --bind "$2/ray" /tmp/ray; mount -t tmpfs -o size=2g tmpfs /dev/shm
if [ -f "$2/../hosts" ]; then mount --bind "$2/../hosts" /etc/hosts; fi
echo up
while :; do sleep 1000; done
"""
"""First process of a host. bash, as it reaps whatever is left behind."""

Command = Sequence[str | Path]


def missing() -> str:
    """Return what this machine lacks for hosts of its own; an empty string if nothing."""
    for tool in ("unshare", "nsenter", "setpriv", "ip"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (apt-get install util-linux iproute2)"
    if subprocess.run([*_ALONE, "ip", "link", "add", "type", "bridge"], capture_output=True).returncode:
        return "network namespaces are not permitted (be root, or run this below `unshare --user --map-root-user`)"
    return ""


class Host:
    """One host.

    Args:
        name: its host name.
        number: its address is 10.77.0.<number>.
        folder: of its own files: `home`, `ray` (its /tmp/ray) and logs.
    """

    def __init__(self, name: str, number: int, folder: Path) -> None:
        self.name, self.number, self.address, self.folder = name, number, f"{_NET}.{number}", folder
        for part in ("ray", "home"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._holder = subprocess.Popen(
            [*_ALONE, "bash", "-c", _INIT, "init", name, folder], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n"
        self.process = child(self._holder.pid)
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
        }

    def enter(self, command: Command, environment: Mapping[str, str]) -> list[str]:
        """Return the command line that runs a command on this host."""
        inside = ["nsenter", "--target", str(self.process), "--net", "--mount", "--pid", "--uts"]
        settings = [f"{name}={value}" for name, value in {**self.environment, **environment}.items()]
        return [*inside, "env", "--ignore-environment", f"--chdir={self.folder}", *settings, *map(str, command)]

    def run(
        self, command: Command, timeout: float = 60.0, check: bool = True, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on this host to its end; with `check` it must succeed."""
        done = subprocess.run(self.enter(command, environment), capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"{command} on {self.name}: {done.stdout}\n{done.stderr}"
        return done

    def start(self, command: Command, log: str, **environment: str) -> "Job":
        """Start a command on this host; its output is appended to a file in the host's folder."""
        return Job(self.enter(command, environment), self.folder / log)

    def kill(self) -> None:
        """Kill all its processes at once, as when the power goes."""
        self._holder.kill()
        self._holder.wait()


class Job:
    """A command that runs on a host.

    Attributes:
        log: file with its output.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def send(self, kind: signal.Signals) -> None:
        """Send a signal to the command itself (not to `nsenter`, which waits for it)."""
        os.kill(child(self._process.pid), kind)

    def said(self) -> str:
        """Return its output so far."""
        return self.log.read_text("utf-8", "replace")

    def ended(self) -> bool:
        """Tell whether it has ended."""
        return self._process.poll() is not None

    def wait(self, timeout: float) -> int:
        """Wait for its end; return its exit code."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end after {timeout:g} s: {self.said()}") from None


class Network:
    """Hosts on one bridge; all are gone when the context ends.

    Args:
        folder: for the hosts' files.
        names: whether the hosts know each other's names, which are then given.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self.folder, self.hosts = folder, dict[str, Host]()
        folder.mkdir(parents=True, exist_ok=True)
        if names:
            lines = [f"{_NET}.{number} {name}" for number, name in enumerate(names, 1)]
            (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def __enter__(self) -> "Network":
        script = "ip link add br0 type bridge && ip link set br0 up && echo up && exec sleep infinity"
        self._bridge = subprocess.Popen([*_ALONE, "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._bridge.stdout is not None
        assert self._bridge.stdout.readline() == "up\n"
        self._inside = ["nsenter", "--target", str(child(self._bridge.pid)), "--net", "ip", "link"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            host.kill()
        self._bridge.kill()
        self._bridge.wait()

    def add(self, name: str) -> Host:
        """Add a host; its number is that of its place in the order of arrival."""
        number = len(self.hosts) + 1
        host = Host(name, number, self.folder / name)
        self.hosts[name] = host
        cable = f"v{number}"
        subprocess.run([*self._inside, "add", cable, "type", "veth", "peer", "name", "eth0"], check=True)
        subprocess.run([*self._inside, "set", "eth0", "netns", str(host.process)], check=True)
        subprocess.run([*self._inside, "set", cable, "master", "br0", "up"], check=True)
        host.run(["ip", "addr", "add", f"{host.address}/24", "dev", "eth0"])
        host.run(["ip", "link", "set", "eth0", "up"])
        return host

    def cut(self, host: Host) -> None:
        """Pull the host's cable: nothing arrives any more, and nothing says so."""
        subprocess.run([*self._inside, "set", f"v{host.number}", "down"], check=True)

    def mend(self, host: Host) -> None:
        """Plug the cable in again."""
        subprocess.run([*self._inside, "set", f"v{host.number}", "up"], check=True)


def child(process: int) -> int:
    """Return the id of a process's only child, as soon as it has one."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with suppress(OSError):
            if found := Path(f"/proc/{process}/task/{process}/children").read_text().split():
                return int(found[0])
        time.sleep(0.01)
    raise AssertionError(f"process {process} has no child")


def wait_for(what: str, happened: Callable[[], object], seconds: float, job: Job | None = None) -> None:
    """Wait until something happens.

    Args:
        what: what is waited for, for messages.
        happened: tells whether it has.
        seconds: how long to wait.
        job: must not end before.
    """
    until = time.monotonic() + seconds
    while not happened():
        assert job is None or not job.ended(), f"{what}: the command ended before: {job.said()[-4000:]}"
        assert time.monotonic() < until, f"{what}: not after {seconds:g} s; {'' if job is None else job.said()[-4000:]}"
        time.sleep(0.1)
