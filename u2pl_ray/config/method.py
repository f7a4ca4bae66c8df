"""The `method` section of the configuration: what is learned from the unlabeled images, and how.

Defaults are the paper's (U2PL, CVPR 2022) where it states them; ideas from elsewhere are off, and name their source.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from u2pl_ray.config.methods import METHODS, Traits, known_method
from u2pl_ray.config.sections import Count, Fraction, NonNegative, Positive, Section


class AlphaConfig(Section):
    """Schedule of alpha, the fraction of pixels called unreliable.

    With fixmatch and unimatch confidence decides what is reliable: there alpha serves the contrastive term, and without
    that one diagnostics alone.
    """

    start: Fraction = 0.2
    """Alpha at epoch 0. The schedule is over all epochs: those of the warm-up count, so what is used first is nearer
    to the end."""
    end: Fraction = 0.0
    """What alpha tends to: the last epoch is one step short of it."""
    kind: Literal["linear", "constant", "cosine", "polynomial"] = "linear"
    """How alpha goes from start to end over the epochs of the training, as in the paper; constant stays at start."""
    power: Positive = 1.0
    """Exponent of the polynomial kind: below 1 stays near start for longer, above 1 falls at once."""


class MixingConfig(Section):
    """Strong augmentation of the unlabeled batch, with its pseudo-labels."""

    kind: Literal["cutmix", "classmix", "cutout", "none"] = "cutmix"
    """cutmix: a rectangle of another image; classmix: half of its classes; cutout: a hole; none."""
    probability: Fraction = 0.5
    """Chance that a pair of images is mixed (cutout: that an image is cut)."""
    labeled_partner: Fraction = 0.0
    """Chance that a labeled image of the batch takes the partner's place in cutmix and classmix: its true labels come
    along with its pixels (DACS: Tranheden et al., WACV 2021; AugSeg: Zhao et al., CVPR 2023); 0: never, as in U2PL.
    Other kinds have no partner, and it does nothing."""


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

    use: bool | None = None
    """Whether there is this term, with any semi-supervised method; null: as the method has it (u2pl alone has)."""
    weight: NonNegative = 0.1
    """lambda_c."""
    temperature: Positive = 0.5
    """Of the softmax over prototype and negatives; small values look at the nearest negatives alone."""
    anchors: Count = 50
    """Anchors per class and step (M)."""
    negatives: Count = 256
    """Negatives per anchor (N)."""
    low_rank: Annotated[int, Field(ge=1)] | None = None
    """r_l: a labeled pixel is a negative for classes ranked before it, an unreliable one for classes from it on. null:
    by the number of classes: 3, as in the paper, from 12 classes on, 2 below that, 1 with two classes."""
    high_rank: Annotated[int, Field(ge=2)] | None = None
    """r_h: end (exclusive) of the unreliable pixels' rank window. null: 20, as in the paper, or the number of classes
    where that is less."""
    anchor_threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """delta_p: an anchor's teacher probability must exceed it. With two or three classes the paper's 0.3 is below
    chance, and hardly any pixel is left out."""

    @model_validator(mode="after")
    def _rank_order(self) -> "ContrastiveConfig":
        if self.low_rank is not None and self.high_rank is not None and self.low_rank >= self.high_rank:
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


class StrongViewConfig(Section):
    """Colour distortion of the student's view of the unlabeled images, after mixing; the teacher sees none of it.

    Consistency between a weak and a strong view: FixMatch (Sohn et al., NeurIPS 2020); these distortions and their
    defaults as in ST++ and UniMatch (Yang et al., CVPR 2022 and 2023).
    """

    use: bool | None = None
    """Whether there is a strong view; null: as the method has it (fixmatch, unimatch)."""
    jitter: Fraction = 0.8
    """Probability of colour jitter for an image."""
    strength: Fraction = 0.5
    """Brightness, contrast and saturation change by factors from 1 - strength to 1 + strength, the hue by up to half of
    strength, of a full turn."""
    grayscale: Fraction = 0.2
    """Probability of an image to lose its colours."""
    blur: Fraction = 0.5
    """Probability of Gaussian blur."""
    blur_sigma: tuple[Positive, Positive] = (0.1, 2.0)
    """Range of its standard deviation, in pixels."""

    @model_validator(mode="after")
    def _sigma_order(self) -> "StrongViewConfig":
        if self.blur_sigma[0] > self.blur_sigma[1]:
            raise ValueError(
                f"method.strong_view.blur_sigma={list(self.blur_sigma)} is inverted: write the smaller bound first"
            )
        return self


class ReliabilityConfig(Section):
    """What says which pseudo-labels are reliable, beside the entropy quantile of `method.alpha`."""

    judged_on: Literal["mixed", "weak"] | None = None
    """The view whose prediction by the teacher is judged: the mixed images (U2PL), or the weak view before it is mixed
    (FixMatch, UniMatch); null: as the method has it."""
    confidence: Fraction | None = None
    """Least probability of a reliable pseudo-label; null: the method's own (fixmatch, unimatch 0.95; others none)."""
    per_class: bool = False
    """One entropy quantile for each class, among the pixels with that pseudo-label, so that every class keeps the same
    share (class-balanced self-training: Zou et al., ECCV 2018). As with method.alpha, fixmatch and unimatch without the
    contrastive term only show it in diagnostics."""


class BalanceConfig(Section):
    """Against pseudo-labels that name only the frequent classes."""

    alignment: Fraction = 0.0
    """Distribution alignment (ReMixMatch: Berthelot et al., ICLR 2020): the teacher's probabilities are multiplied by
    (share of the class among labeled pixels / among its own predictions so far) to this power; 0: off, 1: in full."""
    margin: Fraction = 0.0
    """Margins by class (DebiasPL: Wang et al., CVPR 2022; logit adjustment: Menon et al., ICLR 2021). In the
    unsupervised loss a class counts with its probability times (share among reliable pseudo-labels so far / share
    among labeled pixels) to this power: one that pseudo-labels name too rarely is not unlearned. 0: off, 1: in full."""
    weight_power: Fraction = 0.0
    """Weight of a pixel in the unsupervised loss: (reliable pixels with its pseudo-label) to minus this power, with a
    mean of 1 over the reliable pixels of a step; 0: equal pixels, 1: equal classes (cf. DARS: He et al., ICCV 2021)."""


class MethodConfig(Section):
    """What is learned from the unlabeled images, and how."""

    name: Annotated[str, AfterValidator(known_method)] = "u2pl"
    """One of config/methods.py: supervised, oracle (supervised with the labels of the unlabeled images too: the most
    there is to gain), pseudo_label, u2pl, fixmatch, unimatch."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs on labeled images alone, before the teacher starts."""
    supervised_loss: Literal["ce", "ohem"] = "ce"
    """ce: cross-entropy; ohem: of the hardest pixels alone, which helps rare classes."""
    ohem: OhemConfig = OhemConfig()
    alpha: AlphaConfig = AlphaConfig()
    unsupervised_weight: NonNegative = 1.0
    """Factor on lambda_u * L_u."""
    unsupervised_rampup: Fraction = 0.0
    """Share of the training after the warm-up in which this factor rises, as exp(-5 (1 - x)^2) (Laine & Aila, ICLR
    2017); 0: it is there at once."""
    strong_view: StrongViewConfig = StrongViewConfig()
    reliability: ReliabilityConfig = ReliabilityConfig()
    balance: BalanceConfig = BalanceConfig()
    mixing: MixingConfig = MixingConfig()
    contrastive: ContrastiveConfig = ContrastiveConfig()
    memory_bank: MemoryBankConfig = MemoryBankConfig()
    teacher_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Upper bound of the EMA momentum min(1 - 1/(k+1), m), k = steps since the warm-up."""
    teacher_horizon: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The bound by what the teacher shall remember, as a share of the steps after the warm-up: m = 1 - 1 / (share *
    steps), instead of teacher_momentum, so that it fits trainings of any length; null: teacher_momentum as it is."""

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
        return self.traits.contrasts if self.contrastive.use is None else self.contrastive.use and self.semi_supervised

    @property
    def least_confidence(self) -> float:
        """Return the least probability of a reliable pseudo-label; 0: any."""
        given = self.reliability.confidence
        return self.traits.confidence if given is None else given

    @property
    def reliable_if(self) -> str:
        """Return in words which pseudo-labels are reliable."""
        of_its_class = " of its class" if self.reliability.per_class else ""
        rules = [f"entropy below gamma{of_its_class}"] if self.traits.quantile else []
        rules += [f"probability of at least {self.least_confidence:g}"] if self.least_confidence else []
        return " and ".join(rules) or "any"
