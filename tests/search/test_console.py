import io
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console

from u2pl_ray.config.schema import Config
from u2pl_ray.search.listeners.console import ConsoleListener, results_table
from u2pl_ray.search.listeners.formatting import number, short_names, why_failed
from u2pl_ray.search.study.allowance import Allowance
from u2pl_ray.search.study.companion import Companion, Kind
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
        "0003 epoch 2/9  val/miou 0.4125  leader 0001 with 0.553",
        "0003 stopped after 2 epochs  val/miou 0.4125",
        "0004 failed (nan): the loss is [nan]",
        "0005 continues after epoch 4  temperature=0.1235",
        "0003 lost its process [x]",
    ]


def test_the_leader_is_never_below_what_it_leads(base: Config) -> None:
    """A trial counts with its last epoch: its own value, falling, is not called the best."""
    out, text = console()
    listener = ConsoleListener(out, "val/miou")
    for epoch, value in ((1, 0.04245), (2, 0.01535)):
        running = trial(0, State.RUNNING, value, epoch)
        listener.epoch_done(running, {"training_iteration": epoch, "val/miou": value}, running)
    assert text.getvalue().splitlines() == [
        "0000 epoch 1/?  val/miou 0.04245  leader",
        "0000 epoch 2/?  val/miou 0.01535  leader",
    ]


def test_a_single_training_leads_nobody(base: Config) -> None:
    out, text = console()
    running = trial(0, State.RUNNING, 0.4, 1)
    listener = ConsoleListener(out, "val/miou", total=1)
    listener.epoch_done(running, {"training_iteration": 1, "val/miou": 0.4}, running)
    assert text.getvalue() == "0000 epoch 1/?  val/miou 0.4\n"


def test_which_of_how_many_and_how_long(base: Config) -> None:
    out, text = console()
    began = datetime.now() - timedelta(minutes=20)
    done = [replace(trial(index, State.COMPLETED, 0.5, 9), started=began) for index in range(2)]
    invalid = trial(2, State.INFEASIBLE, reason="invalid")
    running = replace(trial(3, State.RUNNING, 0.1, 1), started=began)
    records = [*done, invalid, running]
    listener = ConsoleListener(out, "val/miou", 4, 9, lambda: records)
    listener.trial_started(replace(running, values={}), base)
    assert text.getvalue() == "0003 starts (3 of 4)  temperature=0.1235\n"
    # 18 epochs and one of the third in 20 minutes; 8 and 9 are left.
    listener.trial_finished(done[1])
    assert text.getvalue().splitlines()[1].endswith("(2 of 4 done, about 18 min left)")


def test_a_budget_of_trainings_counts_trainings() -> None:
    out, text = console()
    began = datetime.now() - timedelta(minutes=20)
    again = Companion(Kind.REPLICATE, {"seed": 1}, 0)
    records = [replace(trial(0, State.COMPLETED, 0.5, 9), started=began), trial(1, State.STOPPED, 0.4, 3)]
    records.append(replace(trial(2, State.RUNNING, 0.5, 6), started=began, companion=again))
    ConsoleListener(out, "val/miou", None, 9, lambda: records, lambda: Allowance(9, 4.0, 0.3)).trial_finished(
        records[1]
    )
    assert text.getvalue().splitlines()[0].endswith("(2.0 of 4 trainings done, about 20 min left)")


def test_replicates_after_a_number_of_trials_are_foreseen() -> None:
    """Of four trials 3.5 trainings' worth were trained: 3/7 of that are 1.5, so one replicate, not two."""
    out, text = console()
    began = datetime.now() - timedelta(minutes=20)
    records = [replace(trial(index, State.COMPLETED, 0.5, 8), started=began) for index in range(3)]
    listener = ConsoleListener(out, "val/miou", 4, 8, lambda: records, lambda: Allowance(8, None, 0.3))
    listener.trial_finished(records[0])
    # 3 trainings in 20 minutes; one more trial, and the one replicate that 3/7 of four make.
    assert text.getvalue().splitlines()[-1].endswith("(3 of 4 done, about 13 min left)")
    records.append(replace(trial(3, State.STOPPED, 0.4, 4), started=began))
    listener.trial_finished(records[3])
    assert text.getvalue().splitlines()[-1].endswith("(3.5 of 4.5 trainings done, about 6 min left)")
    again = Companion(Kind.REPLICATE, {"seed": 1}, 0)
    records.append(replace(trial(4, State.RUNNING, 0.5, 4), started=began, companion=again))
    listener.trial_finished(records[3])
    assert text.getvalue().splitlines()[-1].endswith("(4.0 of 4.5 trainings done, about 3 min left)")


def test_an_interrupted_trial_is_called_so() -> None:
    for running, word in ((True, "RUNNING"), (False, "INTERRUPTED")):
        out, text = console()
        out.print(results_table([trial(0, State.RUNNING, 0.5)], None, "val/miou", running=running))
        assert text.getvalue().splitlines()[3].split()[1] == word


def test_why_trials_failed_the_commonest_first() -> None:
    trials = [trial(0, State.FAILED, reason="nan", detail="the loss is nan"), trial(1, State.COMPLETED, 0.5)]
    trials += [trial(index, State.INFEASIBLE, reason="memory", detail="too large") for index in range(2, 7)]
    assert why_failed(trials) == [
        "0002, 0003, 0004 and 2 more (out of memory): too large",
        "0000 (nan): the loss is nan",
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
