"""200 concurrent trials through one sink."""

import resource
import statistics
import time
from pathlib import Path

from tests.tracking.search import CONFIG, files, sink_of, steps

TRIALS, EPOCHS = 200, 5


def test_two_hundred_trials_at_once(experiment: Path) -> None:
    metrics = {f"val/iou/class_{number}": number / 100 for number in range(60)}
    metrics |= {"val/miou": 0.5, "diag/entropy/hist": list(range(32)), "diag/entropy/max": 3.0}
    sink = sink_of(experiment)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took: list[float] = []

    def timed(call: object, *arguments: object) -> None:
        begun = time.perf_counter()
        call(*arguments)  # type: ignore[operator]
        took.append(time.perf_counter() - begun)

    ids = [f"{number:04d}" for number in range(TRIALS)]
    for trial in ids:
        timed(sink.start, trial, trial, CONFIG)
    for step in range(1, EPOCHS + 1):
        for trial in ids:
            timed(sink.log, trial, metrics, step)
    for trial in ids:
        timed(sink.finish, trial, "COMPLETED")
    report = sink.close(timeout=60)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    assert (report.rows, report.dropped) == (TRIALS * EPOCHS, 0), report
    runs = files(experiment)
    assert len(runs) == TRIALS
    assert all(steps(run) == list(range(1, EPOCHS + 1)) for [run] in runs.values())
    assert statistics.mean(took) < 0.005
    assert statistics.quantiles(took, n=100)[94] < 0.005
    assert grown < 300, f"{grown:.0f} MB"
    print(f"mean {1e3 * statistics.mean(took):.3f} ms, max {1e3 * max(took):.1f} ms, {grown:.0f} MB more")
