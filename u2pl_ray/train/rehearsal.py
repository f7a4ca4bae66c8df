"""A rehearsal: the steps of a training on a few random pixels, to find before the start what fails only in forward."""

from typing import Any

import torch
from torch import Tensor, nn

from u2pl_ray.config.errors import UserError, first_line
from u2pl_ray.config.schema import IGNORE, Config
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.objective import build_objective
from u2pl_ray.method.types import Batch, Clock
from u2pl_ray.models.micro_batches import MicroBatches
from u2pl_ray.models.segmentor import STRIDE, Segmentor
from u2pl_ray.models.teacher import Teacher
from u2pl_ray.train.optimizer import build_optimizer

_SIDE = 2 * STRIDE
"""Of the rehearsed crops, in pixels, unless `data.crop` is smaller."""

_EVALUATION = "evaluation"

_FAILURES = (ValueError, RuntimeError, IndexError, AssertionError)


def rehearse(config: Config, side: int | None = None) -> None:
    """Take a step of the warm-up and one after it, as one worker would, and evaluate, on random pixels on the CPU.

    A worker has one image where it has one in the training with the most workers, else two. With gradient accumulation
    it has three for an odd number, in parts of at most three: a part is of one image if one of the training's is. Where
    GPU workers share BatchNorm's statistics it has two, and parts of two, as no worker computes them from its own. The
    crops are small; what fails on them is tried once more at the training's own crop before it is refused. Global
    generators are left as they were. Pretrained weights are not read: see `models.pretrained`. The image that is
    evaluated is larger than the crops; where that fails, the window is tried.

    Args:
        config: resolved (`data.registry.resolve`), so that the classes are known.
        side: of the rehearsed crops in pixels, a multiple of 32; default: 64, or `data.crop` where that is smaller.

    Raises:
        UserError: naming the keys: a layer needs more than a worker has (BatchNorm of one image), or the network and
            the method do not go together, or the network takes no image of another size than the crop's.
    """
    side = side or min(_SIDE, config.data.crop)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        failure = _try(config, side)
        if failure is not None and side < config.data.crop:
            failure = _try(config, config.data.crop)
        if failure is not None and (size := config.train.micro_batch_size) is not None:
            train = config.train.model_copy(update={"micro_batch_size": None})
            if _try(config.model_copy(update={"train": train}), side) is None:
                raise UserError(_explain_parts(failure[0], size))
    if failure is not None:
        raise UserError(_explain(*failure, config))


def _try(config: Config, side: int) -> tuple[Exception, str] | None:
    """Build everything, take the steps and evaluate; what failed, if anything, and at what."""
    model = config.model.model_copy(update={"encoder_weights": None})
    classes, device = len(config.data.classes), torch.device("cpu")
    student = Segmentor(model, classes, config.method.contrasts, config.seed, config.data.channels).train()
    teacher: Any = Teacher(student).module
    parts = config.method, classes, config.model.representation_dim
    objective: Any = build_objective(
        *parts,
        config.seed,
        Collectives(device),
        device,
        (config.data.mean, config.data.std),
        auxiliary_weight=config.model.auxiliary_weight,
    )
    optimizer = build_optimizer(config.optim, student)
    size = config.train.micro_batch_size
    networks: list[Any] = [student, teacher]
    if size is not None:
        least = 2 if _synchronized(config, config.worker_counts[-1]) else 1
        networks = [MicroBatches(network, student.draws, min(max(size, least), 3)) for network in networks]
    # Nothing depends on more images than a pair, which is what mixing needs; one is what BatchNorm cannot take.
    labeled, unlabeled = (min(2, count) if size is None or count < 2 else 2 + count % 2 for count in _images(config))
    if _synchronized(config, config.worker_counts[0]):
        labeled = unlabeled = 2
    semi_supervised = config.method.semi_supervised
    stages = [True] * (config.method.warmup_epochs > 0 or not semi_supervised) + [False] * semi_supervised
    for step, warming_up in enumerate(stages):
        batch = _random_batch(labeled, 0 if warming_up else unlabeled, (config.data.channels, side), classes)
        student.draws.start(step, labeled, len(batch.unlabeled_images))
        clock = Clock(epoch=0, epochs=config.train.epochs, step=step, warming_up=warming_up)
        try:
            losses, _ = objective(networks[0], torch.no_grad()(networks[1]), batch, clock)
            optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            optimizer.step()
        except _FAILURES as error:
            return error, "a step of the warm-up" if warming_up else f"a step of method.name={config.method.name}"
    return _evaluate(teacher, config, side)


def _evaluate(network: nn.Module, config: Config, side: int) -> tuple[Exception, str] | None:
    """Show the network an image of no crop's size, or else of the window's, as validation will."""
    window = config.evaluation.window
    sizes = [(side + STRIDE, side + 2 * STRIDE)]
    if window is not None:
        sizes.append((window, window))
    failure = None
    for size in sizes:
        try:
            with torch.no_grad():
                network(torch.randn(1, config.data.channels, *size))
            return None
        except _FAILURES as error:
            failure = error, _EVALUATION
    return failure


def _images(config: Config) -> tuple[int, int]:
    """Count a worker's labeled and unlabeled images, when there are the most workers."""
    workers = config.worker_counts[0]
    return config.train.batch_size // workers, config.train.unlabeled_batch_size // workers


def _synchronized(config: Config, workers: int) -> bool:
    """Whether so many workers compute BatchNorm's statistics together: on GPUs (auto: if this machine has one)."""
    device = config.resources.device
    gpu = torch.cuda.is_available() if device == "auto" else device == "cuda"
    return gpu and workers > 1 and config.model.normalization == "batch"


def _random_batch(labeled: int, unlabeled: int, shape: tuple[int, int], classes: int) -> Batch:
    """Draw a worker's images and labels; a strip of each label is void, as padding is."""
    channels, side = shape

    def labels(count: int) -> Tensor:
        drawn = torch.randint(classes, (count, side, side), dtype=torch.uint8)
        drawn[:, -side // 8 :] = IGNORE
        return drawn

    images = [torch.randn(count, channels, side, side) for count in (labeled, unlabeled)]
    truth = labels(unlabeled)
    return Batch(images[0], labels(labeled), images[1], truth, truth != IGNORE)


def _explain_parts(error: Exception, size: int) -> str:
    """Say what is wrong with the parts of a batch alone."""
    if "more than 1 value per channel" in str(error):
        return (
            f"train.micro_batch_size={size}: a part of a step has one image, too few for the statistics of BatchNorm; "
            "use 3 or more (or null), or model.normalization=group"
        )
    return f"train.micro_batch_size={size}: a step in parts fails: {first_line(error)}; set it to null"


def _explain(error: Exception, stage: str, config: Config) -> str:
    """Say in one line which settings do not go together."""
    labeled, _ = _images(config)
    if "more than 1 value per channel" in str(error):
        shared = config.worker_counts[0] > 1 and config.resources.device == "auto"
        return (
            f"train.batch_size={config.train.batch_size} over workers={config.worker_counts[0]}: a step has {labeled} "
            "labeled image a worker, too few for the statistics of BatchNorm; use a larger train.batch_size, fewer "
            f"workers, {'resources.device=cuda if they have GPUs, ' * shared}or model.normalization=group"
        )
    reason = first_line(error)
    if stage == _EVALUATION:
        window = "null" if config.evaluation.window is None else config.evaluation.window
        return (
            f"evaluation.window={window}: {config.model.encoder} trains on crops, but cannot be evaluated on what is "
            f"larger ({reason}); set evaluation.window={config.data.crop}, or use another model.encoder"
        )
    return (
        f"model: {stage} fails with {config.model.architecture}, {config.model.encoder} and "
        f"options {config.model.options}: {reason}"
    )
