"""The contrastive loss: pixel anchors, class prototypes as positives, unreliable pixels as negatives
(U2PL, section 3.3).

Two collectives a step, whatever the number of classes: the caller gathers `Maps` (together with the entropies), and
`ContrastiveLoss` sums the chosen keys and the prototypes. All draws are made for the global batch on every worker.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from u2pl_ray.config import checks
from u2pl_ray.config.method import ContrastiveConfig, MemoryBankConfig
from u2pl_ray.config.schema import IGNORE
from u2pl_ray.method import memory_bank, pixels
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.method.info_nce import info_nce
from u2pl_ray.method.memory_bank import MemoryBank, normalize_
from u2pl_ray.method.selection import Candidates, Share, one_hot, pack_bits, rank_window, unpack_bits
from u2pl_ray.method.types import Clock, Stats
from u2pl_ray.rng import generator


class Maps(NamedTuple):
    """What must be known of every pixel of the global batch to choose keys and anchors: ceil(C / 8) + 2 bytes a pixel.

    Attributes:
        window: [n, ceil(C / 8), H, W] uint8, bit words of `selection.rank_window`.
        label: [n, H, W] uint8, label or pseudo-label, 255 = none.
        confident: [n, H, W] bool, teacher probability of that label > delta_p.
    """

    window: Tensor
    label: Tensor
    confident: Tensor


def peak_bytes(
    config: ContrastiveConfig,
    bank_config: MemoryBankConfig,
    num_classes: int,
    dim: int,
    own_pixels: int,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> int:
    """Upper bound of the memory a worker's loss takes, beside its arguments and the bank, forward or backward.

    With P = `own_pixels` of its images on the small map, G = P * world_size, C classes, D = `dim`, A = C * anchors,
    N negatives, and S = sum over classes of min(capacity, push_cap, G) keys pushed at most:

        4 * D * (min(S, P) + 6 * A)     features of keys (on CUDA S); of anchors (backward: 4 * D * P, dense gradient)
        + 12 * D * S                    keys as summed among several workers; none with one worker
        + C * (5 * G + 16 * P)          masks and lists of candidates
        + 160 * S + 80 * A * N          numbers of keys and negatives
        + 6 * max(min(2**20, S * D), min(max(2**21, N * D), A * N * D))
                                        keys, then negatives (not float32 ones on CPU), copied at a time
    """
    total = own_pixels * world_size
    cap = total if bank_config.push_cap is None else min(bank_config.push_cap, total)
    pushed = sum(min(capacity, cap) for capacity in memory_bank.capacities(bank_config, num_classes))
    anchors = num_classes * config.anchors
    static = pixels.static_shapes(torch.device(device))
    read = pushed if static else min(pushed, own_pixels)
    features = 4 * dim * (read + 6 * anchors) + 12 * dim * pushed * (world_size > 1)
    masks = num_classes * (5 * total + 16 * own_pixels)
    numbers = 160 * pushed + 80 * anchors * config.negatives
    negatives = min(max(1 << 21, config.negatives * dim), anchors * config.negatives * dim)
    in_place = bank_config.key_dtype == "float32" and not static
    copied = 6 * max(min(1 << 20, pushed * dim), 0 if in_place else negatives)
    return max(features + masks + numbers + copied, 4 * dim * (own_pixels + anchors))


class ContrastiveLoss:
    """Pixel-to-prototype InfoNCE against the memory bank.

    For every class c with a reliable pixel in the global batch: M anchors drawn with replacement from the reliable
    pixels of class c with p(c) > delta_p; the positive is the mean teacher representation of all these pixels; N
    negatives per anchor are drawn with replacement from the class's queue, this step's keys included. A class without
    anchors or keys counts 0; the sum over classes is divided by the number of classes present. With fewer than two
    classes present the loss is 0.
    """

    def __init__(
        self,
        config: ContrastiveConfig,
        bank_config: MemoryBankConfig,
        num_classes: int,
        dim: int,
        seed: int,
        collectives: Collectives,
        device: torch.device | str,
    ) -> None:
        """An empty bank; `dim` is the length D of a representation, `seed` the training's."""
        self.config = config
        self.push_cap = bank_config.push_cap
        self.num_classes = num_classes
        self._ranks = checks.rank_window(config, num_classes)
        self.seed = seed
        self.collectives = collectives
        self.device = torch.device(device)
        capacities = memory_bank.capacities(bank_config, num_classes)
        self.bank = MemoryBank(capacities, dim, getattr(torch, bank_config.key_dtype), device)

    def local_maps(self, prob: Tensor, label: Tensor, n_labeled: int) -> Maps:
        """This worker's maps, to be gathered (and put in global order: all labeled images, then all unlabeled).

        Args:
            prob: [n_local, C, H, W] float32, the teacher's softmax on the small map; labeled images first.
            label: [n_local, H, W] uint8, labels, then pseudo-labels; 255 = none.
            n_labeled: labeled images among them.
        """
        window = rank_window(prob, label, n_labeled, *self._ranks)
        own = prob.gather(1, label.long().clamp_max(self.num_classes - 1).unsqueeze(1)).squeeze(1)
        confident = (own > self.config.anchor_threshold) & (label != IGNORE)
        return Maps(pack_bits(window), label, confident)

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        n_labeled: int,
        maps: Maps,
        reliable: Tensor,
        unreliable: Tensor,
        clock: Clock,
        truth: Tensor | None = None,
    ) -> tuple[Tensor, Stats]:
        """Push this step's keys, then compute the loss.

        Args:
            student: [n_local, D, H, W], the student's representation; the gradient flows into it.
            teacher: [n_local, D, H, W], the teacher's.
            n_labeled: labeled images among the n_local.
            maps: of the global batch of n images.
            reliable: [n, H, W] bool: labeled and y != 255, or unlabeled with H < gamma.
            unreliable: [n, H, W] bool: labeled and y != 255, or unlabeled with H > gamma.
            clock: its `step` is the age of the keys and what the draws depend on.
            truth: [n_local, H, W] true labels for diagnostics, 255 = unknown.

        Returns:
            The loss, 0-dim float32, whose mean over the workers is the loss of the global batch; and statistics, all
            [C] float32. Shared: `bank/fill`, `bank/pushed`, `bank/key_age` (mean, in steps), `anchor/none` and
            `negative/none` (1 where the class had none). Local, if `truth` is given: `negatives/known`, the pushed
            keys whose true label is known, and `negatives/false`, those of them that truly are of the class.
        """
        with torch.autocast(self.device.type, enabled=False):
            return self._step(student, teacher.detach(), n_labeled, maps, reliable, unreliable, clock.step, truth)

    def _step(
        self,
        student: Tensor,
        teacher: Tensor,
        n_labeled: int,
        maps: Maps,
        reliable: Tensor,
        unreliable: Tensor,
        step: int,
        truth: Tensor | None,
    ) -> tuple[Tensor, Stats]:
        share = Share(n_labeled, student.shape[0] - n_labeled, self.collectives.rank, self.collectives.world_size)
        anchors = Candidates(one_hot(maps.label, reliable & maps.confident, self.num_classes).flatten(2), share)
        window = unpack_bits(maps.window, self.num_classes) & unreliable.unsqueeze(1)
        keys = Candidates(window.flatten(2), share)

        pushed, classes, order = self._key_slots(keys.counts, unreliable.numel())
        position = self._key_position(keys.counts, pushed, classes, order, step)
        pixel, owned = keys.pick(classes, position)
        rows, source = pixels.read_distinct(teacher, pixel)
        if share.world_size > 1:  # each worker fills in the keys it owns
            rows = (rows if source is None else rows[source]).masked_fill_(~owned.unsqueeze(1), 0)
            source = None
        prototypes = torch.bmm(anchors.own.view(torch.uint8).float(), teacher.float().flatten(2).transpose(1, 2)).sum(0)
        rows, prototypes = self.collectives.sum(rows, prototypes)
        self.bank.push(normalize_(rows), classes, order, pushed, step, source)

        loss = self._info_nce(student, anchors, normalize_(prototypes), maps.label, reliable, step)
        shared = {
            "bank/fill": self.bank.fill.float(),
            "bank/pushed": pushed.float(),
            "bank/key_age": self.bank.ages(step),
            "anchor/none": (anchors.counts == 0).float(),
            "negative/none": (self.bank.fill == 0).float(),
        }
        local = {} if truth is None else self._false_keys(truth, pixel, owned & (order < pushed[classes]), classes)
        return loss, Stats(local, shared)

    def _info_nce(
        self,
        student: Tensor,
        anchors: Candidates,
        positives: Tensor,
        label: Tensor,
        reliable: Tensor,
        step: int,
    ) -> Tensor:
        """The mean over classes present and anchors of InfoNCE, times the world size; this worker's anchors only."""
        present = torch.zeros(256, device=self.device)
        present.scatter_(0, label.masked_fill(~reliable, IGNORE).flatten().long(), 1)
        divisor = present[: self.num_classes].sum()
        live = (anchors.counts > 0) & (self.bank.fill > 0) & (divisor > 1)
        count = self.config.anchors
        classes = torch.arange(self.num_classes, device=self.device).repeat_interleave(count)
        pixel, owned = anchors.pick(classes, self.draw_anchors(anchors.counts, step).flatten())
        weight = (live[classes] & owned) * (self.collectives.world_size / count) / divisor.clamp_min(1)
        rows = self.bank.rows(self.draw_negatives(self.bank.fill, step)).flatten(0, 1)
        if not pixels.static_shapes(self.device):
            counted = torch.from_numpy(np.flatnonzero(weight.numpy()))
            if len(counted) < len(weight):
                pixel, weight, classes, rows = (each[counted] for each in (pixel, weight, classes, rows))
        return info_nce(student, pixel, weight, classes, positives, self.bank.keys, rows, self.config.temperature)

    def _key_slots(self, counts: Tensor, total: int) -> tuple[Tensor, Tensor, Tensor]:
        """How many keys each class pushes [C], and class and order [S] of the rows that hold them.

        With static shapes there are as many rows as there may ever be keys; else exactly as many as there are.
        """
        cap = total if self.push_cap is None else min(self.push_cap, total)
        limit = self.bank.capacity.clamp_max(cap)
        pushed = torch.minimum(counts, limit)
        most = sum(min(capacity, cap) for capacity in self.bank.capacities)
        slots, length = (limit, most) if pixels.static_shapes(self.device) else (pushed, None)
        classes = torch.repeat_interleave(slots, output_size=length)
        order = torch.arange(len(classes), device=self.device) - (slots.cumsum(0) - slots).index_select(0, classes)
        return pushed, classes, order

    def _key_position(self, counts: Tensor, pushed: Tensor, classes: Tensor, order: Tensor, step: int) -> Tensor:
        """Which candidates become keys: all; the newest that fit; or, above push_cap, a systematic sample."""
        if self.push_cap is None:
            position = (counts - pushed).index_select(0, classes) + order
        else:
            draw = torch.rand(
                self.num_classes,
                generator=generator(self.device, self.seed, step, "keys"),
                device=self.device,
                dtype=torch.float64,
            )
            stride = counts / pushed.clamp_min(1).double()
            position = ((order + draw.index_select(0, classes)) * stride.index_select(0, classes)).long()
        return torch.minimum(position, (counts - 1).clamp_min(0).index_select(0, classes))

    def draw_anchors(self, counts: Tensor, step: int) -> Tensor:
        """M candidate numbers per class, uniform with replacement: [C, M] int32, below counts [C] (0 if that is 0)."""
        return self._draw(counts, (self.num_classes, self.config.anchors), step, "anchors")

    def draw_negatives(self, fill: Tensor, step: int) -> Tensor:
        """N queue positions per anchor, uniform with replacement: [C, M, N] int32, below fill [C]."""
        shape = (self.num_classes, self.config.anchors, self.config.negatives)
        return self._draw(fill, shape, step, "negatives")

    def _draw(self, below: Tensor, shape: tuple[int, ...], step: int, stream: str) -> Tensor:
        uniform = torch.rand(shape, generator=generator(self.device, self.seed, step, stream), device=self.device)
        bound = below.view(-1, *(1,) * (len(shape) - 1))
        # float32 reaches n itself for u next to 1.
        return uniform.mul_(bound).int().clamp_max_((bound - 1).clamp_min_(0).int())

    def _false_keys(self, truth: Tensor, pixel: Tensor, owned: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """Of the keys this worker pushed: how many have a known true label, and how many are of the class itself."""
        label = truth.flatten()[pixel]
        known = owned & (label != IGNORE)
        zero = torch.zeros(self.num_classes, device=self.device)
        return {
            "negatives/known": zero.index_add(0, classes, known.float()),
            "negatives/false": zero.index_add(0, classes, (known & (label == classes)).float()),
        }
