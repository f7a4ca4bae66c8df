"""Everything a result depends on, as one typed tree. Defaults are the paper's (CVPR 2022) where it states them.

A dotted path into this tree (`method.alpha.start`) is the name of a setting everywhere: on the command line, in
search spaces, in W&B. Unknown keys are refused.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from u2pl_ray.config.data import IGNORE as IGNORE
from u2pl_ray.config.data import DataConfig as DataConfig
from u2pl_ray.config.data import SyntheticConfig as SyntheticConfig
from u2pl_ray.config.evaluation import EvaluationConfig
from u2pl_ray.config.method import MethodConfig
from u2pl_ray.config.sections import Count, NonNegative, Positive, Section


class ModelConfig(Section):
    """The network: any architecture and encoder of segmentation-models-pytorch."""

    architecture: str = "DeepLabV3Plus"
    """Name of an architecture of segmentation-models-pytorch, such as Unet, FPN or DeepLabV3Plus."""
    encoder: str = "resnet101"
    """Name of an encoder of segmentation-models-pytorch, or of timm as tu-NAME."""
    encoder_weights: str | None = None
    """Pretrained weights of the encoder: a name (such as imagenet; needs a network connection), a file or a folder
    (timm, torchvision, smp, a checkpoint of ours, published U2PL or UniMatch ones, whose ResNet has a deep stem:
    tu-resnet101s), `package` (installed by u2pl_ray[weights]), or null for random ones. Paths have a slash, or end in
    .pth or the like; a relative one in a file belongs to that file's folder."""
    freeze_encoder: bool = False
    """Train decoder and heads alone: the encoder keeps its weights and statistics."""
    freeze_statistics: bool = False
    """The encoder's BatchNorm layers use and keep the statistics they start with; their weights still learn."""
    activation_checkpointing: bool = False
    """Compute the encoder's activations again in the backward pass instead of keeping them (timm's encoders)."""
    options: dict[str, int | float | bool | str | list[int]] = {}  # noqa: RUF012  (pydantic copies defaults)
    """Further arguments of the architecture, e.g. {encoder_output_stride: 8}."""
    representation_dim: Count = 256
    """Channels of the representation head."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Dropout in both heads (channel-wise)."""
    auxiliary_weight: NonNegative = 0.0
    """Weight of the supervised loss of an auxiliary head on the last stage but one of the encoder (PSPNet: Zhao et al.,
    CVPR 2017; the paper's Cityscapes settings: 0.4); 0: no such head."""
    normalization: Literal["batch", "group", "frozen"] = "batch"
    """batch: BatchNorm, synchronised over GPU workers; group: GroupNorm; frozen: the encoder's BatchNorm keeps
    statistics, scale and shift as they start, of no use without model.encoder_weights; decoder and heads are then not
    normalised at all. model.freeze_statistics lets the encoder's scale and shift learn, and normalises the rest."""


class OptimConfig(Section):
    """SGD or AdamW with a polynomial learning-rate schedule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """sgd: as the paper; adamw: for transformers, with decoupled weight decay."""
    lr: Positive = 0.001
    """Base (encoder) learning rate."""
    head_multiplier: Positive = 10.0
    """Learning rate of decoder and heads, as a multiple of lr."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Each stage (or transformer block) of the encoder learns by this factor slower than the next; 1: all alike."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Of SGD."""
    betas: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]] = (0.9, 0.999)
    """Of AdamW: decay of the gradients' first and second moments."""
    weight_decay: NonNegative = 1e-4
    """L2 penalty on all weights."""
    poly_power: NonNegative = 0.9
    """Exponent of the schedule: lr * (1 - step / steps) ** power; 0 keeps the rate."""


class TrainConfig(Section):
    """Length, batches and numerics of a training."""

    epochs: Count = 80
    """Epochs of a training."""
    batch_size: Count = 16
    """Labeled images per step, over all workers."""
    unlabeled_batch_size: Count = 16
    """Unlabeled images per step, over all workers."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Gradient accumulation: most images that a worker shows its network at once; null: all of its share of a step.
    The gradient stays that of the global batch (normalisation, thresholds, dropout), for one more forward pass; only
    the statistics of BatchNorm are of a part."""
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps per epoch; null: once through the unlabeled images. The same for every method."""
    eval_batch_size: Count = 4
    """Whole images per evaluation batch and worker (images of one size are batched)."""
    amp: Literal["none", "bf16", "fp16"] = "none"
    """Mixed precision of the network; losses stay in float32."""
    channels_last: bool = False
    """Keep images with channels last in memory, which is faster on recent GPUs with train.amp."""
    compile: bool = False
    """torch.compile the student and the teacher."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """Newest checkpoints kept. At least two: with one, a crash during a write can leave none."""


class ResourceConfig(Section):
    """What one worker gets from the cluster."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU per worker if the cluster has any, else CPU."""
    cpus_per_worker: Positive = 1
    """CPU cores for a worker, beside those of its loader processes."""
    gpus_per_worker: Positive = 1
    """Used on GPUs only; below 1, several workers share one GPU."""
    batch_seconds: Positive = 60
    """Seconds that a loader process may take for a batch; then the training is started again from its
    checkpoint."""
    wait_minutes: Positive = 20
    """Minutes that a worker may wait for any one thing: a step, the other workers, a checkpoint to be stored, ...; then
    its process is ended, and the training started again from its checkpoint."""


class TrackingConfig(Section):
    """What is kept for people to look at: Weights & Biases, images."""

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: WANDB_MODE if set, else online when a key is found, else offline."""
    project: str = "u2pl_ray"
    """W&B project of the runs."""
    entity: str | None = None
    """W&B user or team; null: the account's default."""
    images: Annotated[int, Field(ge=0, le=64)] = 4
    """Validation images, and as many unlabeled ones, drawn some times in a training, with W&B or without; 0: none."""


class Config(Section):
    """A whole training: the root of every dotted path."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """What every draw of a training depends on: initial weights, batches, augmentation, dropout, mixing, negatives."""
    workers: int | str = 1
    """Data-parallel training processes; 2..4: four, and when the cluster has no room for them fewer, down to two. The
    global batch stays as it is."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    method: MethodConfig = MethodConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    resources: ResourceConfig = ResourceConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def most_workers(self) -> int:
        """Workers of a training that finds room for all of them."""
        return self._worker_range()[1]

    @property
    def worker_counts(self) -> tuple[int, ...]:
        """Counts of workers that a training may run with, the most first: those that the batches divide over."""
        fewest, most = self._worker_range()
        return tuple(count for count in range(most, fewest - 1, -1) if not self._objection(count))

    def with_workers(self, count: int) -> "Config":
        """The same training with exactly `count` workers."""
        return self.model_copy(update={"workers": count})

    @field_validator("workers", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        if isinstance(value, dict) and value.keys() == {"min", "max"}:
            value = f"{value['min']}..{value['max']}"
        text = str(value)
        if not re.fullmatch(r"[1-9]\d*(\.\.[1-9]\d*)?", text):
            raise ValueError("give a number from 1 on, or a range such as 2..4")
        return text if ".." in text else int(text)

    def _worker_range(self) -> tuple[int, int]:
        fewest, _, most = str(self.workers).partition("..")
        return int(fewest), int(most or fewest)

    def _objection(self, workers: int) -> str:
        """What keeps the batches from being shared by so many workers, or an empty string."""
        for name in ("batch_size", "unlabeled_batch_size"):
            size = getattr(self.train, name)
            if size % workers:
                return f"train.{name}={size} does not divide over workers={workers}: use a multiple of the workers"
        if self.method.semi_supervised and self.method.mixing.kind in ("cutmix", "classmix"):
            share = self.train.unlabeled_batch_size // workers
            if share % 2:
                return (
                    f"train.unlabeled_batch_size={self.train.unlabeled_batch_size} gives each of {workers} "
                    f"workers {share} images, but {self.method.mixing.kind} mixes pairs: use a multiple of "
                    f"{2 * workers}, or method.mixing.kind=cutout"
                )
        return ""

    @model_validator(mode="after")
    def _batches_divide(self) -> "Config":
        fewest, most = self._worker_range()
        if fewest > most:
            raise ValueError(f"workers={self.workers} is inverted: write the smaller number first")
        for workers in (most, fewest):  # counts between them that do not fit are passed over
            if objection := self._objection(workers):
                raise ValueError(objection)
        if self.method.warmup_epochs >= self.train.epochs and self.method.semi_supervised:
            raise ValueError(
                f"method.warmup_epochs={self.method.warmup_epochs} leaves none of train.epochs={self.train.epochs} "
                "for the unlabeled images: use a shorter warm-up, or more epochs"
            )
        return self
