"""The `data` section of the configuration: which images, which labels, how they are read and augmented."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from u2pl_ray.config.sections import Count, Fraction, Positive, Scale, Section
from u2pl_ray.system.stores import is_uri

IGNORE = 255
"""Label of pixels that enter no loss, no quantile, no metric, no key."""


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


Byte = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Byte, Byte, Byte]
LabelValue = Annotated[int, Field(ge=0, le=65535)]


class DataConfig(Section):
    """Which images, which labels, and how they are augmented."""

    dataset: Literal["voc", "synthetic"] = "voc"
    """voc: images of your own; synthetic: generated ones, see data.synthetic."""
    root: str = ""
    """Folder that images, labels and split files lie in, or s3://bucket/prefix. Unused for the generated set."""
    stage: Literal["auto", "never"] = "auto"
    """auto: what root names on an object store or a network file system is copied once to a local disk of each node;
    never: it is read in place. Results are the same."""
    images: str = "JPEGImages"
    """Folder of the images, relative to root (or absolute); images in folders below it have ids such as `town/0001`."""
    labels: str = "SegmentationClass"
    """Folder of the masks, relative to root (or absolute): those that split files name by an image's id alone."""
    label_rename: tuple[str, str] | None = None
    """Text in an image's id, and what stands for it in its mask's: [_leftImg8bit, _gtFine_labelTrainIds] (Cityscapes);
    null: both have one id."""
    labeled: str = "labeled.txt"
    """Split file of labeled images, relative to root (or absolute): a line is an id, a path with or without suffix, or
    an image and its mask, parted by a tab, a comma or blanks."""
    labeled_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the labeled images that are trained on: to see what more labels bring. Smaller parts are parts of larger
    ones and show every class if so few images can; drawn by holdout_seed."""
    unlabeled: str | None = "unlabeled.txt"
    """Split file of unlabeled images; null: there are none (methods that learn from labels alone)."""
    val: str | None = "ImageSets/Segmentation/val.txt"
    """Split file of validation images: what trials are compared on. null: `holdout` of the labeled images."""
    test: str | None = "ImageSets/Segmentation/test.txt"
    """Split file of test images: looked at by `evaluate` only. null: there are none."""
    selection: Literal["val", "holdout"] = "val"
    """What trials are compared on. holdout: a part of the labeled images, which is not trained on then, so that the
    val list is touched by `evaluate` alone."""
    holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the labeled images held out where selection=holdout or there is no val list. It shows every class that
    two images show."""
    holdout_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of that draw; independent of the training seed."""
    classes: tuple[str, ...] = ()
    """Class names in label order; empty: read from root/classes.json."""
    colors: tuple[Color, ...] = ()
    """RGB colour of each class in label order: in overlays (black is drawn light grey there), and in masks where
    label_coding=color. Empty: PASCAL VOC's."""
    label_coding: Literal["index", "color"] = "index"
    """index: a mask's value (of a palette mask: its index) is the class. color: its colour is, as listed in colors."""
    ignore_colors: tuple[Color, ...] = ()
    """Colours of pixels without a class, where label_coding=color."""
    ignore_value: LabelValue = IGNORE
    """Value of pixels without a class; 255 is ignored beside it unless label_map names it."""
    label_map: dict[LabelValue, Annotated[int, Field(ge=0, le=255)]] = {}  # noqa: RUF012
    """Class of a mask's value (255: none), e.g. {255: 1} for 0/255 masks; values not named stay as they are."""
    reduce_zero_label: bool = False
    """Value 0 is no class, and value n is class n - 1."""
    label_orientation: Literal["upright", "stored"] | None = None
    """What masks were drawn on where an image has an orientation tag (EXIF, TIFF) and its mask has none: the image
    turned upright, or its pixels as stored; null: what the sizes fit, upright where they fit both."""
    channels: Annotated[int, Field(ge=1, le=64)] = 3
    """Channels of the images. 3: colours (grey is repeated, alpha left out); 1: grey (colours become their luminance);
    others are read as they are in the file. Pretrained weights of the first layer are adapted, as smp does."""
    value_range: tuple[float, float] | None = None
    """The two pixel values that become 0 and 1, such as [0, 65535] or [0, 4095], for images of 16 bits or of
    floating-point numbers; what lies outside is clipped, what is not a number is 0. null: images have 8 bits."""
    crop: Annotated[int, Field(ge=32, multiple_of=32)] = 512
    """Side of the square training crops, in pixels, a multiple of 32 (the paper: 513). Padding is labeled 255."""
    scale: tuple[Scale, Scale] = (0.5, 2.0)
    """Range of the random rescaling."""
    rare_crops: Fraction = 0.0
    """Probability that the crop of a labeled image is placed so that it holds a pixel of one of rare_classes, where the
    image shows one (nnU-Net's oversampling of foreground: 0.33). 0: all crops are random, as those of unlabeled images
    always are."""
    rare_classes: tuple[str, ...] = ()
    """Names of the classes that rare_crops are placed on: one of those that the image shows is drawn, then a pixel."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Mean of each channel on a scale of 0..1, taken off every pixel. The default is of ImageNet (R, G, B); where
    channels is not 3, the average of these, 0.449, for each."""
    std: tuple[Positive, ...] = (0.229, 0.224, 0.225)
    """Standard deviation of each channel on the same scale, by which pixels are divided; where channels is not 3, the
    default is 0.226 for each."""
    loader_workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes per worker; 0 loads in the training process."""
    synthetic: SyntheticConfig = SyntheticConfig()

    @model_validator(mode="before")
    @classmethod
    def _statistics_of_other_channels(cls, values: Any) -> Any:
        channels = values.get("channels", 3) if isinstance(values, dict) else 3
        if isinstance(channels, int) and 0 < channels != 3:
            return {"mean": [0.449] * channels, "std": [0.226] * channels, **values}
        return values

    @model_validator(mode="after")
    def _statistics_fit_channels(self) -> "DataConfig":
        for key in ("mean", "std"):
            if len(getattr(self, key)) != self.channels:
                raise ValueError(
                    f"data.{key} has {len(getattr(self, key))} values, but data.channels={self.channels}: give one for "
                    "each channel"
                )
        if self.channels != 3 and self.dataset == "synthetic":
            raise ValueError(f"data.channels={self.channels}: generated images have 3")
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"data.value_range={list(self.value_range)} is inverted: write the smaller value first")
        return self

    @field_validator("mean", "std")
    @classmethod
    def _unit(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if any(value > 1.0 or value < 0.0 for value in values):
            raise ValueError(
                f"data.{info.field_name}={list(values)} must lie in 0..1, as pixels are scaled to it: divide by 255"
            )
        return values

    @model_validator(mode="after")
    def _colors_name_classes(self) -> "DataConfig":
        if self.label_coding == "color" and not self.colors:
            raise ValueError("data.label_coding=color needs data.colors: list the colour of each class")
        if len(set(self.colors)) != len(self.colors) and self.label_coding == "color":
            raise ValueError("data.colors names a colour twice: each class needs its own")
        return self

    @model_validator(mode="after")
    def _rare_crops_need_classes(self) -> "DataConfig":
        if self.rare_crops and not self.rare_classes:
            raise ValueError(
                f"data.rare_crops={self.rare_crops} needs data.rare_classes: name the classes to place crops on"
            )
        return self

    @model_validator(mode="after")
    def _stores_are_staged(self) -> "DataConfig":
        if self.stage == "never" and is_uri(self.root):
            raise ValueError(f"data.stage=never: data.root={self.root} can be read from a copy alone; set it to auto")
        return self

    @model_validator(mode="after")
    def _scale_order(self) -> "DataConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"data.scale={list(self.scale)} is inverted: write the smaller bound first")
        return self
