"""Everything a result depends on, as one typed tree. Defaults are the paper's (CVPR 2022) where it states them.

A dotted path into this tree (`method.alpha.start`) is the name of a setting everywhere: on the command line, in
search spaces, in W&B. Unknown keys are refused.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from u2pl_ray.config.methods import METHODS, Traits, known_method

IGNORE = 255
"""Label of pixels that enter no loss, no quantile, no metric, no key."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Scale = Annotated[float, Field(ge=0.05, le=20.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys refused, values validated (no NaN)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class SyntheticConfig(Section):
    """The generated set: textured shapes over clutter. Cached on disk, keyed by these values."""

    size: Annotated[int, Field(ge=32)] = 96
    """Side of the square images, in pixels."""
    classes: Annotated[int, Field(ge=2, le=12)] = 6
    """Number of classes, background (0) included."""
    labeled: Count = 5
    """Training images with labels."""
    unlabeled: Count = 160
    """Training images without labels (their labels exist, for diagnostics only)."""
    val: Count = 32
    """Validation images."""
    test: Count = 64
    """Test images."""
    seed: int = 0
    """Seed of the images themselves; independent of the training seed."""


class DataConfig(Section):
    """Which images, which labels, and how they are augmented."""

    dataset: Literal["voc", "synthetic"] = "voc"
    """voc: images of your own; synthetic: generated ones, see data.synthetic."""
    root: str = ""
    """Folder in PASCAL VOC layout (JPEGImages/, SegmentationClass/). Unused for the generated set."""
    labeled: str = "labeled.txt"
    """Split file of labeled image ids, relative to root (or absolute)."""
    unlabeled: str = "unlabeled.txt"
    """Split file of unlabeled image ids."""
    val: str = "ImageSets/Segmentation/val.txt"
    """Split file of validation ids: what trials are compared on."""
    test: str = "ImageSets/Segmentation/test.txt"
    """Split file of test ids: looked at by `evaluate` only."""
    classes: tuple[str, ...] = ()
    """Class names in label order; empty: read from root/classes.json."""
    crop: Annotated[int, Field(ge=32, multiple_of=32)] = 512
    """Side of the square training crops, in pixels, a multiple of 32 (the paper: 513). Padding is labeled 255."""
    scale: tuple[Scale, Scale] = (0.5, 2.0)
    """Range of the random rescaling."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the colours (R, G, B) on a scale of 0..1, taken off every pixel; the default is of ImageNet."""
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    """Standard deviation of the colours on the same scale, by which pixels are divided."""
    loader_workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes per worker; 0 loads in the training process."""
    synthetic: SyntheticConfig = SyntheticConfig()

    @model_validator(mode="after")
    def _scale_order(self) -> "DataConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"data.scale={list(self.scale)} is inverted: write the smaller bound first")
        return self


class ModelConfig(Section):
    """The network: any architecture and encoder of segmentation-models-pytorch."""

    architecture: str = "DeepLabV3Plus"
    """Name of an architecture of segmentation-models-pytorch, such as Unet, FPN or DeepLabV3Plus."""
    encoder: str = "resnet101"
    """Name of an encoder of segmentation-models-pytorch, or of timm as tu-NAME."""
    encoder_weights: str | None = None
    """Name of pretrained weights (such as imagenet; needs a network connection), or null for random ones."""
    options: dict[str, int | float | bool | str | list[int]] = {}
    """Further arguments of the architecture, e.g. {encoder_output_stride: 8}."""
    representation_dim: Count = 256
    """Channels of the representation head."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Dropout in both heads (channel-wise)."""
    normalization: Literal["batch", "group", "frozen"] = "batch"
    """batch: BatchNorm, synchronised over GPU workers; group: GroupNorm; frozen: BatchNorm with fixed statistics."""


class AlphaConfig(Section):
    """Schedule of alpha, the fraction of pixels called unreliable."""

    start: Fraction = 0.2
    """Alpha after the warm-up."""
    end: Fraction = 0.0
    """Alpha at the end of the training."""
    kind: Literal["linear", "constant", "cosine", "polynomial"] = "linear"
    """How alpha goes from start to end over the epochs after the warm-up; constant stays at start."""
    power: Positive = 1.0
    """Exponent of the polynomial kind: below 1 stays near start for longer, above 1 falls at once."""


class MixingConfig(Section):
    """Strong augmentation of the unlabeled batch, with its pseudo-labels."""

    kind: Literal["cutmix", "classmix", "cutout", "none"] = "cutmix"
    """cutmix: a rectangle of another image; classmix: half of its classes; cutout: a hole; none."""
    probability: Fraction = 0.5
    """Chance that a pair of images is mixed (cutout: that an image is cut)."""


class MemoryBankConfig(Section):
    """The queues of negative keys, one per class."""

    capacity: Count = 30_000
    """Keys kept per class."""
    background_capacity: Annotated[int, Field(ge=1)] | None = 50_000
    """Keys kept for the background class; null: the same as capacity."""
    background_class: Annotated[int, Field(ge=0)] | None = 0
    """Index of the background class; null: there is none."""
    push_cap: Annotated[int, Field(ge=1)] | None = 1024
    """Most keys pushed per class and step, drawn at random; null: all (bounded by the capacity)."""
    key_dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 halves the memory of the queues, and of checkpoints."""


class ContrastiveConfig(Section):
    """Pixel-to-prototype InfoNCE against the memory bank."""

    weight: NonNegative = 0.1
    """lambda_c."""
    temperature: Positive = 0.5
    """Of the softmax over prototype and negatives; small values look at the nearest negatives alone."""
    anchors: Count = 50
    """Anchors per class and step (M)."""
    negatives: Count = 256
    """Negatives per anchor (N)."""
    low_rank: Annotated[int, Field(ge=1)] = 3
    """r_l: a labeled pixel is a negative for classes ranked before it, an unreliable one for classes from it on."""
    high_rank: Annotated[int, Field(ge=2)] = 20
    """r_h: end (exclusive) of the unreliable pixels' rank window."""
    anchor_threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """delta_p: an anchor's teacher probability must exceed it."""

    @model_validator(mode="after")
    def _rank_order(self) -> "ContrastiveConfig":
        if self.low_rank >= self.high_rank:
            raise ValueError(
                f"method.contrastive.low_rank={self.low_rank} must be below "
                f"method.contrastive.high_rank={self.high_rank}: no rank is left between them"
            )
        return self


class OhemConfig(Section):
    """Online hard example mining, for method.supervised_loss=ohem."""

    threshold: Fraction = 0.7
    """Pixels whose true class gets less than this probability are hard."""
    min_kept: Count = 100_000
    """Pixels of the global batch that are kept at least."""


class MethodConfig(Section):
    """What is learned from the unlabeled images, and how."""

    name: Annotated[str, AfterValidator(known_method)] = "u2pl"
    """One of config/methods.py: supervised, oracle (supervised with the labels of the unlabeled images too: the most
    there is to gain), pseudo_label, u2pl, fixmatch."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs on labeled images alone, before the teacher starts."""
    supervised_loss: Literal["ce", "ohem"] = "ce"
    """ce: cross-entropy; ohem: of the hardest pixels alone, which helps rare classes."""
    ohem: OhemConfig = OhemConfig()
    alpha: AlphaConfig = AlphaConfig()
    unsupervised_weight: NonNegative = 1.0
    """Factor on lambda_u * L_u."""
    mixing: MixingConfig = MixingConfig()
    contrastive: ContrastiveConfig = ContrastiveConfig()
    memory_bank: MemoryBankConfig = MemoryBankConfig()
    teacher_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Upper bound of the EMA momentum min(1 - 1/(k+1), m), k = steps since the warm-up."""

    @property
    def traits(self) -> Traits:
        """What the method called `name` needs."""
        return METHODS[self.name]

    @property
    def semi_supervised(self) -> bool:
        """Whether images without labels are learned from."""
        return self.traits.semi_supervised

    @property
    def contrasts(self) -> bool:
        """Whether there is a contrastive term, and so a representation head and a memory bank."""
        return self.traits.contrasts


class OptimConfig(Section):
    """SGD with a polynomial learning-rate schedule."""

    lr: Positive = 0.001
    """Base (encoder) learning rate."""
    head_multiplier: Positive = 10.0
    """Learning rate of decoder and heads, as a multiple of lr."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of SGD."""
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
                "for the unlabeled images"
            )
        return self
