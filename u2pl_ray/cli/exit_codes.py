"""Exit codes: a contract with the scripts, job queues and schedulers that start the program.

`AGAIN` (75, EX_TEMPFAIL of sysexits.h): stopped on notice (Ctrl-C, SIGTERM, SIGUSR1, a preempted machine): start it
again.
"""

from u2pl_ray.search.execution.interrupts import AGAIN as AGAIN

DONE = 0
"""What was asked for is there."""
FAILED = 1
"""Ended without what was asked for, as no training succeeded or a check found problems; or a fault of ours."""
INPUT = 2
"""The command, a configuration, data, weights or the machine's set-up cannot be used as given; nothing was started."""
