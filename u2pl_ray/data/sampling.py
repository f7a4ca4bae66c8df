"""Which image, and which augmentation, is at which position of which step: a pure function of seed, epoch, step.

A stream (labeled or unlabeled) is an endless row of positions. Step s of epoch e takes the next `batch_size` of
them, and rank r the r-th contiguous slice of those: the global batch does not depend on the number of workers.
Positions run through the split in a fresh permutation on each pass, across the ends of steps and epochs, so every
image is drawn once before any is drawn again, and a training can go on from any step.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

Stream = Literal["labeled", "unlabeled"]
_CODES: dict[Stream, int] = {"labeled": 0, "unlabeled": 1}
_ORDER, _AUGMENTATION = 0, 1


class Draw(NamedTuple):
    """One sample to load: number in the split of `stream`, and the seed of its augmentation."""

    stream: Stream
    item: int
    seed: int


@dataclass
class StreamSampler:
    """Draws of one stream.

    Args:
        stream: labeled or unlabeled; the two draw independently of each other.
        size: images in the split.
        batch_size: images per step over all workers.
        steps: optimizer steps per epoch.
        seed: of the training.
    """

    stream: Stream
    size: int
    batch_size: int
    steps: int
    seed: int
    _pass: int = field(default=-1, init=False)
    _permutation: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def draws(self, epoch: int, step: int, rank: int, world_size: int) -> list[Draw]:
        """The draws of one rank at one step, in order."""
        share = self.batch_size // world_size
        first = (epoch * self.steps + step) * self.batch_size + rank * share
        return [self._draw(position) for position in range(first, first + share)]

    def _draw(self, position: int) -> Draw:
        number, offset = divmod(position, self.size)
        if number != self._pass:
            self._pass, self._permutation = number, self._generator(_ORDER, number).permutation(self.size)
        entropy = (self.seed, _CODES[self.stream], _AUGMENTATION, position)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
        return Draw(self.stream, int(self._permutation[offset]), seed)

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, _CODES[self.stream], purpose, number))
