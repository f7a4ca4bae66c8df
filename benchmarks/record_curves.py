"""Learning curves of real U2PL trainings over a search space, for `search_efficiency.py` to replay.

    python benchmarks/record_curves.py --settings 96

Trains the paper's setting, then settings drawn evenly from `search_spaces/paper.yaml` (scrambled Sobol points, seed 0),
each in full on the generated set in this process, and appends one line per training to
`benchmarks/data/curves_generated.jsonl` as soon as it is done; a second call goes on where the first one stopped.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from u2pl_ray.config import metrics as names
from u2pl_ray.config import overrides
from u2pl_ray.data.registry import resolve
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.file import load_space
from u2pl_ray.search.space.paper_setting import paper_setting
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.study.study import TrialStudy
from u2pl_ray.train.loop import Worker
from u2pl_ray.train.session import LocalSession, Metrics

CONFIG = ["workers=1", "method.warmup_epochs=2", "train.epochs=20", "train.steps_per_epoch=10"]
_ROOT = Path(__file__).parents[1]


def settings(space: Space, count: int) -> list[dict[str, Any]]:
    """The first `count` settings: the paper's, then Sobol points, each exactly as a search with `qmc` proposes it."""
    study = TrialStudy.create("sqlite://", "settings", space, SamplerChoice("qmc", 0), SchedulerChoice("none").build(1))
    paper, _ = paper_setting(space, overrides.load("quickstart", CONFIG))
    return [paper, *(study.start_new().params for _ in range(count - 1))]


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=_ROOT / "benchmarks/data/curves_generated.jsonl")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    space = load_space(_ROOT / "search_spaces/paper.yaml")
    base = resolve(overrides.load("quickstart", CONFIG))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    done = len(arguments.output.read_text("utf-8").splitlines()) if arguments.output.exists() else 0
    for number, setting in enumerate(settings(space, arguments.settings)):
        if number < done:
            continue
        curve: list[Metrics] = []
        started = time.monotonic()
        Worker(space.configure(base, setting), LocalSession(on_report=curve.append), torch.device("cpu")).run()
        line: dict[str, Any] = {
            "number": number,
            "params": setting,
            "seconds": round(time.monotonic() - started, 1),
            "val/miou": [round(epoch[names.VAL_MIOU], 5) for epoch in curve],
            "val/teacher/miou": [round(epoch[names.VAL_TEACHER_MIOU], 5) for epoch in curve],
        }
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{number + 1}/{arguments.settings}: val/miou {line['val/miou'][-1]}, {line['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
