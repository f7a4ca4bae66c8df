"""The driver of a search in a process of its own, which a test signals."""

import signal
import subprocess
from collections.abc import Mapping, Sequence


def run_driver(
    command: Sequence[str], environment: Mapping[str, str], moment: str = "", kind: signal.Signals | None = None
) -> list[str]:
    """Run it to its end, which must be the one that its signal brings; return the lines it printed.

    Args:
        command: the program.
        environment: of the process.
        moment: what a line begins with, after each of which the signal is sent.
        kind: the signal, None for none.
    """
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    lines = []
    for line in driver.stdout:
        lines.append(line.strip())
        if kind is not None and line.startswith(moment):
            driver.send_signal(kind)
    assert driver.wait(60) == (-kind if kind == signal.SIGKILL else 0), lines
    return lines
