import os
import subprocess
import sys

from u2pl_ray.search.execution.silence import _LATER, Silence


def test_a_trial_that_is_not_heard_of_is_named_once() -> None:
    now = 0.0
    silence = Silence(100.0, lambda: now)

    def silent(*live: str, **life: float) -> list[tuple[str, float]]:
        return list(silence.of(live, life))

    assert silent("a", "b", "c") == []
    now = 50.0
    silence.heard("b")
    now = 101.0 + _LATER
    assert silent("a", "b", "c", c=60.0) == [("a", now)]
    assert silent("a", "b", "c") == []  # it is being ended
    now += 60.0
    assert silent("a", "b", "c", c=now) == [("b", now - 50.0)]
    now += 10_000.0
    assert silent("d") == []  # a new one


def test_telling_starts_no_ray() -> None:
    """Ray starts itself where a call needs it; from a thread, as here, it would end with that thread."""
    code = (
        "from u2pl_ray.search.execution.progress import say, tell_wait, why_ended\n"
        "say('x'); tell_wait('0000', 'worker 0', 'data', 12.0); assert why_ended('0000') == ''\n"
        "import ray; assert not ray.is_initialized()\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
