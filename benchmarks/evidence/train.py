"""Train the rows of a comparison, several at once, each with one thread; append a line for each to a file.

    python -m benchmarks.evidence.train benchmarks/evidence/lab.yaml -o benchmarks/results/lab.jsonl --jobs 2

What the file holds already is not trained again. Needs neither Ray nor Optuna nor wandb.
"""

import argparse
import json
import multiprocessing
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from benchmarks.evidence.rows import Run, read_results, read_rows


def train(run: Run, device: str, reference: Path | None = None) -> dict[str, Any]:
    """Train once, and score student and teacher of the last epoch on the test images.

    Args:
        run: the row and its seed.
        device: cpu or cuda.
        reference: checkout of the published code, for rows that have its losses.

    Returns:
        Row, seed, per epoch `val/miou` of student and teacher, reliable share and how much of it is right; at the end
        this by class, test mIoU and per-class IoU of both; seconds, device, versions.
    """
    import torch

    from u2pl_ray.config import metrics as names
    from u2pl_ray.config.overrides import load
    from u2pl_ray.data.loaders import EvaluationBatches
    from u2pl_ray.data.registry import resolve
    from u2pl_ray.train.evaluate import confusion, scores
    from u2pl_ray.train.loop import Worker
    from u2pl_ray.train.session import LocalSession

    torch.set_num_threads(1)
    where = torch.device(device)
    config = resolve(load(run.base, [*run.settings, f"seed={run.seed}", "workers=1", "tracking.images=0"]))
    curve: list[dict[str, Any]] = []
    started = time.monotonic()
    session = LocalSession(on_report=curve.append)
    session.progress = lambda line: None  # type: ignore[method-assign]
    if run.reference:
        from benchmarks.evidence.published import PublishedWorker
        from benchmarks.reference_losses import load_reference

        assert reference is not None
        worker: Worker = PublishedWorker(config, session, where, load_reference(reference, where), run.reference)
    elif run.informed:
        from benchmarks.evidence.informed import InformedWorker

        worker = InformedWorker(config, session, where, run.informed, run.classes)
    else:
        worker = Worker(config, session, where)
    worker.run()
    trained = time.monotonic()
    networks = [worker.student, worker.teacher.module]
    matrices = confusion(networks, EvaluationBatches(config, "test", 0, 1), len(worker.classes), where)
    student, teacher = (scores(matrix, worker.classes) for matrix in matrices)

    def column(name: str) -> list[float | None]:
        return [None if epoch.get(name) is None else round(float(epoch[name]), 5) for epoch in curve]

    return {
        "key": run.key,
        "row": run.row,
        "seed": run.seed,
        "settings": [text for text in run.settings if not text.startswith("data.root=")],
        "test/student": round(student[names.VAL_MIOU], 5),
        "test/teacher": round(teacher[names.VAL_MIOU], 5),
        "test/iou/student": {name: round(value, 4) for name, value in student.items() if name != names.VAL_MIOU},
        "test/iou/teacher": {name: round(value, 4) for name, value in teacher.items() if name != names.VAL_MIOU},
        "val/student": column(names.VAL_MIOU),
        "val/teacher": column(names.VAL_TEACHER_MIOU),
        "reliable/share": column("diag/reliable_fraction"),
        "reliable/right": column("diag/pseudo_label/accuracy_reliable"),
        "reliable/right by class": {
            name: round(float(curve[-1][metric]), 4)
            for name in worker.classes
            if (metric := names.per_class("pseudo_label/accuracy_reliable", name)) in curve[-1]
        },
        "loss/supervised": column(names.loss("supervised")),
        "loss/unsupervised": column(names.loss("unsupervised")),
        "loss/contrastive": column(names.loss("contrastive")),
        "seconds": round(trained - started, 1),
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however: it would train on for nobody."""

    def watch() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="+", help="YAML files, see `rows`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON lines; appended to")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", type=Path, help="checkout of the published U2PL, for rows with its losses")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after that; 0: when all are done")
    parser.add_argument("--only", nargs="*", default=[], help="these rows")
    parser.add_argument("--seeds", nargs="*", type=int, default=[], help="instead of the file's")
    parser.add_argument("--set", nargs="*", default=[], metavar="A.B=C", help="further settings of all rows")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    done = {result["key"] for result in read_results(options.output)}
    runs = [run for file in options.rows for run in read_rows(file, options.set, options.seeds)]
    runs.sort(key=lambda run: run.seed)
    left = [run for run in runs if run.key not in done and (not options.only or run.row in options.only)]
    if options.reference is None and (missing := [run.row for run in left if run.reference]):
        raise SystemExit(f"row {missing[0]} has the published code's losses: name its checkout by --reference")
    print(f"{len(left)} of {len(runs)} trainings to do, {options.jobs} at once on {options.device}", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # of the processes to come
    pool = ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    waiting, running = list(left), dict[Future[Any], Run]()
    count = 0
    while (waiting or running) and time.monotonic() < until:
        while waiting and len(running) < options.jobs:
            run = waiting.pop(0)
            running[pool.submit(train, run, options.device, options.reference)] = run
        ended, _ = wait(running, timeout=max(0.0, min(until - time.monotonic(), 3600.0)), return_when=FIRST_COMPLETED)
        for future in ended:
            run, count = running.pop(future), count + 1
            if (error := future.exception()) is not None:
                print(f"{run.row} seed {run.seed}: {type(error).__name__}: {error}", flush=True)
                continue
            result = future.result()
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            scores = f"student {result['test/student']:.4f} teacher {result['test/teacher']:.4f}"
            print(f"{count}/{len(left)} {run.row} seed {run.seed}: {scores}, {result['seconds']} s", flush=True)
    for process in (pool._processes or {}).values():  # what the time does not suffice for
        if running:
            process.kill()
    pool.shutdown(wait=not running, cancel_futures=True)


if __name__ == "__main__":
    main()
