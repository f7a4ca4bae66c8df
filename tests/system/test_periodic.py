"""Actions that repeat in the background."""

import threading

from u2pl_ray.system.periodic import every


def test_it_goes_on_after_an_error_and_ends_with_its_context() -> None:
    calls: list[str] = []
    third = threading.Event()

    def action() -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 3:
            third.set()
        raise ValueError("once more")

    with every(0.01, action, "mine"):
        assert third.wait(10)
    ended = len(calls)
    assert set(calls) == {"mine"}
    assert not third.wait(0.05) or len(calls) == ended
    assert not any(thread.name == "mine" for thread in threading.enumerate())


def test_nothing_is_called_before_the_first_pause() -> None:
    calls: list[int] = []
    with every(60.0, lambda: calls.append(1), "slow"):
        pass
    assert not calls
