"""The worker: one process of a data-parallel U2PL training. Runs the same under Ray Train and without Ray."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import PolynomialLR

from u2pl_ray.config import metrics as names
from u2pl_ray.config.errors import first_line
from u2pl_ray.config.schema import Config
from u2pl_ray.data.loaders import EvaluationBatch, EvaluationBatches, TrainingBatch, TrainingBatches
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.types import Batch, Losses, Stats
from u2pl_ray.models.normalization import synchronize
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.models.teacher import Teacher
from u2pl_ray.models.unused import freeze_unused
from u2pl_ray.rng import derived_seed
from u2pl_ray.system.scratch import scratch
from u2pl_ray.train import checkpoint as checkpoints
from u2pl_ray.train.clock import clock_at, momentum_at
from u2pl_ray.train.data_wait import DataWait
from u2pl_ray.train.diagnostics import Diagnostics
from u2pl_ray.train.errors import NonFiniteLoss, Preempted
from u2pl_ray.train.evaluate import best_so_far, confusion, scores
from u2pl_ray.train.forward import Forward
from u2pl_ray.train.images import SampleImages
from u2pl_ray.train.optimizer import build_optimizer
from u2pl_ray.train.running_statistics import RunningStatistics
from u2pl_ray.train.session import Metrics, Session

_HANDED_OVER = 30.0
"""Seconds beyond `resources.batch_seconds` after which a batch is held back by a process that runs no more."""
_PROGRESS_SECONDS = 15.0
_SETTINGS = ("total_iters", "power", "base_lrs")
"""Of a learning-rate schedule's state, what the configuration sets."""


@dataclass
class Position:
    """How far a training has come: `epochs_done`, and what each reported."""

    epochs_done: int
    history: list[Metrics]


class Worker:
    """One rank of a training: builds its parts from the configuration, trains epochs, reports after each.

    Args:
        config: resolved (`data.registry.resolve`), so that classes and split files are known.
        session: who this worker is, and where its reports go.
        device: CPU or the GPU that is this worker's own.
    """

    def __init__(self, config: Config, session: Session, device: torch.device) -> None:
        self.config, self.session, self.device = config, session, device
        self.collectives = Collectives.from_process_group(device)
        self.classes = config.data.classes
        shape = len(self.classes), config.method.contrasts
        network = Segmentor(config.model, *shape, config.seed, config.data.channels)
        self._draws = network.draws
        self._draws.rank, self._draws.world_size = session.rank, session.world_size
        student: Any = network.to(device)
        if device.type == "cuda" and session.world_size > 1 and config.model.normalization == "batch":
            student = synchronize(student)
        if config.train.channels_last:
            student = student.to(memory_format=torch.channels_last)
        if session.world_size > 1:
            freeze_unused(student, config.data.channels, config.data.crop)
        self.student: nn.Module = student
        self.teacher = Teacher(student)
        self.objective = build_objective(
            config.method,
            len(self.classes),
            config.model.representation_dim,
            config.seed,
            self.collectives,
            device,
            (config.data.mean, config.data.std),
            config.model.auxiliary_weight,
        )
        self.optimizer = build_optimizer(config.optim, student)
        share, pin = (session.rank, session.world_size), device.type == "cuda"
        self.train_data = TrainingBatches(config, *share, pin_memory=pin)
        self.val_data = EvaluationBatches(config, "val", *share, pin_memory=pin)
        self.steps = self.train_data.steps
        self.images = SampleImages(config, self.val_data.split, self.train_data.unlabeled)
        self.schedule = PolynomialLR(self.optimizer, self.steps * config.train.epochs, config.optim.poly_power)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.train.amp == "fp16")
        self.position = Position(0, [])
        self.forward = Forward(config, student, self.teacher.module, self._draws, session.world_size, device)
        self._running_statistics = RunningStatistics(student, self.collectives, session.world_size)

    def run(self, reported_epochs: int = 0, start: Path | None = None) -> None:
        """Train to the end, from the newest checkpoint if there is one.

        Args:
            reported_epochs: epochs whose metrics the caller already has; later ones that the checkpoint knows of are
                reported again, without training.
            start: folder of another training's checkpoint, to go on with under this one's settings while there is no
                checkpoint of its own.
        """
        self.session.waiting("its checkpoint")
        with self.session.checkpoint() as folder:
            if folder is not None:
                self.load_state(checkpoints.load(folder, self.device))
            elif start is not None:
                self.continue_from(checkpoints.load(start, self.device))
        for past in self.position.history[reported_epochs:]:
            self.session.report({**past, **self._draw(past)}, None, None)
        while self.position.epochs_done < self.config.train.epochs:
            metrics = self.train_epoch()
            self._remember(metrics)
            self._report(metrics)
            if self.session.leaving() and self.position.epochs_done < self.config.train.epochs:
                raise Preempted(f"left a machine that is taken away, after epoch {self.position.epochs_done}")

    def _await_batch(self) -> None:
        """Say that the next batch is waited for; one that a frozen process holds back escapes the loader's time-out."""
        loading = self.config.data.loader_workers > 0
        limit = self.config.resources.batch_seconds + _HANDED_OVER if loading else None
        self.session.waiting("a batch of its data loader", limit)

    def train_epoch(self) -> Metrics:
        """Train one epoch and evaluate; the epoch's metrics, reduced over workers (the same on each)."""
        epoch, config = self.position.epochs_done, self.config
        warming_up = epoch < config.method.warmup_epochs
        unlabeled = config.method.semi_supervised and not warming_up
        forward = self.forward.student(warming_up)
        diagnostics = Diagnostics(self.classes, self.device)
        self.student.train()
        started = last_word = time.monotonic()
        self._await_batch()
        waiting = DataWait(self.device)
        for index, loaded in enumerate(waiting.over(self.train_data.epoch(epoch, unlabeled=unlabeled))):
            self.session.waiting("a training step")
            losses, stats = self.step(epoch * self.steps + index, loaded, forward)
            diagnostics.add(losses, stats)
            if time.monotonic() - last_word > _PROGRESS_SECONDS and self.session.rank == 0:
                last_word = time.monotonic()
                pace = (last_word - started) / (index + 1)
                left = pace * (self.steps - index - 1)
                self.session.progress(
                    f"epoch {epoch + 1}/{config.train.epochs}: step {index + 1}/{self.steps}, "
                    f"{pace:.2f} s a step, {left:.0f} s of this epoch left"
                )
            self._await_batch()
        self.session.waiting("the epoch's sums over all workers")
        metrics = diagnostics.read(self.collectives)  # waits for the device: so that the timing below is real
        trained = time.monotonic()
        if not math.isfinite(metrics[names.loss("total")]):
            raise NonFiniteLoss(f"the training loss is {metrics[names.loss('total')]} in epoch {epoch + 1}")
        metrics["train/lr"] = self.schedule.get_last_lr()[0]
        metrics |= self.evaluate()
        finished = time.monotonic()
        metrics["perf/workers"] = self.session.world_size
        metrics["perf/step_seconds"] = (trained - started) / self.steps
        images = config.train.batch_size + unlabeled * config.train.unlabeled_batch_size
        metrics["perf/images_per_second"] = images * self.steps / (trained - started)
        metrics["perf/evaluation_seconds"] = finished - trained
        metrics["perf/data_wait"] = waiting.seconds() / (trained - started)
        if self.device.type == "cuda":
            metrics["perf/memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        metrics[names.EPOCH] = epoch + 1
        return metrics

    def step(self, step: int, loaded: TrainingBatch, forward: Any) -> tuple[Losses, Stats]:
        """Take one optimizer step: both networks, losses, gradients, schedule, teacher.

        Args:
            step: its number in the training, from 0.
            loaded: this worker's share of the global batch.
            forward: of `forward.student`, for the epoch that the step belongs to.
        """
        batch = self._to_device(loaded)
        self._start_draws(step, batch)
        losses, stats = self.objective(forward, self.forward.teacher, batch, clock_at(self.config, self.steps, step))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses.total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self._running_statistics.average()
        self.teacher.update(self.student, momentum_at(self.config, self.steps, step))
        return losses, stats

    def evaluate(self) -> Metrics:
        """`val/...` of student and teacher over the whole validation split, summed over workers."""
        models = [self.student, self.teacher.module]
        batches = self._marked(self.val_data)
        matrices = confusion(models, batches, len(self.classes), self.device, self.config.evaluation)
        self.session.waiting("the other workers' scores")
        # Gathered and added as integers: `Collectives.sum` is float32, exact only up to 2**24 pixels.
        gathered = self.collectives.gather(*(matrix.unsqueeze(0) for matrix in matrices))
        student, teacher = (matrix.sum(0) for matrix in gathered)
        rows = {names.VAL_CONFUSION: student.tolist()}
        return scores(student, self.classes) | scores(teacher, self.classes, teacher=True) | rows

    def state(self) -> dict[str, Any]:
        """Everything `load_state` continues from: tensors, numbers, strings, lists, dicts."""
        return {
            "config": self.config.model_dump(mode="json"),
            "student": self.student.state_dict(),
            "teacher": self.teacher.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "objective": self.objective.state_dict(),
            "epochs_done": self.position.epochs_done,
            "history": self.position.history,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, bit for bit on CPU with the same number of workers."""
        self.student.load_state_dict(state["student"])
        self.teacher.module.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.objective.load_state_dict(state["objective"])
        self.position = Position(state["epochs_done"], list(state["history"]))

    def continue_from(self, state: dict[str, Any]) -> None:
        """Take over another training's state (a fork's parent) under this one's settings.

        The memory bank keeps the newest keys that fit; momenta stay; the learning rate is what this configuration's
        schedule has after as many epochs, of its own steps. With the parent's schedule it stays to the last bit.
        """
        schedule = self.schedule.state_dict()
        own_settings = {key: schedule[key] for key in _SETTINGS}
        groups = [{key: value for key, value in group.items() if key != "params"}
                  for group in self.optimizer.param_groups]  # fmt: skip
        self.load_state(state)
        step = state["epochs_done"] * self.steps
        place = {"last_epoch": step, "_step_count": step + 1}
        if all(state["schedule"][key] == value for key, value in (own_settings | place).items()):
            for group, own in zip(self.optimizer.param_groups, groups, strict=True):
                group.update({key: value for key, value in own.items() if key != "lr"})
            return
        left = max(0.0, 1.0 - step / schedule["total_iters"]) ** schedule["power"]
        rates = [base * left for base in schedule["base_lrs"]]
        self.schedule.load_state_dict({**state["schedule"], **own_settings, **place})
        for group, own, rate in zip(self.optimizer.param_groups, groups, rates, strict=True):
            group.update(own, lr=rate)
        self.schedule._last_lr = rates

    def _marked(self, batches: Iterable[EvaluationBatch]) -> Iterator[EvaluationBatch]:
        """The same batches; whoever watches hears of each."""
        self._await_batch()
        for batch in batches:
            self.session.waiting("the scores of a batch")
            yield batch
            self._await_batch()

    def _remember(self, metrics: Metrics) -> None:
        self.position.epochs_done += 1
        self.position.history.append(metrics)
        metrics |= best_so_far(self.position.history)

    def _report(self, metrics: Metrics) -> None:
        self.session.waiting("its checkpoint to be stored")
        if self.session.rank != 0:
            self.session.report(metrics, None, None)
            return
        with scratch() as folder:
            checkpoints.save(folder, self.state())
            name = checkpoints.directory_name(self.position.epochs_done)
            self.session.report({**metrics, **self._draw(metrics)}, folder, name)

    def _draw(self, metrics: Metrics) -> Metrics:
        """The images of the newest epoch, if they are due and it is what `metrics` are of; rank 0 alone."""
        epoch = self.position.epochs_done
        if self.session.rank != 0 or metrics[names.EPOCH] != epoch or not self.images.due(epoch):
            return {}
        try:
            drawn = self.images.draw(self.student, self.teacher.module, self.objective, metrics, self.device)
        except Exception as error:  # too large for the memory, say: no reason to end a training
            self.session.progress(f"no sample images of epoch {epoch} could be drawn: {first_line(error)}")
            return {}
        return {names.IMAGE_DATA: drawn}

    def _to_device(self, loaded: TrainingBatch) -> Batch:
        return Batch(*(value.to(self.device, non_blocking=True) for value in loaded))

    def _start_draws(self, step: int, batch: Batch) -> None:
        """Let what is random in the networks depend on seed, name, step and image alone.

        The global generators serve what an encoder may draw without a layer that `name_dropout` knows; that depends
        on the worker too.
        """
        self._draws.start(step, len(batch.labeled_images), len(batch.unlabeled_images))
        torch.manual_seed(derived_seed(self.config.seed, step, f"network/{self.session.rank}"))
