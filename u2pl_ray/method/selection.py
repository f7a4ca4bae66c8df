"""Which pixels are keys and which are anchors: probability ranks, the rank window, candidates per class.

Pixels are numbered image * H * W + y * W + x on the small map. The global batch has all labeled images first (in rank
order), then all unlabeled ones; every worker holds a contiguous slice of each. Selection is two-level: the candidates
of each class are counted over the global batch, so that "the j-th candidate of class c" means the same on every
worker, and only the worker that owns this pixel finds it.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.method import pixels

_STREAMED = 6  # up to this k, keeping the k largest class by class beats sorting


def kth_largest(prob: Tensor, k: int) -> Tensor:
    """The k-th largest value (k = 1: the largest; ties count separately) over the classes.

    Args:
        prob: [n, C, ...].
        k: at least 1; beyond C there is no such value, and the result is -inf.

    Returns:
        [n, ...]. A pixel's rank(c), the number of classes with a larger probability, is below k iff
        p(c) >= the k-th largest.
    """
    classes = prob.shape[1]
    if k > classes:
        return torch.full_like(prob[:, 0], -torch.inf)
    smallest = k > classes + 1 - k
    if smallest:  # nearer to that end
        k = classes + 1 - k
    if k > _STREAMED or pixels.static_shapes(prob.device):
        return prob.topk(k, dim=1, largest=not smallest, sorted=True).values[:, -1]
    outer, inner = (torch.minimum, torch.maximum) if smallest else (torch.maximum, torch.minimum)
    kept: list[Tensor] = []
    for value in prob.unbind(1):  # planes stay in cache: several times faster than a sort
        for i, other in enumerate(kept):
            kept[i] = outer(other, value)
            if i < k - 1:
                value = inner(other, value)
        if len(kept) < k:
            kept.append(value)
    return kept[-1]


def rank_window(prob: Tensor, label: Tensor, n_labeled: int, low_rank: int, high_rank: int) -> Tensor:
    """For which classes each pixel may be a negative key, reliability aside.

    A labeled pixel: y != c and rank(c) < low_rank, a hard confusion (but not p(c) = 1, as in the reference).
    An unlabeled pixel: low_rank <= rank(c) < high_rank, where the teacher is sure that it is not c.

    Args:
        prob: [n, C, H, W] float32, the teacher's probabilities; labeled images first.
        label: [n, H, W] uint8, 255 = ignore.
        n_labeled: number of labeled images among the n.
        low_rank: r_l.
        high_rank: r_h (exclusive).

    Returns:
        [n, C, H, W] bool.
    """
    labeled, unlabeled = prob[:n_labeled], prob[n_labeled:]
    low = kth_largest(prob, low_rank).unsqueeze(1)
    window = torch.empty_like(prob, dtype=torch.bool, memory_format=torch.contiguous_format)
    torch.ge(labeled, low[:n_labeled], out=window[:n_labeled])
    window[:n_labeled] &= labeled < 1
    own = label[:n_labeled].long().clamp_max(prob.shape[1])  # one class more, which 255 falls into
    padded = torch.cat([window[:n_labeled], torch.zeros_like(window[:n_labeled, :1])], 1)
    window[:n_labeled] = padded.scatter_(1, own.unsqueeze(1), False)[:, :-1]
    torch.lt(unlabeled, low[n_labeled:], out=window[n_labeled:])
    if high_rank < prob.shape[1]:
        window[n_labeled:] &= unlabeled >= kth_largest(unlabeled, high_rank).unsqueeze(1)
    return window


def pack_bits(mask: Tensor) -> Tensor:
    """[n, C, ...] bool to [n, ceil(C / 8), ...] uint8: class c is bit c % 8 of byte c // 8."""
    spare = -mask.shape[1] % 8
    bits = mask.view(torch.uint8)
    if spare:
        bits = torch.cat([bits, bits.new_zeros(bits.shape[0], spare, *bits.shape[2:])], 1)
    for shift in (1, 2, 4):
        bits = bits[:, 0::2] | (bits[:, 1::2] << shift)
    return bits


def unpack_bits(packed: Tensor, num_classes: int) -> Tensor:
    """The inverse of `pack_bits`: [n, ceil(C / 8), ...] uint8 to [n, C, ...] bool."""
    shift = torch.arange(8, dtype=torch.uint8, device=packed.device).view(8, *(1,) * (packed.dim() - 2))
    bits = (packed.unsqueeze(2) >> shift) & 1
    return bits.flatten(1, 2)[:, :num_classes].view(torch.bool)


def one_hot(label: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """[n, ...] labels and bool mask to [n, C, ...] bool: label == c and mask."""
    classes = torch.arange(num_classes, dtype=label.dtype, device=label.device)
    classes = classes.view(-1, *(1,) * (label.dim() - 1))
    return (label.unsqueeze(1) == classes) & mask.unsqueeze(1)


@dataclass(frozen=True)
class Share:
    """Which images of the global batch a worker owns.

    Attributes:
        labeled: labeled images per worker.
        unlabeled: unlabeled images per worker.
        rank: this worker's number.
        world_size: number of workers.
    """

    labeled: int
    unlabeled: int
    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> tuple[int, int]:
        """Global position of the first labeled and the first unlabeled image."""
        return self.rank * self.labeled, self.world_size * self.labeled + self.rank * self.unlabeled

    def of(self, batch: Tensor) -> Tensor:
        """This worker's images of a tensor over the global batch (dimension 0): labeled, then unlabeled."""
        if self.world_size == 1:
            return batch
        labeled, unlabeled = self.first
        return torch.cat([batch[labeled : labeled + self.labeled], batch[unlabeled : unlabeled + self.unlabeled]])


class Candidates:
    """The candidate pixels of each class, in pixel order, over the global batch.

    Attributes:
        counts: [C] int64, candidates in the global batch.
        own: [n_own, C, HW] bool, the mask of this worker's images.
    """

    def __init__(self, mask: Tensor, share: Share) -> None:
        """From mask [n, C, HW] bool over the global batch.

        Memory: C bytes per pixel of the global batch; beyond that, on CPU 8 bytes per candidate owned, on CUDA 4 * C
        bytes per pixel owned.
        """
        self.own = share.of(mask)
        own = self.own.transpose(0, 1).flatten(1)  # [C, pixels owned]
        classes, self._pixels = own.shape
        # All candidates owned, class after class: listed where shapes may depend on values, else to be searched for.
        self._listed = self._cumulative = None
        if not pixels.static_shapes(own.device):
            self._listed = torch.from_numpy(np.flatnonzero(own.numpy()))
            ends = torch.searchsorted(self._listed, torch.arange(1, classes + 1) * self._pixels)
        else:
            self._cumulative = own.flatten().cumsum(0, dtype=torch.int32)
            ends = self._cumulative[self._pixels - 1 :: self._pixels].long()
        self._base = F.pad(ends[:-1], (1, 0))
        self._own_counts = self.counts = ends - self._base
        self._first: tuple[Tensor, Tensor] | None = None
        if share.world_size > 1:
            per_image = mask.sum(-1).T  # [C, n]
            self.counts = per_image.sum(1)
            before = F.pad(per_image.cumsum(1), (1, 0))
            labeled, unlabeled = share.first
            # The worker's candidates are two runs of the global ones, from its labeled and its unlabeled images.
            self._first = before[:, labeled], before[:, unlabeled]
            self._labeled = before[:, labeled + share.labeled] - before[:, labeled]

    def pick(self, classes: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Find candidates by number.

        Args:
            classes: [K] int64.
            position: [K] int32 or int64, number of the wanted candidate of that class, not negative.

        Returns:
            pixel [K] int64, number of the pixel among this worker's own images (labeled, then unlabeled), and
            owned [K] bool: whether there is such a candidate and it is this worker's; if not, pixel is any valid one.
        """
        owned = position < self.counts.index_select(0, classes)
        if self._first is not None:
            in_labeled, in_unlabeled = (position - first.index_select(0, classes) for first in self._first)
            labeled, both = (each.index_select(0, classes) for each in (self._labeled, self._own_counts))
            from_labeled = (in_labeled >= 0) & (in_labeled < labeled)
            owned &= from_labeled | ((in_unlabeled >= 0) & (in_unlabeled < both - labeled))
            position = torch.where(from_labeled, in_labeled, in_unlabeled + labeled) * owned
        pixel = self._place(self._base.index_select(0, classes) + position) - classes * self._pixels
        return pixel.clamp_(0, self._pixels - 1), owned

    def _place(self, index: Tensor) -> Tensor:
        """Where the set bit number `index` lies in the flat [C * pixels] mask (anything if there is none)."""
        if self._cumulative is not None:
            return torch.searchsorted(self._cumulative, (index + 1).int())
        assert self._listed is not None
        return self._listed.index_select(0, index.clamp_max(len(self._listed) - 1)) if len(self._listed) else index
