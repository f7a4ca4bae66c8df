"""Batches of a training and of an evaluation, as torch tensors on the CPU."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import IGNORE, Config
from u2pl_ray.data.image_cache import ImageCache
from u2pl_ray.data.image_files import read_size
from u2pl_ray.data.sampling import Draw, Stream, StreamSampler
from u2pl_ray.data.transforms import WeakAugmentation, normalise, pad_label
from u2pl_ray.data.voc import Item, open_split, open_training_splits, with_labels


class TrainingBatch(NamedTuple):
    """One rank's share of a step. b = batch_size / workers, u = unlabeled_batch_size / workers (or 0)."""

    labeled_images: Tensor
    """float32 [b, channels, crop, crop], normalised."""
    labels: Tensor
    """uint8 [b, crop, crop], 255 where padded or ignored."""
    unlabeled_images: Tensor
    """float32 [u, channels, crop, crop], normalised."""
    unlabeled_labels: Tensor
    """uint8 [u, crop, crop], for diagnostics only; all 255 where the image has no label file."""
    unlabeled_valid: Tensor
    """bool [u, crop, crop], False where the crop is padding: no pseudo-label belongs there."""


class EvaluationBatch(NamedTuple):
    """Whole images of one size, padded at bottom and right to a multiple of 32."""

    images: Tensor
    """float32 [b, channels, H, W], normalised; padding is the mean colour."""
    labels: Tensor
    """uint8 [b, H, W], 255 in the padding."""
    size: tuple[int, int]
    """(height, width) without the padding."""
    ids: tuple[str, ...]


def steps_per_epoch(config: Config, unlabeled: int, labeled: int = 1) -> int:
    """Optimizer steps per epoch: the configured number, else once through the unlabeled images.

    Args:
        config: gives batch sizes and the configured number.
        unlabeled: images in that split; without any, an epoch is once through the labeled ones.
        labeled: images in that split.
    """
    if config.train.steps_per_epoch:
        return config.train.steps_per_epoch
    if not unlabeled:
        return -(-labeled // config.train.batch_size)
    return -(-unlabeled // config.train.unlabeled_batch_size)


class TrainingBatches:
    """The batches of one rank of a training.

    Which images a step sees, and how they are augmented, is a pure function of (config.seed, epoch, step): not of
    the number of workers or loader processes, nor of where a training was interrupted. Loader processes are kept
    from epoch to epoch.

    Args:
        config: resolved (`u2pl_ray.data.registry.resolve`).
        rank: of this worker.
        world_size: number of workers; both batch sizes must divide by it.
        pin_memory: page-locked tensors, for asynchronous copies to a GPU.

    Raises:
        UserError: on anything wrong with the files, also while iterating.
    """

    def __init__(self, config: Config, rank: int = 0, world_size: int = 1, *, pin_memory: bool = False) -> None:
        labeled, unlabeled = open_training_splits(config.data)
        self.unlabeled = unlabeled
        """The unlabeled images."""
        self.steps = steps_per_epoch(config, len(unlabeled), len(labeled))
        """Steps per epoch."""
        if config.method.traits.all_labels:
            labeled = labeled + with_labels(unlabeled, config.method.name)
        sizes = config.train.batch_size, config.train.unlabeled_batch_size
        dataset = _TrainingDataset(config, labeled, unlabeled)
        self.cache = dataset.read
        """Decoded images that are kept in memory."""
        self._sampler = _StepSampler(
            StreamSampler("labeled", len(labeled), sizes[0], self.steps, config.seed),
            StreamSampler("unlabeled", len(unlabeled), sizes[1], self.steps, config.seed),
            rank,
            world_size,
        )
        processes = config.data.loader_workers
        self._loader: DataLoader[TrainingBatch | UserError] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            collate_fn=_as_is,
            num_workers=processes,
            persistent_workers=processes > 0,
            timeout=config.resources.batch_seconds if processes else 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else each epoch would advance the global one
        )

    def epoch(self, epoch: int, *, start_step: int = 0, unlabeled: bool = True) -> Iterator[TrainingBatch]:
        """The batches of an epoch (0-based) from `start_step` on.

        With `unlabeled=False` (supervised epochs) no unlabeled image is read, and both unlabeled tensors hold 0
        images; the labeled ones are the same either way. Start one epoch after another has been used up or
        dropped: the loader processes serve one at a time.
        """
        self._sampler.set(epoch, start_step, unlabeled)
        yield from _unwrap(self._loader)


class EvaluationBatches:
    """The whole images of a split that one rank evaluates: images rank::world_size, none padded in, none twice.

    Iterable any number of times. Images are grouped by size into batches of `train.eval_batch_size`.

    Args:
        config: resolved.
        split: `val` or `test` (or `labeled`); every image needs its label.
        rank: of this worker.
        world_size: number of workers.
        pin_memory: page-locked tensors.
    """

    def __init__(
        self, config: Config, split: str, rank: int = 0, world_size: int = 1, *, pin_memory: bool = False
    ) -> None:
        self.split = open_split(config.data, split)
        """All images of the split."""
        items = self.split[rank::world_size]
        groups: dict[tuple[int, int], list[Item]] = {}
        for item in items:
            groups.setdefault(read_size(item.image), []).append(item)
        count = config.train.eval_batch_size
        batches = [group[i : i + count] for group in groups.values() for i in range(0, len(group), count)]
        processes = config.data.loader_workers
        dataset = _EvaluationDataset(config, batches)
        self.cache = dataset.read
        """Decoded images that are kept in memory."""
        self.images = len(items)
        """Images of this rank."""
        self._loader: DataLoader[EvaluationBatch | UserError] = DataLoader(
            dataset,
            batch_size=None,
            collate_fn=_as_is,
            num_workers=processes,
            persistent_workers=processes > 0,
            timeout=config.resources.batch_seconds if processes else 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        return _unwrap(self._loader)


T = TypeVar("T")


def _unwrap(loader: Iterable[T | UserError]) -> Iterator[T]:
    """Raise the errors among the batches: torch would wrap one raised in a loader process in its own traceback.

    Raises:
        RuntimeError: a loader process ended; as torch says it, also where the batch was on its way and torch does not.
    """
    try:
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except (EOFError, ConnectionError) as error:
        raise RuntimeError("DataLoader worker (pid unknown) ended while it handed over a batch") from error


def _as_is(batch: T) -> T:
    """Instead of torch's default, which makes lists of tuples."""
    return batch


class _StepSampler(Sampler[list[Draw]]):
    """Yields, for each step of the epoch that was set, the draws of this rank."""

    def __init__(self, labeled: StreamSampler, unlabeled: StreamSampler, rank: int, world_size: int) -> None:
        self._labeled, self._unlabeled = labeled, unlabeled
        self._share = rank, world_size
        self._epoch, self._start, self._both = 0, 0, True

    def set(self, epoch: int, start_step: int, unlabeled: bool) -> None:
        """Choose what the next iteration yields."""
        self._epoch, self._start, self._both = epoch, start_step, unlabeled

    def __len__(self) -> int:
        return self._labeled.steps - self._start

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, both = self._epoch, self._both
        for step in range(self._start, self._labeled.steps):
            draws = self._labeled.draws(epoch, step, *self._share)
            yield draws + (self._unlabeled.draws(epoch, step, *self._share) if both else [])


class _TrainingDataset(Dataset[TrainingBatch | UserError]):
    """Batches of augmented samples, by their draws; each sample is written where it belongs, once."""

    def __init__(self, config: Config, labeled: tuple[Item, ...], unlabeled: tuple[Item, ...]) -> None:
        self._data = config.data
        self._items = {"labeled": labeled, "unlabeled": unlabeled}
        self.read = ImageCache(config, len({*labeled, *unlabeled}))
        self._augment = WeakAugmentation(config.data)

    def __getitems__(self, draws: list[Draw]) -> TrainingBatch | UserError:
        """Return one rank's share of a step."""
        try:
            images, labels, _ = self._samples("labeled", draws)
            return TrainingBatch(images, labels, *self._samples("unlabeled", draws))
        except UserError as error:
            return error

    def _samples(self, stream: Stream, draws: list[Draw]) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels, and where the crops are image rather than padding."""
        chosen = [draw for draw in draws if draw.stream == stream]
        shape = (len(chosen), self._data.crop, self._data.crop)
        images = torch.empty(len(chosen), self._data.channels, *shape[1:])
        labels, valid = torch.empty(shape, dtype=torch.uint8), torch.empty(shape, dtype=torch.bool)
        for draw, *outputs in zip(chosen, images, labels.numpy(), valid.numpy(), strict=True):
            self._load(draw, *outputs)
        return images, labels, valid

    def _load(self, draw: Draw, pixels: Tensor, label: np.ndarray, valid: np.ndarray) -> None:
        image, mask = self.read(self._items[draw.stream][draw.item])
        # A second plane, 0 all over the image, goes through the same transforms: it is 255 where they padded.
        planes = cv2.merge([mask, np.zeros_like(mask)])
        image, planes = self._augment.crop(image, planes, draw.seed, draw.stream == "labeled")
        self._augment.normalise(image, pixels)
        label[...], padding = cv2.split(planes)
        np.not_equal(padding, IGNORE, out=valid)


class _EvaluationDataset(Dataset[EvaluationBatch | UserError]):
    """Batches of whole images of one size."""

    def __init__(self, config: Config, batches: list[list[Item]]) -> None:
        self._data, self._batches = config.data, batches
        self.read = ImageCache(config, sum(map(len, batches)))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> EvaluationBatch | UserError:
        items = self._batches[index]
        try:
            pairs = [self.read(item) for item in items]
        except UserError as error:
            return error
        return EvaluationBatch(
            torch.stack([normalise(image, self._data) for image, _ in pairs]),
            torch.stack([pad_label(label) for _, label in pairs]),
            (pairs[0][1].shape[0], pairs[0][1].shape[1]),
            tuple(item.id for item in items),
        )
