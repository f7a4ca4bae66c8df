import io
from typing import Any

from rich.console import Console

from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.console import ConsoleListener, results_table
from u2pl_ray.search.listeners.formatting import number, short_names
from u2pl_ray.search.study.trial_record import State, TrialRecord

TEMPERATURE = "method.contrastive.temperature"


def trial(index: int, state: State, value: float | None = None, epochs: int = 1, **more: Any) -> TrialRecord:
    values = {} if value is None else dict.fromkeys(range(1, epochs + 1), value)
    return TrialRecord(
        f"{index:04d}", index, state, {TEMPERATURE: 0.123456}, values, value if state.finished else None, **more
    )


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=200), text


def test_one_line_per_event(base: Config) -> None:
    out, text = console()
    listener = ConsoleListener(out, "val/miou")
    running = trial(3, State.RUNNING, note="paper")
    listener.trial_started(running, base)
    listener.epoch_done(running, {"training_iteration": 2, "val/miou": 0.4125}, trial(1, State.COMPLETED, 0.553))
    listener.trial_finished(trial(3, State.STOPPED, 0.4125, 2))
    listener.trial_finished(trial(4, State.FAILED, reason="nan", detail="the loss is [nan]"))
    listener.trial_started(trial(5, State.RUNNING, 0.3, 4), base)
    listener.note("0003 lost its process [x]")
    listener.close()
    assert text.getvalue().splitlines() == [
        "0003 starts (paper)  temperature=0.1235",
        "0003 epoch 2/9  val/miou 0.4125  best 0.553 (0001)",
        "0003 stopped after 2 epochs  val/miou 0.4125",
        "0004 failed (nan): the loss is [nan]",
        "0005 continues after epoch 4  temperature=0.1235",
        "0003 lost its process [x]",
    ]


def test_the_table_ranks_completed_before_stopped_before_failed() -> None:
    best = trial(1, State.COMPLETED, 0.5)
    failed, stopped = trial(2, State.FAILED), [trial(0, State.STOPPED, 0.6), trial(4, State.STOPPED, 0.7)]
    trials = [failed, *stopped, best, trial(3, State.COMPLETED, 0.4)]
    for maximize, order in ((True, ["0001", "0003", "0004", "0000"]), (False, ["0001", "0003", "0000", "0004"])):
        out, text = console()
        out.print(results_table(trials, best, "val/miou", maximize=maximize))
        rows = [line.split()[0] for line in text.getvalue().splitlines() if line.strip().startswith("0")]
        assert rows == [*order, "0002"]
    out, text = console()
    out.print(results_table(trials, best, "val/miou", top=2))
    assert len([line for line in text.getvalue().splitlines() if line.strip().startswith("0")]) == 2


def test_short_names() -> None:
    paths = ["method.alpha.start", "method.alpha.end", "method.memory_bank.capacity", "a.capacity"]
    assert short_names(paths) == {
        "method.alpha.start": "start",
        "method.alpha.end": "end",
        "method.memory_bank.capacity": "memory_bank.capacity",
        "a.capacity": "a.capacity",
    }


def test_number() -> None:
    assert [number(value) for value in (None, 0.123456, 30000, "linear", 1e-5)] == [
        "-", "0.1235", "30000", "linear", "1e-05",
    ]  # fmt: skip
